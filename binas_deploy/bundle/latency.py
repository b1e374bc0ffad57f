"""Latency as a verification finds it: the network's measurement beside the anchors', and what follows from both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

from binas_deploy.bundle.verification_parts import Verdict
from binas_deploy.estimate import Estimate
from binas_deploy.measurement import Measurement
from binas_deploy.table.reconcile import Reconciliation, reconcile
from binas_deploy.table.statistic import MEDIAN, QUANTILES


@dataclass(frozen=True)
class AnchorMedians:
    """Median latency in ns of one anchor: ``then`` for the table, ``now`` beside the network."""

    kind: str
    then_ns: float
    now_ns: float


@dataclass(frozen=True)
class Latency:
    """Latency of the network, measured in one interleaved run with the table's ``anchors``.

    ``statistic``: what of it was asked, a key of `QUANTILES`; ``predicted`` in ns by the table, of that.
    ``noise`` and ``stopped_by`` are those of the measuring run, as text; ``anchor_noise`` is the relative standard
    deviation of one anchor as the table found it.
    """

    measurement: Measurement
    budget_ns: int
    predicted: Estimate
    anchors: tuple[AnchorMedians, ...]
    rounds: int
    stopped_by: str
    noise: Mapping[str, str]
    anchor_noise: float
    statistic: str = MEDIAN

    def __post_init__(self) -> None:
        object.__setattr__(self, "noise", MappingProxyType(dict(self.noise)))

    @cached_property
    def value_ns(self) -> float:
        """The asked statistic as measured."""
        return self.measurement.quantile(QUANTILES[self.statistic])

    @cached_property
    def interval(self) -> tuple[int, int] | None:
        """Its 95 % order-statistic interval in ns; None with too few samples."""
        return self.measurement.known_interval(QUANTILES[self.statistic])

    @cached_property
    def machine(self) -> Reconciliation:
        """From the machine that the table was measured on to the machine now. Raises InputError without anchors."""
        then, now = [row.then_ns for row in self.anchors], [row.now_ns for row in self.anchors]
        return reconcile(then, now, noise=self.anchor_noise)

    @property
    def predicted_now_ns(self) -> float:
        """The table's prediction for the machine as it is now."""
        return self.machine.now_ns(self.predicted.value)

    @property
    def error_percent(self) -> float:
        """How far that prediction lies above what was measured."""
        return 100 * (self.predicted_now_ns / self.value_ns - 1)

    @property
    def headroom_percent(self) -> float:
        """How much of the budget is left unused; negative when it is over."""
        return 100 * (1 - self.value_ns / self.budget_ns)

    @property
    def verdict(self) -> Verdict:
        """By the interval, not by the value: all of it within the budget, all of it over, or neither."""
        if self.interval is None:
            return Verdict.INCONCLUSIVE
        low, high = self.interval
        if high <= self.budget_ns:
            return Verdict.PASS
        return Verdict.FAIL if low > self.budget_ns else Verdict.INCONCLUSIVE

    @property
    def reason(self) -> str:
        """Why not, empty when it passes."""
        budget, found = f"{self.budget_ns / 1e6:.4f} ms", f"{self.value_ns / 1e6:.4f} ms"
        if self.verdict is Verdict.FAIL:
            return f"latency: the {self.statistic} of {found} is over the budget of {budget}"
        if self.verdict is Verdict.PASS:
            return ""
        if self.interval is None:
            count = len(self.measurement)
            return f"latency: {count} samples are too few for an interval of the {self.statistic}; measure more"
        low, high = (f"{value / 1e6:.4f}" for value in self.interval)
        return (
            f"latency: the budget of {budget} lies within the interval of the {self.statistic}, {low} to {high} ms: "
            "it is too close to tell; close other programs and verify again, or search for a slightly smaller budget"
        )
