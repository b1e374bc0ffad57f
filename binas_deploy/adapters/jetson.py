"""What an NVIDIA Jetson says of itself: module, JetPack, power mode, clocks, temperatures, rails, throttling.

All of it is read from files that any user may read; no program is run. Where they are (NVIDIA Jetson Linux Developer
Guide, "Platform Power and Performance"; NVIDIA's kernel drivers soctherm and thermal-trip-event):

==================  ==========================================================================================
module              /proc/device-tree/model and compatible ('nvidia,p3767-0005': the module's part number)
L4T, JetPack        /etc/nv_tegra_release; the version of the package nvidia-jetpack in /var/lib/dpkg/status
power mode          /var/lib/nvpmodel/status ('pmode:0002'), named by /etc/nvpmodel.conf
clocks              /sys/class/devfreq/*gpu*/{min,max,cur}_freq, /sys/devices/system/cpu/cpu*/cpufreq/scaling_*
throttling          /sys/devices/platform/*-throttle-alert/thermal_trip_event and soctherm's oc*_event_cnt (counters),
                    cooling devices called *-throttle-alert (a state)
==================  ==========================================================================================
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from binas_deploy.errors import DeviceError, InputError
from binas_deploy.kernel_files import text_of

ROOT: Final = Path("/")
LOCK_CLOCKS: Final = "sudo jetson_clocks"
_RELEASE: Final = re.compile(r"# R(\d+) \(release\), REVISION: ([\d.]+)")
_MODE: Final = re.compile(r"<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+?)\s*>")
_STATUS: Final = re.compile(r"pmode:0*(\d+)")
_JETPACK: Final = re.compile(r"^Package: nvidia-jetpack\n(?:.+\n)*?Version: (\S+)", re.MULTILINE)
_MODULE: Final = re.compile(r"p\d{4}-\d{4}")


@dataclass(frozen=True)
class PowerMode:
    """One of the board's power modes: its number and its name, '' where the board does not name it."""

    number: int
    name: str

    def __str__(self) -> str:
        return f"{self.number} ({self.name})" if self.name else str(self.number)

    @property
    def command(self) -> str:
        """What sets it."""
        return f"sudo nvpmodel -m {self.number}"


@dataclass(frozen=True)
class Jetson:
    """The board whose files lie under ``root``."""

    root: Path = ROOT

    @property
    def present(self) -> bool:
        """Whether this is one."""
        return (self.root / "etc/nv_tegra_release").is_file() or "Jetson" in self.model

    @property
    def model(self) -> str:
        """Such as 'NVIDIA Jetson Orin Nano Developer Kit (p3767-0005)'; '' elsewhere.

        The part number tells modules apart that go by one name, and differ in memory and cores.
        """
        name = text_of(self.root / "proc/device-tree/model")
        parts = _MODULE.findall(text_of(self.root / "proc/device-tree/compatible"))
        # The carrier board comes first in 'nvidia,p3768-0000+p3767-0005', the module last.
        return f"{name} ({parts[-1]})" if name and parts else name

    @property
    def l4t(self) -> str:
        """Such as '36.4.3'; '' where it is not told."""
        found = _RELEASE.search(text_of(self.root / "etc/nv_tegra_release"))
        return f"{found[1]}.{found[2]}" if found else ""

    @property
    def jetpack(self) -> str:
        """Such as '6.2+b77'; '' where the package nvidia-jetpack is not installed."""
        found = _JETPACK.search(text_of(self.root / "var/lib/dpkg/status"))
        return found[1] if found else ""

    @property
    def power_modes(self) -> tuple[PowerMode, ...]:
        """All that the board offers."""
        found = _MODE.findall(_uncommented(text_of(self.root / "etc/nvpmodel.conf")))
        return tuple(PowerMode(int(number), name) for number, name in found)

    @property
    def power_mode(self) -> PowerMode | None:
        """The one it is in, None where it does not say."""
        found = _STATUS.search(text_of(self.root / "var/lib/nvpmodel/status"))
        if found is None:
            return None
        names = {mode.number: mode.name for mode in self.power_modes}
        return PowerMode(int(found[1]), names.get(int(found[1]), ""))

    def mode_called(self, asked: str) -> PowerMode:
        """The power mode of that number or name.

        Raises:
            InputError: the board has none.
        """
        for mode in self.power_modes:
            if asked.upper() in (str(mode.number), mode.name.upper()):
                return mode
        known = ", ".join(map(str, self.power_modes)) or "none that /etc/nvpmodel.conf names"
        raise InputError(f"options.power_mode = {asked!r}: this board has {known}.")

    def floating_clocks(self) -> tuple[str, ...]:
        """Clocks that may change while something is measured, as text: those whose limits lie apart."""
        gpu = ((path, "min_freq", "max_freq", 1e6) for path in self._gpus())
        folders = sorted((self.root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq"))
        cpus = ((path, "scaling_min_freq", "scaling_max_freq", 1e3) for path in folders)
        return tuple(filter(None, (_floating(*row) for row in (*gpu, *cpus))))

    def context(self) -> dict[str, str]:
        """What was so at the time; what cannot be read is left out."""
        gpu = next(self._gpus(), None)
        found = {
            "l4t": self.l4t,
            "jetpack": self.jetpack,
            "clocks": "floating" if self.floating_clocks() else "locked",
            "gpu_clock_mhz": _scaled(text_of(gpu / "cur_freq"), 1e6) if gpu else "",
            "temperatures_c": ", ".join(f"{name} {degrees}" for name, degrees in self._temperatures()),
            "rails": ", ".join(sorted(self._rails())),
            "throttle_count": str(sum(self.throttle_counts().values())),
        }
        return {key: value for key, value in found.items() if value}

    def advice(self, asked: str = "") -> tuple[str, ...]:
        """What a person should do before latencies are worth keeping, each with its command.

        ``asked`` is the number or name of a power mode, '' for whichever is set.
        """
        found, now = [], self.power_mode
        if asked and (wanted := self.mode_called(asked)).number != (now.number if now else None):
            found.append(f"power mode {wanted} is asked for, the board is in {now}: {wanted.command}")
        if floating := self.floating_clocks():
            found.append(f"clocks float ({floating[0]}; {len(floating)} in all), so latencies will: {LOCK_CLOCKS}")
        return tuple(found)

    def throttle_counts(self) -> dict[str, int]:
        """How often each cause has throttled the board since it started."""
        files = [
            *(self.root / "sys/devices/platform").glob("*-throttle-alert/thermal_trip_event"),
            *(self.root / "sys/class/hwmon").glob("hwmon*/oc*_event_cnt"),
        ]
        found = {_cause(path): text_of(path) for path in sorted(files)}
        return {cause: int(count) for cause, count in found.items() if count.isdigit()}

    def throttling(self) -> tuple[str, ...]:
        """What throttles the board at this moment."""
        folders = sorted((self.root / "sys/class/thermal").glob("cooling_device*"))
        alerts = {text_of(path / "type"): text_of(path / "cur_state") for path in folders}
        return tuple(
            name for name, state in alerts.items() if name.endswith("throttle-alert") and state not in ("", "0")
        )

    def require_unthrottled(self, before: Mapping[str, int]) -> None:
        """Refuse what was measured since ``before``, `throttle_counts` as they were.

        Raises:
            DeviceError: the board throttles, or did since; says by what and what to do.
        """
        risen = [cause for cause, count in self.throttle_counts().items() if count > before.get(cause, 0)]
        if causes := (*risen, *self.throttling()):
            raise DeviceError(
                f"the board throttles ({', '.join(dict.fromkeys(causes))}), so this round is not recorded. Let it cool "
                "or use a lower power mode (sudo nvpmodel -m N), or a stronger supply where the cause is oc (over-"
                "current). The same command then goes on where it stopped."
            )

    def _gpus(self) -> Iterator[Path]:
        folder = self.root / "sys/class/devfreq"
        names = ("*.gpu", "*.ga10b", "*.gv11b", "*.gp10b", "gpu-gpc-*", "gpu*")
        return (path for name in names for path in sorted(folder.glob(name)))

    def _temperatures(self) -> Iterator[tuple[str, str]]:
        for zone in sorted((self.root / "sys/class/thermal").glob("thermal_zone*")):
            name, degrees = text_of(zone / "type").removesuffix("-thermal"), _scaled(text_of(zone / "temp"), 1e3)
            if name and degrees:
                yield name, degrees

    def _rails(self) -> set[str]:
        labels = (self.root / "sys/bus/i2c/drivers/ina3221").glob("*/hwmon/hwmon*/in[123]_label")
        return set(filter(None, map(text_of, labels)))


def _uncommented(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))


def _floating(folder: Path, least: str, most: str, unit: float) -> str:
    low, high = (_scaled(text_of(folder / name), unit) for name in (least, most))
    name = folder.parent.name if folder.name == "cpufreq" else folder.name
    return f"{name} {low} to {high} MHz" if low and high and low != high else ""


def _scaled(text: str, unit: float) -> str:
    return f"{int(text) / unit:.0f}" if text.lstrip("-").isdigit() else ""


def _cause(path: Path) -> str:
    """'cpu-throttle-alert', or 'oc3' of soctherm."""
    return path.parent.name if path.name == "thermal_trip_event" else path.name.removesuffix("_event_cnt")
