"""How good a measuring run was: how well each latency is known, how steady the host, who else was at work."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Protocol

import numpy as np

from binas_deploy.measurement import Measurement, Steady
from binas_deploy.steady import Samples

BUSY_CPUS: Final = 0.3
"""More CPUs than this at work for others is noise."""
DRIFT: Final = 0.2
"""More change of speed within a run than this is noise; less is divided out (`steady`)."""
COARSE: Final = 0.01
"""A clock whose steps are a larger share of the least latency cannot tell latencies apart."""
WIDE: Final = 10.0
"""Percent: where half of all latencies are known less well than this, a run is noisy."""
SAME_CLOCK: Final = 0.05
"""Clocks that differ by less than this share are alike."""
AT_END: Final = "_end"
"""Added to a key of the host's context for what it was when the run ended."""
_RESOLUTION_READS: Final = 50


@dataclass(frozen=True)
class Quality:
    """How good a measuring run was.

    ``rounds``: all there are, earlier runs' included; ``stopped_by``: 'target', 'rounds' or 'seconds';
    ``interval_percent``: of each subject, how far the 95 % interval of its location reaches from it;
    ``noisy``: the subjects whose interval stayed wider than the target; ``sentinel_trend``: its median in the run's
    last third over that in the first; ``sentinel_spread``: its p90 over its p10; ``contention``: CPUs kept busy
    by other processes, on average (None when unknown); ``cpu_per_wall``: CPU seconds of this process for each second
    that calls took: with one thread on a CPU, less than 1 was waiting for it;
    ``least_ns``: the least location of any subject, which the clock's steps have to be small beside.
    """

    rounds: int
    seconds: float
    stopped_by: str
    interval_percent: Mapping[str, float]
    noisy: tuple[str, ...]
    sentinel_trend: float
    sentinel_spread: float
    contention: float | None
    cpu_per_wall: float
    timer_resolution_ns: int
    least_ns: int

    def to_json(self) -> dict[str, Any]:
        """The document form; an interval that is not known yet is None."""
        known = {key: round(x, 3) if math.isfinite(x) else None for key, x in self.interval_percent.items()}
        cpu = self.cpu_per_wall if math.isfinite(self.cpu_per_wall) else None
        return {**asdict(self), "cpu_per_wall": cpu, "interval_percent": known, "noisy": list(self.noisy)}

    def _usual_interval(self) -> float:
        return float(np.median(list(self.interval_percent.values()))) if self.interval_percent else math.inf

    def summary(self) -> dict[str, str]:
        """The figures as short text, for the record of a run."""
        contention = {} if self.contention is None else {"contention_cpus": f"{self.contention:.2f}"}
        return {
            "measured_s": f"{self.seconds:.1f}",
            "stopped_by": self.stopped_by,
            "noisy": str(len(self.noisy)),
            "interval_percent": f"{self._usual_interval():.2f}",
            "sentinel_trend": f"{self.sentinel_trend:.4f}",
            "sentinel_spread": f"{self.sentinel_spread:.4f}",
            **contention,
            **({"cpu_per_wall": f"{self.cpu_per_wall:.3f}"} if math.isfinite(self.cpu_per_wall) else {}),
            "timer_resolution_ns": str(self.timer_resolution_ns),
            "least_ns": str(self.least_ns),
        }


@dataclass(frozen=True)
class MachineTimes:
    """Seconds, each since some moment of its own: of the wall clock, of CPU time that the process which measures has
    used, and of CPU time that the whole machine has spent working (None when unknown). ``process``: its number.
    """

    process: int
    wall: float
    own: float
    busy: float | None


class Machine(Protocol):
    """The machine that latencies are of, as far as a measuring run looks at it."""

    def times(self) -> MachineTimes:
        """Now."""
        ...

    def timer_resolution_ns(self) -> int:
        """The steps of the clock that times calls."""
        ...

    def available_memory(self) -> int:
        """Bytes that programs may still take."""
        ...


class ThisMachine:
    """The one that this process runs on; its calls are timed by ``clock``."""

    def __init__(self, clock: Callable[[], int] = time.perf_counter_ns) -> None:
        self._clock = clock

    def times(self) -> MachineTimes:
        """Now."""
        return MachineTimes(os.getpid(), time.monotonic(), _own_seconds(), _busy_seconds())

    def timer_resolution_ns(self) -> int:
        """The steps of the clock that times calls."""
        return timer_resolution_ns(self._clock)

    def available_memory(self) -> int:
        """Bytes that programs may still take."""
        import psutil  # here: only measuring needs it

        return int(psutil.virtual_memory().available)


class Watch:
    """Time by ``clock`` since it was made, and what other processes did on ``machine`` since it last looked afresh."""

    def __init__(self, clock: Callable[[], int], machine: Machine) -> None:
        self.machine = machine
        self._clock = clock
        self._start = clock()
        self.look_afresh()

    def look_afresh(self) -> None:
        """Forget what others did: another process measures from now on."""
        self._begun = self.machine.times()

    def seconds(self) -> float:
        """Since it was made."""
        return (self._clock() - self._start) / 1e9

    def contention(self) -> float | None:
        """CPUs that other processes kept busy, on average; None when it cannot be read."""
        begun, now = self._begun, self.machine.times()
        wall = now.wall - begun.wall
        if now.busy is None or begun.busy is None or wall <= 0 or now.process != begun.process:
            return None
        others = (now.busy - begun.busy) - (now.own - begun.own)
        return max(0.0, others / wall)


def _own_seconds() -> float:
    """CPU time of this process and of those it has started and seen end: a command that times is no other's work."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _busy_seconds() -> float | None:
    """CPU time that the whole machine has spent working."""
    import psutil  # here: only measuring needs it

    try:
        times = psutil.cpu_times()
    except (OSError, psutil.Error):  # containers may hide /proc
        return None
    # Guest time is counted in user time already; stolen time is what other guests of the host took.
    idle = {"idle", "iowait", "guest", "guest_nice"}
    return float(sum(value for name, value in times._asdict().items() if name not in idle))


def interval_percents(found: Mapping[str, Steady]) -> dict[str, float]:
    """How far the 95 % interval of each location reaches from it, in percent; infinite where it is not known."""
    return {key: _reach(steady) for key, steady in found.items()}


def _reach(steady: Steady) -> float:
    if steady.low is None or steady.high is None:
        return math.inf
    return 100 * max(steady.high - steady.ns, steady.ns - steady.low) / steady.ns


def interval_percent(measurement: Measurement) -> float | None:
    """The same of one measurement; None where it is not known."""
    interval = measurement.location_interval
    if interval is None:
        return None
    low, high = interval
    return 100 * max(high - measurement.location, measurement.location - low) / measurement.location


def noise_findings(summary: Mapping[str, str]) -> tuple[str, ...] | None:
    """What a run's host and `Quality.summary` have against it, in words; None without one, as of a stopped run."""
    keys = ("interval_percent", "contention_cpus", "sentinel_trend", "timer_resolution_ns", "least_ns")
    interval, busy, trend, step, least = (finite_number(summary.get(key)) for key in keys)
    if trend is None:
        return None
    found = [
        f"half of all latencies are known to ±{interval:.0f} % only"
        if interval is not None and interval > WIDE
        else "",
        f"other processes kept {busy:.1f} CPUs busy" if busy is not None and busy > BUSY_CPUS else "",
        f"the speed drifted by {100 * (trend - 1):+.0f} %" if abs(trend - 1) > DRIFT else "",
        *_changed_findings(summary),
        f"the clock's steps of {step:.0f} ns are coarse" if step and least and step > COARSE * least else "",
        f"it may have run on cores of different speed ({cores}): confine it to one kind, as with taskset --cpu-list"
        if (cores := summary.get("mixed_cores"))
        else "",
    ]
    return tuple(text for text in found if text)


def _changed_findings(summary: Mapping[str, str]) -> tuple[str, str]:
    """What the CPU did between the run's start and its end."""
    throttled, before = (finite_number(summary.get(f"throttle_count{when}")) for when in (AT_END, ""))
    ended, began = (finite_number(summary.get(f"clock_mhz{when}")) for when in (AT_END, ""))
    return (
        "the CPU throttled" if throttled is not None and before is not None and throttled > before else "",
        f"its clock went from {began:.0f} to {ended:.0f} MHz"
        if began and ended and abs(ended / began - 1) > SAME_CLOCK
        else "",
    )


def finite_number(text: str | None) -> float | None:
    """The finite number that the text of a file states, if it does."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def timer_resolution_ns(clock: Callable[[], int] = time.perf_counter_ns) -> int:
    """The steps in which the clock moves, in ns.

    One that stands still between two readings moves by the smallest step that is seen. One that never does moves in
    finer steps than it can be read in: what all differences are multiples of tells them.
    """
    steps, stood_still = [], False
    for _ in range(_RESOLUTION_READS):
        start, now = clock(), clock()
        stood_still |= now == start
        while now == start:
            now = clock()
        steps.append(now - start)
    return min(steps) if stood_still else math.gcd(*steps)


def steadiness(rounds: Sequence[Samples]) -> tuple[float, float]:
    """(median of the last third over that of the first, p90 over p10) of the sentinel's rounds."""
    third = max(1, len(rounds) // 3)
    first, last = (float(np.median(np.concatenate(list(part)))) for part in (rounds[:third], rounds[-third:]))
    p10, p90 = np.quantile(np.concatenate(list(rounds)), [0.1, 0.9])
    return last / first, float(p90 / p10)
