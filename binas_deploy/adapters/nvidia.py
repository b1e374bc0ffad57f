"""NVIDIA GPUs as their driver's own program tells them, for adapters that cannot ask the GPU themselves."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

from binas_deploy.adapters.host import output_of
from binas_deploy.errors import DeviceError

_VISIBLE: Final = "CUDA_VISIBLE_DEVICES"
_ORDER: Final = "CUDA_DEVICE_ORDER"
_FIELDS: Final = ("index", "uuid", "name", "compute_cap", "memory.total", "driver_version", "mig.mode.current")


@dataclass(frozen=True)
class Gpu:
    """A GPU: ``number`` in the order of the PCI bus, ``memory`` with its unit, ``mig`` "Enabled" where partitioned."""

    number: str
    uuid: str
    name: str
    capability: str
    memory: str
    driver: str
    mig: str

    @property
    def model(self) -> str:
        """Such as 'NVIDIA H200 (compute capability 9.0, 143771 MiB)'."""
        partitioned = ", partitioned" if self.mig == "Enabled" else ""
        return f"{self.name} (compute capability {self.capability}, {self.memory}{partitioned})"


def gpu(index: int) -> Gpu:
    """The GPU that CUDA gives the number ``index`` in this process.

    Raises:
        DeviceError: there is none, or several models without a way to know which is meant.
    """
    found = gpus()
    named = [name.strip() for name in os.environ.get(_VISIBLE, "").split(",") if name.strip()]
    if index >= (len(named) if named else len(found)):
        raise DeviceError(
            f"NVIDIA GPU {index} asked, nvidia-smi shows {len(found)}"
            f"{f' and {_VISIBLE} names {len(named)}' if named else ''}. Look at: nvidia-smi -L"
        )
    wanted = named[index] if named else str(index)
    if by_uuid := [one for one in found if one.uuid.startswith(wanted) and not wanted.isdigit()]:
        return by_uuid[0]
    # CUDA numbers GPUs by speed unless it is told to go by the bus; among equal ones the number does not matter.
    if len({one.model for one in found}) > 1 and os.environ.get(_ORDER) != "PCI_BUS_ID":
        raise DeviceError(f"the GPUs here differ, and number {wanted} may be any: set {_ORDER}=PCI_BUS_ID.")
    return next((one for one in found if one.number == wanted), found[0])


def gpus() -> list[Gpu]:
    """All of them; none where there is no driver."""
    text = output_of("nvidia-smi", f"--query-gpu={','.join(_FIELDS)}", "--format=csv,noheader")
    rows = [[cell.strip() for cell in line.split(",")] for line in text.splitlines()]
    return [Gpu(*row) for row in rows if len(row) == len(_FIELDS)]
