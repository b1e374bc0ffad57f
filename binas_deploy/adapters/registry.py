"""Which adapters there are. One row for each built-in; other packages add theirs as entry points.

A package registers ``name = "module:Class"`` in the entry-point group `ENTRY_POINTS`. The class is called as
``Class(threads, **options)`` with the device file's threads and its ``[options]`` as keyword arguments; a class with a
parameter ``precision`` is given the file's as well.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from binas_deploy.adapters.base import Device
from binas_deploy.errors import DeviceError, InputError, MissingExtraError

ENTRY_POINTS: Final = "binas_deploy.devices"
Factory = Callable[..., Device]
_PRECISION: Final = "precision"
"""The one parameter of a device that is no option of its file: the file has it beside them."""


@dataclass(frozen=True)
class Adapter:
    """``target`` is ``module:Class``; it works when ``package`` is installed, which ``extra`` brings ('' : none).

    Where no extra can bring the package, ``advice`` says what does; ``also`` is a second one, which ``extra`` brings.
    """

    target: str
    package: str
    extra: str = ""
    advice: str = ""
    also: str = ""


_TENSORRT: Final = (
    "It is NVIDIA's own: on a Jetson it comes with JetPack (make the virtual environment with --system-site-packages), "
    "elsewhere 'pip install tensorrt-cu13' (or -cu12) brings it."
)
_RTX: Final = "Its wheel is in the 'python' folder of NVIDIA's TensorRT for RTX SDK."
ADAPTERS: Final[dict[str, Adapter]] = {
    "command": Adapter("binas_deploy.adapters.command.device:CommandDevice", "binas_deploy"),
    "onnxruntime": Adapter("binas_deploy.adapters.onnxruntime:OnnxRuntimeDevice", "onnxruntime", "cpu"),
    "openvino": Adapter("binas_deploy.adapters.openvino:OpenVinoDevice", "openvino", "openvino"),
    "replay": Adapter("binas_deploy.adapters.replay:ReplayDevice", "binas_deploy"),
    "tensorrt": Adapter(
        "binas_deploy.adapters.tensorrt.device:TensorRtDevice", "tensorrt", "cuda", _TENSORRT, "cuda.bindings"
    ),
    "tensorrt_rtx": Adapter(
        "binas_deploy.adapters.tensorrt.device:TensorRtRtxDevice", "tensorrt_rtx", "cuda", _RTX, "cuda.bindings"
    ),
    "torch": Adapter("binas_deploy.adapters.torch.device:TorchDevice", "torch", "torch"),
    "tvm": Adapter("binas_deploy.adapters.tvm.device:TvmDevice", "tvm", "tvm"),
}


def adapter_names() -> list[str]:
    """Names that a device file may give as ``adapter``."""
    return sorted(ADAPTERS.keys() | _registered().keys())


def find_adapter(name: str) -> Adapter:
    """The adapter of that name; a built-in goes before an entry point.

    Raises:
        InputError: there is none.
    """
    found = ADAPTERS.get(name) or _registered().get(name)
    if found is None:
        raise InputError(
            f"unknown adapter {name!r}. Known: {', '.join(adapter_names())}; other packages add adapters in the "
            f"entry-point group '{ENTRY_POINTS}'."
        )
    return found


def missing_package(adapter: Adapter) -> MissingExtraError | DeviceError | None:
    """Why the adapter cannot work here, None when its package is installed. Nothing heavy is imported."""
    if not _installed(adapter.package):
        if adapter.extra and not adapter.advice:
            return MissingExtraError(adapter.package, adapter.extra, "This device")
        needed = f"the adapter {adapter.target} needs the package '{adapter.package}', which is not installed."
        return DeviceError(f"{needed} {adapter.advice}".rstrip())
    if adapter.also and not _installed(adapter.also):
        return MissingExtraError(adapter.also, adapter.extra, "This device")
    return None


def make_device(name: str, threads: int, options: Mapping[str, Any], precision: str = "fp32") -> Device:
    """A device by the adapter's name. No hardware is touched.

    Raises:
        InputError: no such adapter, or it does not take these options or this precision.
        MissingExtraError, DeviceError: its package is absent.
    """
    adapter = find_adapter(name)
    if (fault := missing_package(adapter)) is not None:
        raise fault
    factory = _factory(adapter)
    _check_options(name, factory, options)
    stated = {_PRECISION: precision} if _PRECISION in inspect.signature(factory).parameters else {}
    return factory(threads, **options, **stated)


def quantiser_of(name: str) -> str:
    """What quantises networks for devices of the adapter (`TakesQuantised`); '' where they do it themselves.

    So too where the adapter is not known here, as one that only a remote machine has.
    """
    try:
        return str(getattr(_factory(find_adapter(name)), "quantiser", ""))
    except (InputError, DeviceError):
        return ""


def package_version(adapter: Adapter) -> str:
    """Of the adapter's package by its metadata, 'built in' for our own, '' where it is not installed."""
    top = adapter.package.partition(".")[0]
    if missing_package(adapter) is not None:
        return ""
    if top == __name__.partition(".")[0]:
        return "built in"
    # Python 3.10 finds no distribution that lists its modules in the newer way: most bear the package's name.
    found = importlib.metadata.packages_distributions().get(top) or _of_that_name(top)
    return ", ".join(sorted({f"{name} {importlib.metadata.version(name)}" for name in found})) or "unknown version"


def _of_that_name(name: str) -> list[str]:
    return [found.metadata["Name"] for found in importlib.metadata.distributions(name=name)]


def _installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # the package that it would be in
        return False


def _factory(adapter: Adapter) -> Factory:
    module, _, attribute = adapter.target.partition(":")
    try:
        return cast("Factory", getattr(importlib.import_module(module), attribute))
    except (ImportError, AttributeError) as error:
        raise DeviceError(f"the adapter {adapter.target} cannot be imported: {error}.") from error


def _check_options(name: str, factory: Factory, options: Mapping[str, Any]) -> None:
    _, *taken = inspect.signature(factory).parameters.values()
    parameters = [parameter for parameter in taken if parameter.name != _PRECISION]
    _check_kinds(name, parameters, options)
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
        return
    known = [parameter.name for parameter in parameters]
    unknown = [option for option in options if option not in known]
    if unknown:
        allowed = ", ".join(known) or "no options at all"
        raise InputError(f"options.{unknown[0]}: adapter '{name}' does not know it. Allowed: {allowed}.")


def _check_kinds(name: str, parameters: list[inspect.Parameter], options: Mapping[str, Any]) -> None:
    """A table is for a parameter that is annotated as a ``Mapping``, a list for a ``Sequence``, and nothing else is.

    What goes into ``**options`` is the adapter's to check.
    """
    for parameter in parameters:
        taken, found = str(parameter.annotation), options.get(parameter.name)
        table, words = "Mapping" in taken, "Sequence" in taken
        if found is not None and (table, words) != (isinstance(found, Mapping), isinstance(found, list)):
            wanted = f"a table, [options.{parameter.name}]" if table else "a list" if words else "one value"
            raise InputError(f"options.{parameter.name}: adapter '{name}' takes {wanted}, found {found!r}.")


def _registered() -> dict[str, Adapter]:
    found = importlib.metadata.entry_points(group=ENTRY_POINTS)
    return {entry.name: Adapter(entry.value, entry.module.partition(".")[0]) for entry in found}
