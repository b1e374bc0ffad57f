"""What can be read of the machine this process runs on, for adapters that run on it."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Final

from binas_deploy.adapters import intel
from binas_deploy.errors import InputError
from binas_deploy.kernel_files import text_of

_CPUINFO: Final = Path("/proc/cpuinfo")
_CPU_FOLDER: Final = Path("/sys/devices/system/cpu")
_THERMAL: Final = Path("/sys/class/thermal/thermal_zone0/temp")
_CGROUP_LIMIT: Final = Path("/sys/fs/cgroup/cpu.max")
_BOARD: Final = Path("/sys/firmware/devicetree/base/model")
_COMMAND_SECONDS: Final = 5


def cpu_model() -> str:
    """The CPU's name as the system gives it, such as 'Intel(R) Xeon(R) Gold 6338 CPU @ 2.00GHz (6-106-6)'.

    The numbers are those by which the makers of x86 CPUs tell them apart, family, model and stepping: virtual machines
    of many generations all call theirs 'Intel(R) Xeon(R) Processor'.
    """
    if sys.platform == "darwin":
        return output_of("sysctl", "-n", "machdep.cpu.brand_string") or platform.machine()
    named = " ".join(filter(None, (_cpuinfo("model name") or _cpuinfo("Model"), _x86_numbers())))
    # ARM Linux names no model: the board and the core's part number tell the machine apart.
    board, part = text_of(_BOARD), _cpuinfo("CPU part")
    described = ", ".join(text for text in (board, f"part {part}" if part else "") if text)
    return named or described or platform.processor() or platform.machine() or "unknown CPU"


def usable_cpus() -> int:
    """How many logical CPUs this process may run on."""
    return len(_allowed()) or os.cpu_count() or 1


def adds_in_16_bits() -> bool:
    """Whether this CPU multiplies 8-bit numbers without VNNI: sums of two products have 16 bits and may overflow.

    So on x86 before VNNI. Where no flags can be read the answer is yes, the careful one; other CPUs have no such step.
    """
    if platform.machine().lower() not in ("x86_64", "amd64", "i686"):
        return False
    return not {"avx512_vnni", "avx_vnni"}.intersection(_cpuinfo("flags").split())


def require_threads(threads: int) -> None:
    """Refuse more threads than this process has CPUs: they would wait for one another.

    Raises:
        InputError: there are more.
    """
    usable = usable_cpus()
    if threads > usable:
        raise InputError(
            f"{threads} threads asked, this process may use {usable} CPUs. Lower 'threads' in the device's "
            "file or with --threads."
        )


def affinity() -> str:
    """'all', or the logical CPUs that this process is confined to, such as '0-3,6'."""
    allowed = _allowed()
    return "all" if not allowed or len(allowed) == os.cpu_count() else intel.cpu_ranges(allowed)


def host_context() -> dict[str, str]:
    """System, clock, governor, load, limits and kinds of cores; what cannot be read is left out."""
    found = {
        "os": f"{platform.system()} {platform.release()}",
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "cpus": str(os.cpu_count()),
        "governor": text_of(_CPU_FOLDER / "cpu0/cpufreq/scaling_governor"),
        "clock_mhz": _clock_mhz(),
        "temperature_c": _thousandths(text_of(_THERMAL)),
        "throttle_count": _throttle_count(),
        "cpu_limit": text_of(_CGROUP_LIMIT),
        "load_average": _load_average(),
        **intel.core_context(_allowed()),
    }
    return {key: value for key, value in found.items() if value}


def output_of(*command: str) -> str:
    """What a program prints; '' where there is none or it fails."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(command, capture_output=True, text=True, timeout=_COMMAND_SECONDS, check=True)
        return done.stdout.strip()
    return ""


def _x86_numbers() -> str:
    numbers = [_cpuinfo(field) for field in ("cpu family", "model", "stepping")]
    return f"({'-'.join(numbers)})" if all(numbers) else ""


def _allowed() -> set[int]:
    return os.sched_getaffinity(0) if sys.platform == "linux" else set()


def _clock_mhz() -> str:
    return _thousandths(text_of(_CPU_FOLDER / "cpu0/cpufreq/scaling_cur_freq")) or _cpuinfo("cpu MHz")


def _throttle_count() -> str:
    """How often the cores have throttled since the machine started, all together."""
    counts = [text_of(path) for path in _CPU_FOLDER.glob("cpu*/thermal_throttle/core_throttle_count")]
    return str(sum(int(count) for count in counts if count.isdigit())) if counts else ""


def _thousandths(text: str) -> str:
    return f"{int(text) / 1000:.0f}" if text.lstrip("-").isdigit() else ""


def _load_average() -> str:
    with contextlib.suppress(OSError, AttributeError):
        return f"{os.getloadavg()[0]:.2f}"
    return ""


def _cpuinfo(field: str) -> str:
    for line in text_of(_CPUINFO).splitlines():
        name, _, value = line.partition(":")
        if name.strip() == field:
            return value.strip()
    return ""
