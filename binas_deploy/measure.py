"""The measuring core: whom to visit when, and when it is enough. `visit` does the timing.

It knows the device protocol and nothing of networks.

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

from binas_deploy.adapters.base import Executable, Feed
from binas_deploy.errors import InputError, LinkLostError, NotMeasuredError
from binas_deploy.measurement import Measurement, Steady
from binas_deploy.quality import Machine, Quality, ThisMachine, Watch, interval_percents, steadiness
from binas_deploy.steady import Round, Samples, locations
from binas_deploy.visit import Timing as Timing
from binas_deploy.visit import take_visit

OnRound = Callable[[int, Round], None]

_LOOK_EVERY: Final = 8
"""Rounds between two looks at how well all is known, which take some tenths of a second each."""
_MOST_LOSSES: Final = 5
"""Of the link to a remote device in one round: a network that kills the device each time would go on for ever."""


@dataclass(frozen=True)
class Subject:
    """Something to time: ``open`` gives it loaded for one visit (a resident one is given each time).

    ``machine``: where it runs, when that is not this machine.
    """

    key: str
    open: Callable[[], AbstractContextManager[Executable]]
    feed: Feed
    machine: Machine | None = None


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
    on_lost: Callable[[], None] | None = None,
    clock: Callable[[], int] = time.perf_counter_ns,
) -> Measured:
    """Measure interleaved rounds until the stopping rule of ``timing`` is met.

    ``done`` are complete rounds of earlier runs: they count, and none is repeated. ``on_round(index, samples)``
    is called after each new round; what it raises ends the measuring, and so does Ctrl-C, at the cost of the
    current round. A lost link to a remote device costs the current round too, which is measured again; ``on_lost`` is
    called before that.

    Raises:
        InputError: no subjects, a key twice, a sentinel that is not among them, or ``done`` rounds of other subjects.
        DeviceError: the device fails, or gives latencies that cannot be.
    """
    _check_subjects(subjects, sentinel)
    _check_done(done, subjects)
    watch = Watch(clock, subjects[0].machine or ThisMachine(clock))
    rounds, visits, losses = list(done), _Visits(), 0
    while not (stopped_by := _stop_reason(timing, rounds, watch.seconds())):
        try:
            rounds.append(_round([subjects[index] for index in rng.permutation(len(subjects))], timing, visits))
        except LinkLostError:
            losses += 1
            if losses == _MOST_LOSSES:
                raise
            watch.look_afresh()
            if on_lost is not None:
                on_lost()
            continue
        losses = 0
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
        timer_resolution_ns=watch.machine.timer_resolution_ns(),
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
        """CPU seconds of the process for each second that calls took; nan before the first."""
        return self.cpu_ns / self.wall_ns if self.wall_ns else math.nan

    def visit(self, subject: Subject, timing: Timing) -> Samples:
        """One visit's latencies in ns."""
        with subject.open() as executable:
            visit = take_visit(executable, subject.feed, timing, self.counts.get(subject.key), subject.key)
        # Settled once: were it settled anew, slow moments would get fewer samples than fast ones.
        self.counts.setdefault(subject.key, visit.samples.size)
        self.wall_ns += visit.wall_ns
        self.cpu_ns += visit.cpu_ns
        return visit.samples


def _round(order: Sequence[Subject], timing: Timing, visits: _Visits) -> Round:
    return {subject.key: visits.visit(subject, timing) for subject in order}
