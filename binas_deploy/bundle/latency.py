"""Latency as a verification finds it: what several processes measured beside the anchors, and what follows from it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from statistics import median_high, median_low
from types import MappingProxyType
from typing import Final, Literal

from binas_deploy.bundle.certainty import MOST_PROCESSES, bounds, deviation, settled, typical
from binas_deploy.bundle.cold_start import ColdStart, usual
from binas_deploy.bundle.shown import Shown
from binas_deploy.bundle.verification_parts import Verdict
from binas_deploy.errors import InputError
from binas_deploy.estimate import Estimate
from binas_deploy.measurement import Measurement
from binas_deploy.table.reconcile import Reconciliation, reconcile

Replication = Literal["process", "session", "run"]
"""What was begun anew for each: a process here, an agent's on another machine, or only the measuring."""
StoppedBy = Literal["decided", "processes", "seconds"]
REPLICATIONS: Final[Mapping[Replication, str]] = MappingProxyType(
    {"process": "fresh processes", "session": "fresh processes of the agent there", "run": "measuring runs"}
)


@dataclass(frozen=True)
class AnchorMedians:
    """Median latency in ns of one anchor: ``then`` for the table, ``now`` beside the network."""

    kind: str
    then_ns: float
    now_ns: float


@dataclass(frozen=True)
class ProcessLatency:
    """What one process measured: ``value_ns`` is the statistic that is to be shown, over ``rounds`` of visits.

    ``slowness``: how many times as slow as for the table the anchors were in it; None without anchors.

    Raises:
        InputError: not positive.
    """

    value_ns: int
    rounds: int
    cold: ColdStart | None = None
    slowness: float | None = None

    def __post_init__(self) -> None:
        if self.value_ns < 1 or (self.slowness is not None and not 0 < self.slowness < math.inf):
            raise InputError(f"a process of {self.value_ns} ns beside anchors {self.slowness} times as slow cannot be.")


@dataclass(frozen=True)
class Latency:
    """Latency of the network in several processes, in each interleaved with the table's ``anchors``.

    ``measurement`` has the samples of all, its runs being the ``processes``. ``predicted``: by the table in ns, of what
    is ``shown``; None where the table predicts something else. ``anchors`` are those measured then and now in the same
    rhythm, with ``anchor_noise`` the relative standard deviation of one as the table found it. ``noise``: what the
    processes said of the host, as text. ``replication``: what was new in each.

    Raises:
        InputError: no processes, more than the rule of `certainty` knows, or not the runs of the measurement.
    """

    measurement: Measurement
    budget_ns: int
    predicted: Estimate | None
    anchors: tuple[AnchorMedians, ...]
    processes: tuple[ProcessLatency, ...]
    stopped_by: StoppedBy
    noise: Mapping[str, str]
    anchor_noise: float
    shown: Shown
    replication: Replication = "process"

    def __post_init__(self) -> None:
        object.__setattr__(self, "noise", MappingProxyType(dict(self.noise)))
        count = len(self.processes)
        if not 1 <= count <= MOST_PROCESSES or set(self.measurement.runs.tolist()) != set(range(count)):
            raise InputError(f"latency: {count} processes do not fit the samples; 1 to {MOST_PROCESSES} can be.")

    @property
    def statistic(self) -> str:
        """What of the latency is shown."""
        return self.shown.statistic

    @cached_property
    def value_ns(self) -> int:
        """The statistic as measured: the geometric mean over processes."""
        return typical(self._values)

    @cached_property
    def interval(self) -> tuple[int, int] | None:
        """Its lower and upper bound in ns, each with the confidence asked; None with too few processes."""
        return bounds(self._values, self.shown.confidence, self._slowness)

    @cached_property
    def settled_ns(self) -> int:
        """What is to lie below a budget for it to pass in the end: the upper bound to be expected of the last look.

        And half of the processes.
        """
        return max(settled(self._values, self.shown.confidence, self._slowness), median_low(self._values))

    @property
    def spread_percent(self) -> float:
        """How far apart processes are: the standard deviation of the logarithms of what they measured."""
        return 100 * deviation(self._values) if len(self.processes) > 1 else 0.0

    @property
    def spread_beside_anchors_percent(self) -> float | None:
        """The same with each process's speed divided out, which is what the bounds rest on; None without anchors."""
        if self._slowness is None or len(self.processes) < 2:
            return None
        return 100 * deviation(self._values, self._slowness)

    @property
    def over_budget(self) -> int:
        """In how many processes it was."""
        return sum(value > self.budget_ns for value in self._values)

    @property
    def _values(self) -> list[int]:
        return [process.value_ns for process in self.processes]

    @property
    def _slowness(self) -> list[float] | None:
        """Of every process, or of none."""
        found = [process.slowness for process in self.processes if process.slowness is not None]
        return found if len(found) == len(self.processes) else None

    @property
    def rounds(self) -> int:
        """Of all processes together."""
        return sum(process.rounds for process in self.processes)

    @cached_property
    def cold(self) -> ColdStart | None:
        """How it begins, the median of the processes; None where that was not measured on this machine."""
        return usual([process.cold for process in self.processes if process.cold is not None])

    @cached_property
    def machine(self) -> Reconciliation | None:
        """From the machine that the table was measured on to the machine now; None without anchors."""
        if not self.anchors:
            return None
        then, now = [row.then_ns for row in self.anchors], [row.now_ns for row in self.anchors]
        return reconcile(then, now, noise=self.anchor_noise)

    @property
    def predicted_now_ns(self) -> float | None:
        """The table's prediction for the machine as it is now; None where it made none."""
        return None if self.machine is None or self.predicted is None else self.machine.now_ns(self.predicted.value)

    @property
    def error_percent(self) -> float | None:
        """How far that prediction lies above what was measured."""
        return None if self.predicted_now_ns is None else 100 * (self.predicted_now_ns / self.value_ns - 1)

    @property
    def headroom_percent(self) -> float:
        """How much of the budget is left unused; negative when it is over."""
        return 100 * (1 - self.value_ns / self.budget_ns)

    @property
    def slack_percent(self) -> float:
        """How much slower this machine could get before the budget breaks; negative: how much faster it has to get."""
        return 100 * (self.budget_ns / self.value_ns - 1)

    @property
    def sure_slack_percent(self) -> float | None:
        """The same at least, with the confidence asked; None with too few processes."""
        return None if self.interval is None else 100 * (self.budget_ns / self.interval[1] - 1)

    @property
    def verdict(self) -> Verdict:
        """By the bounds, not by the value: both within the budget, both over, or neither.

        And never against most of the processes: one of them that met a much faster machine takes the mean along, which
        the bounds are of. A rule on top of theirs makes neither error more likely.
        """
        if self.interval is None:
            return Verdict.INCONCLUSIVE
        low, high = self.interval
        if high <= self.budget_ns and median_low(self._values) <= self.budget_ns:
            return Verdict.PASS
        over = low > self.budget_ns and median_high(self._values) > self.budget_ns
        return Verdict.FAIL if over else Verdict.INCONCLUSIVE

    @property
    def reason(self) -> str:
        """Why not, empty when it passes."""
        budget, found = f"{self.budget_ns / 1e6:.4f} ms", f"{self.value_ns / 1e6:.4f} ms"
        if self.verdict is Verdict.FAIL:
            return f"latency: the {self.statistic} of {found} is over the budget of {budget}"
        if self.verdict is Verdict.PASS:
            return ""
        count = f"{len(self.processes)} {REPLICATIONS[self.replication]}"
        if self.interval is None:
            return f"latency: {count} are too few to judge the {self.statistic} by; give it more time"
        low, high = (f"{value / 1e6:.4f}" for value in self.interval)
        if not self.interval[0] <= self.budget_ns < self.interval[1]:
            return (
                f"latency: the bounds of the {self.statistic}, {low} and {high} ms, are of the machine's mean speed, "
                f"and that changed much: {self.over_budget} of {count} were over the budget of {budget}; verify again "
                "when it is steadier"
            )
        return (
            f"latency: the budget of {budget} lies between the bounds of the {self.statistic}, {low} and {high} ms "
            f"after {count}: it is too close to tell; close other programs and verify again, or search for a slightly "
            "smaller budget"
        )
