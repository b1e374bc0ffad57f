"""Which sensor measures what a device uses."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from binas_deploy.energy.base import EnergySensor
from binas_deploy.energy.nvml import nvml
from binas_deploy.energy.rails import rail
from binas_deploy.energy.rapl import rapl
from binas_deploy.errors import DeviceError, EnvironmentFault

SYSFS: Final = Path("/sys")
_NVIDIA: Final = ("cuda", "tensorrt", "nvidia")
"""A provider with one of these in its name computes on an NVIDIA GPU."""
_IN_PACKAGE: Final = ("CPUExecutionProvider", "CPU", "GPU", "GPU.0", "NPU")
"""Providers that compute in the package of the CPU: ONNX Runtime's, and OpenVINO's CPU, built-in graphics and NPU."""
_DISCRETE: Final = "(dGPU)"
"""In what OpenVINO calls a GPU on a board of its own; without built-in graphics that is GPU.0."""


def find_sensor(root: Path = SYSFS, *, provider: str, model: str = "") -> EnergySensor:
    """The sensor for networks that run on ``provider`` of the device ``model``, as its facts name them, here.

    That of the GPU or of the CPU packages, else the supply of the whole board. ``root`` is where sysfs is mounted.

    Raises:
        EnvironmentFault: a permission or a package is missing; the message says what to do.
        DeviceError: there is no sensor, or none is known for that provider, and why.
    """
    choices: list[Callable[[], EnergySensor]] = [partial(_sensor_of_chip, root, provider, model), partial(rail, root)]
    faults: list[DeviceError | EnvironmentFault] = []
    for choice in choices:
        found = _tried(choice)
        if not isinstance(found, (DeviceError, EnvironmentFault)):
            return found
        faults.append(found)
    remediable = next((fault for fault in faults if isinstance(fault, EnvironmentFault)), faults[0])
    raise type(remediable)("no sensor of energy can be read. " + " ".join(map(str, faults))) from remediable


def _sensor_of_chip(root: Path, provider: str, model: str) -> EnergySensor:
    """Of what the provider computes on, where that is known: another chip's would tell a wrong number."""
    if any(word in provider.lower() for word in _NVIDIA):
        return nvml()
    if provider in _IN_PACKAGE and _DISCRETE not in model:
        return rapl(root)
    where = f" ({model})" if _DISCRETE in model else ""
    raise DeviceError(f"Provider '{provider}'{where}: no sensor is known for what it computes on.")


def _tried(choice: Callable[[], EnergySensor]) -> EnergySensor | DeviceError | EnvironmentFault:
    """The sensor, or why there is none."""
    try:
        return choice()
    except (DeviceError, EnvironmentFault) as error:
        return error
