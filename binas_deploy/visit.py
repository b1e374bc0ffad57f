"""One visit to a loaded network: warm it up, take a few samples. The one place that times calls.

It runs on the machine that the network runs on. An executable that is elsewhere takes the visit there (`TakesVisits`),
by this very code: were each call asked for over a link, the waits between them would be measured too.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

import numpy as np

from binas_deploy.adapters.base import Executable, Feed, SelfWarming
from binas_deploy.errors import DeviceError, InputError

if TYPE_CHECKING:
    from binas_deploy.steady import Samples  # what it imports takes a quarter of a second, which fresh processes pay

_LEAST_SAMPLES: Final = 2
_MOST_WARMUP_CALLS: Final = 10_000


@dataclass(frozen=True)
class Timing:
    """How much to measure.

    ``warmup_ms`` and ``samples_per_visit`` hold for one visit; a subject whose samples would take longer than
    ``visit_ms`` gets fewer (at least 2, the same in every round), so that more rounds fit. At least ``min_rounds``
    are measured; after that, measuring stops at ``max_rounds``, after ``max_seconds``, or once the 95 % interval of
    every subject's location lies within ``target_interval_percent`` of it. ``period_ms``: from the start of one call to
    that of the next, as a camera calls a network; 0 is back to back.
    """

    warmup_ms: float = 1.0
    samples_per_visit: int = 8
    visit_ms: float = 20.0
    min_rounds: int = 12
    max_rounds: int = 80
    max_seconds: float = 60.0
    target_interval_percent: float = 1.0
    period_ms: float = 0.0

    def samples_of_visit(self, latency_ns: float) -> int:
        """How many samples of a subject of this latency one visit takes."""
        least = min(_LEAST_SAMPLES, self.samples_per_visit)
        return max(least, min(self.samples_per_visit, int(self.visit_ms * 1e6 / self._call_ns(latency_ns))))

    def visit_ns(self, latency_ns: float) -> float:
        """How long a visit to a subject of this latency takes."""
        call = self._call_ns(latency_ns)
        warming = call if self.period_ms else max(self.warmup_ms * 1e6, latency_ns)
        return warming + self.samples_of_visit(latency_ns) * call

    def _call_ns(self, latency_ns: float) -> float:
        """From one call to the next."""
        return max(latency_ns, self.period_ms * 1e6)


@dataclass(frozen=True)
class Visit:
    """What a visit gave: ``samples`` (n,) in ns, and the time that all its calls took, the uncounted ones included.

    ``cpu_ns``: CPU time that the process spent in them.
    """

    samples: Samples
    wall_ns: int
    cpu_ns: int


@runtime_checkable
class TakesVisits(Protocol):
    """An executable on another machine, which takes whole visits there."""

    def visit(self, feed: Feed, timing: Timing, count: int | None) -> Visit:
        """As `take_visit`.

        Raises:
            LinkLostError: the link broke; nothing of the visit is known.
            DeviceError: the device failed.
        """
        ...


def take_visit(executable: Executable, feed: Feed, timing: Timing, count: int | None, name: str) -> Visit:
    """Visit an executable for ``count`` samples; None settles how many fit into the visit's time.

    ``name`` is what messages call it.

    Raises:
        DeviceError: the device fails, or gives latencies that cannot be.
        InputError: a rhythm asked of a device that makes its calls by itself.
    """
    if isinstance(executable, TakesVisits):
        return executable.visit(feed, timing, count)
    if timing.period_ms and isinstance(executable, SelfWarming):
        raise InputError(
            "this device makes its calls by itself, back to back: it cannot be called in a rhythm. Set period_ms = 0 "
            "in its file, or leave --period out."
        )
    calls = _Calls(executable, feed, name)
    samples = _in_rhythm(calls, timing, count) if timing.period_ms else _back_to_back(calls, timing, count)
    return Visit(samples, calls.wall_ns, calls.cpu_ns)


def checked_samples(executable: Executable, feed: Feed, count: int, name: str) -> Samples:
    """Latencies of ``count`` calls in ns, (count,). Raises DeviceError where the device gives what cannot be."""
    samples = executable.sample(feed, count=count)
    if samples.shape != (count,) or samples.dtype != np.int64 or samples.min() < 1:
        raise DeviceError(
            f"{name}: {count} latencies asked, the device gave {samples.dtype} of shape {samples.shape}"
            f"{f' from {samples.min()} ns' if samples.size else ''}; latencies are positive int64 nanoseconds."
        )
    return samples


class _Calls:
    """The calls of one visit, and the time they take."""

    def __init__(self, executable: Executable, feed: Feed, name: str) -> None:
        self._executable = executable
        self._feed = feed
        self._name = name
        self.warm_by_themselves = isinstance(executable, SelfWarming)
        self.wall_ns = self.cpu_ns = 0

    def sample(self, count: int) -> Samples:
        """``count`` latencies in ns."""
        wall, cpu = time.perf_counter_ns(), time.process_time_ns()
        samples = checked_samples(self._executable, self._feed, count, self._name)
        self.wall_ns += time.perf_counter_ns() - wall
        self.cpu_ns += time.process_time_ns() - cpu
        return samples

    def fitting(self, timing: Timing) -> int:
        """How many samples a visit has time for."""
        return timing.samples_of_visit(int(self.sample(_LEAST_SAMPLES).min()))


def _back_to_back(calls: _Calls, timing: Timing, count: int | None) -> Samples:
    if not calls.warm_by_themselves:
        _warm_up(calls, timing)
    return calls.sample(count or calls.fitting(timing))


def _in_rhythm(calls: _Calls, timing: Timing, count: int | None) -> Samples:
    """Single calls, a period apart. The first is not counted: the subject before has left its traces."""
    count = count or calls.fitting(timing)
    begin, found = time.perf_counter(), []
    for index in range(1 + count):
        # From the start, not from the last call: a late call does not put off those after it.
        time.sleep(max(0.0, begin + (index + 1) * timing.period_ms / 1e3 - time.perf_counter()))
        found.append(calls.sample(1))
    return np.concatenate(found[1:])


def _warm_up(calls: _Calls, timing: Timing) -> None:
    """At least one call, and calls for ``warmup_ms`` by the device's own account."""
    first = int(calls.sample(1)[0])
    left = timing.warmup_ms * 1e6 - first
    if left > 0:
        calls.sample(min(math.ceil(left / first), _MOST_WARMUP_CALLS))
