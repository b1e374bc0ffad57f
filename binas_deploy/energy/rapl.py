"""CPU packages of Intel and AMD: the RAPL counters (Running Average Power Limit) that Linux shows.

Linux, Documentation/power/powercap/powercap.rst: each ``intel-rapl:<n>`` in /sys/class/powercap is a domain with its
``name``, a counter ``energy_uj`` in microjoules, and the range ``max_energy_range_uj`` after which that begins again.
AMD processors appear under the same names. Only domains of whole packages are read: the others are parts of these, as
``intel-rapl:0:0`` (core), or hold them, as ``psys``. A package is cores, caches and built-in graphics; memory is not
in it. The counter moves about once in a millisecond (Intel Software Developer's Manual, volume 3B, RAPL interfaces).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final

from binas_deploy.errors import DeviceError, EnvironmentFault
from binas_deploy.kernel_files import number_of, text_of

_COUNTER: Final = "energy_uj"
_RANGE: Final = "max_energy_range_uj"


class Rapl:
    """The sum over CPU packages, each a folder with the files of a domain.

    A counter may begin again between two readings, but no more than once: at 200 W that takes over 5 minutes.

    Raises:
        PermissionError: a counter may not be read.
        DeviceError: anything else is wrong with one.
    """

    least_seconds = 0.5

    def __init__(self, packages: Sequence[Path]) -> None:
        self.name = f"RAPL {', '.join(text_of(package / 'name') for package in packages)}"
        self._ranges = {package: number_of(package / _RANGE) for package in packages}
        self._last = {package: number_of(package / _COUNTER) for package in packages}
        self._microjoules = 0

    def joules(self) -> float:
        """Since it was made. Raises DeviceError where a counter cannot be read any more."""
        try:
            now = {package: number_of(package / _COUNTER) for package in self._last}
        except PermissionError as error:
            raise DeviceError(f"{error.filename}: it could be read before and cannot any more.") from error
        for package, reading in now.items():
            used = reading - self._last[package]
            self._microjoules += used if used >= 0 else used + self._ranges[package]
        self._last = now
        return self._microjoules / 1e6

    def __enter__(self) -> Rapl:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is held open."""


def rapl(root: Path) -> Rapl:
    """The packages of this machine; ``root`` is where sysfs is mounted.

    Raises:
        DeviceError: there are none.
        EnvironmentFault: they may not be read; the message says what to do.
    """
    folder = root / "class" / "powercap"
    packages = [zone for zone in sorted(folder.glob("intel-rapl:*")) if text_of(zone / "name").startswith("package")]
    if not packages:
        raise DeviceError(
            f"RAPL: {folder} has no CPU package (Linux shows them, most virtual machines and containers hide them)."
        )
    try:
        return Rapl(packages)
    except PermissionError as error:
        raise EnvironmentFault(
            f"RAPL: {error.filename}: permission denied. Since Linux 5.10 only root may read it, for it tells about "
            f"other programs (CVE-2020-8694). Where that is no concern, allow it until the next boot: "
            f"sudo chmod a+r {folder}/intel-rapl:*/{_COUNTER}"
        ) from error
