"""The one place that times. It knows the device protocol and nothing of networks.

Subjects are measured in interleaved rounds: each round visits all of them once in a fresh random order, so that a
drift of the host's speed falls on all alike (it reaches 1.4 times within minutes on shared machines), and each visit
tells how fast the host was for those beside it (`steady`). A visit warms the subject up and then takes a few
back-to-back samples. One subject, the sentinel, shows how steady the host was. Rounds go on until each subject's
steady location is known to within the target, or a limit is reached. No subject leaves earlier than the others: its
level would be that of the moment it left, on a host whose speed changes by the minute.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

import numpy as np

from binas_deploy.adapters.base import Executable, Feed, SelfWarming
from binas_deploy.errors import DeviceError, InputError, NotMeasuredError
from binas_deploy.measurement import Measurement, Steady
from binas_deploy.quality import Quality, Watch, interval_percents, steadiness, timer_resolution_ns
from binas_deploy.steady import Round, Samples, locations

OnRound = Callable[[int, Round], None]

_LEAST_SAMPLES: Final = 2
_LOOK_EVERY: Final = 8
"""Rounds between two looks at how well all is known, which take some tenths of a second each."""
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
class Subject:
    """Something to time: ``open`` gives it loaded for one visit (a resident one is given each time)."""

    key: str
    open: Callable[[], AbstractContextManager[Executable]]
    feed: Feed


@dataclass(frozen=True)
class Measured:
    """What `measure` gives: the rounds of this run, and its quality."""

    rounds: tuple[Round, ...]
    quality: Quality

    def samples(self, key: str) -> Samples:
        """All samples of a subject in this run, in the order taken.

        Raises:
            NotMeasuredError: no round was measured in this run.
        """
        if not self.rounds:
            raise NotMeasuredError(f"{key}: no round was measured in this run.")
        return np.concatenate([samples[key] for samples in self.rounds])

    @cached_property
    def steady(self) -> dict[str, Steady]:
        """Where each subject lies in this run, the host's ups and downs divided out."""
        return locations(self.rounds)

    def measurement(self, key: str) -> Measurement:
        """A subject's samples with its location. Raises NotMeasuredError as `samples`."""
        samples = self.samples(key)
        return Measurement(samples, np.zeros_like(samples), steady=self.steady[key])


def measure(
    subjects: Sequence[Subject],
    *,
    timing: Timing,
    rng: np.random.Generator,
    sentinel: str,
    done: Sequence[Round] = (),
    on_round: OnRound | None = None,
    clock: Callable[[], int] = time.perf_counter_ns,
) -> Measured:
    """Measure interleaved rounds until the stopping rule of ``timing`` is met.

    ``done`` are complete rounds of earlier runs: they count, and none is repeated. ``on_round(index, samples)``
    is called after each new round; what it raises ends the measuring, and so does Ctrl-C, at the cost of the
    current round.

    Raises:
        InputError: no subjects, a key twice, a sentinel that is not among them, or ``done`` rounds of other subjects.
        DeviceError: the device fails, or gives latencies that cannot be.
    """
    _check_subjects(subjects, sentinel)
    _check_done(done, subjects)
    watch = Watch(clock)
    rounds, visits = list(done), _Visits()
    while not (stopped_by := _stop_reason(timing, rounds, watch.seconds())):
        rounds.append(_round([subjects[index] for index in rng.permutation(len(subjects))], timing, visits))
        if on_round is not None:
            on_round(len(rounds) - 1, rounds[-1])
    new = tuple(rounds[len(done) :])
    return Measured(new, _quality(rounds, new or rounds, sentinel, timing, stopped_by, watch, visits))


def _check_subjects(subjects: Sequence[Subject], sentinel: str) -> None:
    keys = [subject.key for subject in subjects]
    if not keys:
        raise InputError("nothing to measure: give at least one subject.")
    if len(set(keys)) != len(keys):
        twice = next(key for key in keys if keys.count(key) > 1)
        raise InputError(f"{twice!r} is to be measured twice in a round; give each subject once.")
    if sentinel not in keys:
        raise InputError(f"the sentinel {sentinel!r} is not among the {len(keys)} subjects.")


def _check_done(done: Sequence[Round], subjects: Sequence[Subject]) -> None:
    keys = {subject.key for subject in subjects}
    for index, samples in enumerate(done):
        if samples.keys() != keys:
            raise InputError(f"round {index} of an earlier run measured other subjects; start afresh.")


def _stop_reason(timing: Timing, rounds: Sequence[Round], seconds: float) -> str:
    if len(rounds) < timing.min_rounds:
        return ""
    looking = (len(rounds) - timing.min_rounds) % _LOOK_EVERY == 0
    if looking and max(interval_percents(locations(rounds)).values()) <= timing.target_interval_percent:
        return "target"
    if len(rounds) >= timing.max_rounds:
        return "rounds"
    return "seconds" if seconds >= timing.max_seconds else ""


def _quality(
    rounds: Sequence[Round],
    new: Sequence[Round],
    sentinel: str,
    timing: Timing,
    stopped_by: str,
    watch: Watch,
    visits: _Visits,
) -> Quality:
    found = locations(rounds)
    widths = interval_percents(found)
    trend, spread = steadiness([samples[sentinel] for samples in new])
    return Quality(
        rounds=len(rounds),
        seconds=watch.seconds(),
        stopped_by=stopped_by,
        interval_percent=widths,
        noisy=tuple(key for key, width in widths.items() if width > timing.target_interval_percent),
        sentinel_trend=trend,
        sentinel_spread=spread,
        contention=watch.contention(),
        cpu_per_wall=visits.cpu_per_wall,
        timer_resolution_ns=timer_resolution_ns(watch.clock),
        least_ns=min(steady.ns for steady in found.values()),
    )


@dataclass
class _Visits:
    """What visits share: how many samples each subject gets, and the time that calls have taken so far."""

    counts: dict[str, int] = field(default_factory=dict)
    wall_ns: int = 0
    cpu_ns: int = 0

    @property
    def cpu_per_wall(self) -> float:
        """CPU seconds of this process for each second that calls took; nan before the first."""
        return self.cpu_ns / self.wall_ns if self.wall_ns else math.nan

    def sample(self, executable: Executable, subject: Subject, count: int) -> Samples:
        """``count`` latencies in ns."""
        wall, cpu = time.perf_counter_ns(), time.process_time_ns()
        samples = checked_samples(executable, subject, count)
        self.wall_ns += time.perf_counter_ns() - wall
        self.cpu_ns += time.process_time_ns() - cpu
        return samples


def _round(order: Sequence[Subject], timing: Timing, visits: _Visits) -> Round:
    return {subject.key: _visit(subject, timing, visits) for subject in order}


def _visit(subject: Subject, timing: Timing, visits: _Visits) -> Samples:
    with subject.open() as executable:
        if timing.period_ms:
            return _visit_in_rhythm(executable, subject, timing, visits)
        _warm_up(executable, subject, timing, visits)
        # Settled once: were it settled anew, slow moments would get fewer samples than fast ones.
        if subject.key not in visits.counts:
            latency = visits.sample(executable, subject, _LEAST_SAMPLES).min()
            visits.counts[subject.key] = timing.samples_of_visit(int(latency))
        return visits.sample(executable, subject, visits.counts[subject.key])


def _visit_in_rhythm(executable: Executable, subject: Subject, timing: Timing, visits: _Visits) -> Samples:
    """Single calls, a period apart. The first is not counted: the subject before has left its traces."""
    if isinstance(executable, SelfWarming):
        raise InputError(
            "this device makes its calls by itself, back to back: it cannot be called in a rhythm. Set period_ms = 0 "
            "in its file, or leave --period out."
        )
    if subject.key not in visits.counts:
        latency = visits.sample(executable, subject, _LEAST_SAMPLES).min()
        visits.counts[subject.key] = timing.samples_of_visit(int(latency))
    begin, found = time.perf_counter(), []
    for index in range(1 + visits.counts[subject.key]):
        # From the start, not from the last call: a late call does not put off those after it.
        time.sleep(max(0.0, begin + (index + 1) * timing.period_ms / 1e3 - time.perf_counter()))
        found.append(visits.sample(executable, subject, 1))
    return np.concatenate(found[1:])


def _warm_up(executable: Executable, subject: Subject, timing: Timing, visits: _Visits) -> None:
    """At least one call, and calls for ``warmup_ms`` by the device's own account; none of one that does so itself."""
    if isinstance(executable, SelfWarming):
        return
    first = int(visits.sample(executable, subject, 1)[0])
    left = timing.warmup_ms * 1e6 - first
    if left > 0:
        visits.sample(executable, subject, min(math.ceil(left / first), _MOST_WARMUP_CALLS))


def checked_samples(executable: Executable, subject: Subject, count: int) -> Samples:
    """Latencies of ``count`` calls in ns, (count,). Raises DeviceError where the device gives what cannot be."""
    samples = executable.sample(subject.feed, count=count)
    if samples.shape != (count,) or samples.dtype != np.int64 or samples.min() < 1:
        raise DeviceError(
            f"{subject.key}: {count} latencies asked, the device gave {samples.dtype} of shape {samples.shape}"
            f"{f' from {samples.min()} ns' if samples.size else ''}; latencies are positive int64 nanoseconds."
        )
    return samples
