"""A sustained run of a bundle's network: call after call for a given time, and what the host says meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from binas_deploy.adapters.base import Device, Executable, Feed
from binas_deploy.bundle.latency import Replication
from binas_deploy.bundle.manifest import Manifest
from binas_deploy.bundle.shown import Shown
from binas_deploy.bundle.soak import Reading, Soak
from binas_deploy.devices import DeviceSpec, open_device
from binas_deploy.errors import InputError
from binas_deploy.measure import Timing
from binas_deploy.quality import finite_number
from binas_deploy.steps.fresh import in_fresh_process
from binas_deploy.steps.stored import loaded
from binas_deploy.visit import checked_samples, take_visit

LEAST_SECONDS: Final = 1.0
MOST_SECONDS: Final = 7 * 86_400.0
_WINDOWS: Final = 60
_LONGEST_WINDOW_S: Final = 1.0
_PARTS: Final = 4
"""Of a window: so often within it the clock is looked at."""
_READINGS: Final = 20
_TENTH: Final = 0.1
_WARMUP_CALLS: Final = 3


@dataclass(frozen=True)
class SoakJob:
    """What a sustained run is told."""

    bundle: Path
    spec: DeviceSpec
    shown: Shown
    seconds: float

    def __post_init__(self) -> None:
        if not LEAST_SECONDS <= self.seconds <= MOST_SECONDS:
            raise InputError(f"a sustained run of {self.seconds:g} s: give from {LEAST_SECONDS:g} s to a week.")


def soak(job: SoakJob, replication: Replication, device: Device) -> Soak:
    """Run it where latency is measured: in a fresh process, on a new session, or on ``device``.

    Raises:
        DeviceError: the device fails, or the process dies.
    """
    if replication == "process":
        return in_fresh_process(soaked, job)
    return soaked(job, device if replication == "run" else None)


def soaked(job: SoakJob, device: Device | None = None, clock: Callable[[], int] = time.perf_counter_ns) -> Soak:
    """The same in this process; ``device``: None opens a new one.

    Raises:
        DeviceError: the device fails.
    """
    opened, manifest = device or open_device(job.spec), Manifest.load(job.bundle)
    shape = (manifest.asked.batch, *manifest.input.shape[1:])
    feed = {manifest.input.name: np.random.default_rng(0).standard_normal(shape, dtype=np.float32)}
    with loaded(opened, job.spec, job.bundle, manifest) as executable:
        run = _Run(job, clock, lambda: opened.facts().context)
        run.go(executable, feed)
    return run.soak(manifest.asked.limit_ns)


@dataclass
class _Run:
    """What has been measured so far: latencies with the moments at which they ended, in ns from the start."""

    job: SoakJob
    clock: Callable[[], int]
    context: Callable[[], Mapping[str, str]]
    samples: list[NDArray[np.int64]] = field(default_factory=list)
    ends: list[NDArray[np.int64]] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)

    def go(self, executable: Executable, feed: Feed) -> None:
        latency = int(np.median(checked_samples(executable, feed, _WARMUP_CALLS, "network")))
        period_ms = self.job.spec.timing.period_ms
        count = max(1, int(1e9 * self._window_s / _PARTS / max(latency, period_ms * 1e6)))
        timing = Timing(warmup_ms=0.0, samples_per_visit=count, period_ms=period_ms)
        start = self.clock()
        while (now := self.clock() - start) < 1e9 * self.job.seconds:
            self._read(now)
            found = take_visit(executable, feed, timing, count, "network").samples
            self.samples.append(found)
            self.ends.append(now + (self.clock() - start - now) * np.arange(1, count + 1) // count)
        self._read(self.clock() - start, last=True)

    @property
    def _window_s(self) -> float:
        return min(_LONGEST_WINDOW_S, self.job.seconds / _WINDOWS)

    def _read(self, now: int, *, last: bool = False) -> None:
        if not last and now < len(self.readings) * 1e9 * self.job.seconds / _READINGS:
            return
        context = self.context()
        keys = ("clock_mhz", "temperature_c", "throttle_count")
        self.readings.append(Reading(now, **{key: finite_number(context.get(key)) for key in keys}))

    def soak(self, budget_ns: int) -> Soak:
        samples, ends = np.concatenate(self.samples), np.concatenate(self.ends)
        places = (ends / (1e9 * self._window_s)).astype(np.int64)
        windows = [(round(1e9 * place * self._window_s), samples[places == place]) for place in np.unique(places)]
        tenth, quantile = _TENTH * 1e9 * self.job.seconds, self.job.shown.quantile
        early, late = samples[ends <= max(tenth, ends[0])], samples[ends >= min(ends[-1], ends[-1] - tenth)]
        return Soak(
            seconds=self.job.seconds,
            calls=int(samples.size),
            windows=tuple((start, round(float(np.median(found)))) for start, found in windows),
            first_ns=round(float(np.quantile(early, quantile))),
            last_ns=round(float(np.quantile(late, quantile))),
            budget_ns=budget_ns,
            readings=tuple(self.readings),
        )
