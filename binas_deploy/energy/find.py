"""Which sensor measures what a device uses."""

from __future__ import annotations

from collections.abc import Callable
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


def find_sensor(root: Path = SYSFS, *, provider: str = "") -> EnergySensor:
    """The sensor for networks that run on ``provider``, as a device's facts name it, on this machine.

    That of the GPU or of the CPU packages, else the supply of the whole board. ``root`` is where sysfs is mounted.

    Raises:
        EnvironmentFault: a permission or a package is missing; the message says what to do.
        DeviceError: there is no sensor, and why.
    """

    def packages() -> EnergySensor:
        return rapl(root)

    def board() -> EnergySensor:
        return rail(root)

    on_gpu = any(word in provider.lower() for word in _NVIDIA)
    choices: list[Callable[[], EnergySensor]] = [nvml if on_gpu else packages, board]
    faults: list[DeviceError | EnvironmentFault] = []
    for choice in choices:
        found = _tried(choice)
        if not isinstance(found, (DeviceError, EnvironmentFault)):
            return found
        faults.append(found)
    remediable = next((fault for fault in faults if isinstance(fault, EnvironmentFault)), faults[0])
    raise type(remediable)("no sensor of energy can be read. " + " ".join(map(str, faults))) from remediable


def _tried(choice: Callable[[], EnergySensor]) -> EnergySensor | DeviceError | EnvironmentFault:
    """The sensor, or why there is none."""
    try:
        return choice()
    except (DeviceError, EnvironmentFault) as error:
        return error
