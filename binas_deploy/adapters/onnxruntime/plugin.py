"""Providers that come as a library of their own and are registered with ONNX Runtime (1.23 and newer) in this process.

Their packages, such as ``onnxruntime_ep_nv_tensorrt_rtx`` and ``onnxruntime_ep_openvino``, tell where the library is
(``get_library_path()``); a file may be given as well. A registered library stays for the life of the process.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from binas_deploy.adapters.onnxruntime.provider import Provider
from binas_deploy.adapters.onnxruntime.runtime import RUNTIME
from binas_deploy.adapters.runtime import brief
from binas_deploy.errors import DeviceError, InputError

_REGISTERING: Final = threading.Lock()


def plugin_device(package: Any, provider: Provider) -> Any:
    """The device of ``provider`` that is asked for, as ONNX Runtime describes it; its library is registered.

    Raises:
        InputError: no such library, or no such kind of hardware.
        DeviceError: ONNX Runtime refuses the library, or the provider finds none of its hardware.
    """
    found = _registered(package, provider)
    kind, _, number = provider.hardware.partition(":")
    chosen = [device for device in found if not kind or device.device.type.name.lower() == kind]
    index = int(number) if number.isdigit() else 0
    if index >= len(chosen):
        there = ", ".join(f"{device.device.type.name.lower()} ({hardware_name(device)})" for device in found) or "none"
        raise DeviceError(
            f"{provider.name}: hardware {provider.hardware or 'of any kind'!r} asked, it finds {there}. Check the "
            "driver, or change 'hardware' in the device's file."
        )
    return chosen[index]


def hardware_name(device: Any) -> str:
    """Of a device as ONNX Runtime describes it, such as 'Intel(R) Arc(TM) Graphics' or 'NVIDIA gpu 10de:2335'."""
    known: Mapping[str, str] = {**device.device.metadata, **device.ep_metadata}
    for key in ("FULL_DEVICE_NAME", "Description", "Name", "name"):
        if known.get(key):
            return str(known[key])
    hardware = device.device
    return f"{hardware.vendor} {hardware.type.name.lower()} {hardware.vendor_id:04x}:{hardware.device_id:04x}"


def _registered(package: Any, provider: Provider) -> list[Any]:
    """The provider's devices, after its library was registered unless somebody did before."""
    with _REGISTERING:
        if not (found := _devices(package, provider.name)):
            path = _library_path(provider.library)
            try:
                package.register_execution_provider_library(provider.name, str(path))
            except Exception as error:
                raise DeviceError(f"{RUNTIME.name} cannot register the library {path}: {brief(error)}") from error
            found = _devices(package, provider.name)
    return found


def _devices(package: Any, name: str) -> list[Any]:
    return [device for device in package.get_ep_devices() if device.ep_name == name]


def _library_path(library: str) -> Path:
    if library.isidentifier():
        try:
            return Path(importlib.import_module(library).get_library_path())
        except (ImportError, AttributeError, OSError) as error:
            raise InputError(
                f"options.library = {library!r}: not an installed package that tells get_library_path() ({error}). "
                f"Install it (pip install {library.replace('_', '-')}), or give the library's file."
            ) from error
    if not Path(library).is_file():
        raise InputError(f"options.library = {library!r}: no such file. Give a package's name or the library's file.")
    return Path(library)
