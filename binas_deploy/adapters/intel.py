"""What Intel machines have beside plain cores: P and E cores, a GPU, an NPU, as Linux shows them under /sys.

``/sys/devices/cpu_core/cpus`` and its sisters list the cores of each kind on hybrid CPUs (Alder Lake and newer; see the
kernel's ``tools/perf/Documentation/intel-hybrid.txt``). GPUs are DRM cards, NPUs are accelerators of the driver
``intel_vpu``; drivers that come with the kernel have its version and none of their own.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Final

from binas_deploy.kernel_files import text_of

_CORES: Final = Path("/sys/devices")
_KINDS: Final = {"P": "cpu_core", "E": "cpu_atom", "LP": "cpu_lowpower"}
_DRM: Final = Path("/sys/class/drm")
_ACCEL: Final = Path("/sys/class/accel")
_MODULES: Final = Path("/sys/module")
_INTEL: Final = "0x8086"


def core_kinds() -> dict[str, set[int]]:
    """Logical CPUs by kind ('P', 'E', 'LP' for the low-power ones); none where all are of one kind."""
    found = {kind: cpu_set(text_of(_CORES / folder / "cpus")) for kind, folder in _KINDS.items()}
    present = {kind: cpus for kind, cpus in found.items() if cpus}
    return present if len(present) > 1 else {}


def core_context(allowed: Collection[int]) -> dict[str, str]:
    """Which cores are of which kind; ``mixed_cores`` where a process that may use ``allowed`` may use several kinds.

    ``allowed`` empty means all of them.
    """
    kinds = core_kinds()
    usable = {kind: cpus & set(allowed) if allowed else cpus for kind, cpus in kinds.items()}
    mixed = [f"{kind} {cpu_ranges(cpus)}" for kind, cpus in usable.items() if cpus]
    stated = {f"{kind.lower()}_cores": cpu_ranges(cpus) for kind, cpus in kinds.items()}
    return stated | ({"mixed_cores": ", ".join(mixed)} if len(mixed) > 1 else {})


def accelerator_context() -> dict[str, str]:
    """GPUs and NPUs of Intel with their drivers, such as 'intel_gpu': '8086:7d55 (xe 1.1.0)'."""
    found = {"intel_gpu": _devices(_DRM, "card[0-9]*"), "intel_npu": _devices(_ACCEL, "accel[0-9]*")}
    return {key: "; ".join(devices) for key, devices in found.items() if devices}


def cpu_set(text: str) -> set[int]:
    """The logical CPUs of a kernel's list, such as '0-3,8'."""
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        if first.isdigit() and (not last or last.isdigit()):
            found |= set(range(int(first), int(last or first) + 1))
    return found


def cpu_ranges(cpus: Collection[int]) -> str:
    """The inverse of `cpu_set`."""
    starts = [cpu for cpu in sorted(cpus) if cpu - 1 not in cpus]
    ends = [cpu for cpu in sorted(cpus) if cpu + 1 not in cpus]
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in zip(starts, ends, strict=True))


def _devices(folder: Path, names: str) -> list[str]:
    # A card's outputs are beside it, as 'card0-HDMI-A-1'; they have no device of their own.
    cards = sorted(path / "device" for path in folder.glob(names) if "-" not in path.name)
    return [_described(card) for card in cards if text_of(card / "vendor") == _INTEL]


def _described(device: Path) -> str:
    numbers = ":".join(text_of(device / name).removeprefix("0x") for name in ("vendor", "device"))
    driver = (device / "driver").resolve().name if (device / "driver").exists() else ""
    version = text_of(_MODULES / driver / "version") if driver else ""
    named = " ".join(filter(None, (driver, version)))
    return f"{numbers} ({named})" if named else numbers
