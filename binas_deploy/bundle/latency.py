"""Latency as a verification finds it: the network's measurement beside the anchors', and what follows from both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Final

import numpy as np

from binas_deploy.bundle.verification_parts import Verdict
from binas_deploy.errors import InputError, NotMeasuredError
from binas_deploy.estimate import Estimate
from binas_deploy.measurement import Measurement

_RATIO_UNITS: Final = 10**9


@dataclass(frozen=True)
class AnchorMedians:
    """Median latency in ns of one anchor: ``then`` for the table, ``now`` beside the network."""

    kind: str
    then_ns: float
    now_ns: float


@dataclass(frozen=True)
class MachineFactor:
    """How many times slower the machine is than when the table was measured: the median over ``anchors`` of now/then.

    ``low`` and ``high`` are its 95 % order-statistic interval; None with fewer than 6 anchors.
    """

    value: float
    low: float | None
    high: float | None
    anchors: int

    @classmethod
    def of(cls, anchors: Sequence[AnchorMedians]) -> MachineFactor:
        """From anchors measured again.

        Raises:
            InputError: there are none.
        """
        if not anchors:
            raise InputError("a machine factor needs at least one anchor measured again.")
        # As integers of 1e-9, so that a measurement's order statistics serve.
        ratios = np.array([round(_RATIO_UNITS * row.now_ns / row.then_ns) for row in anchors], dtype=np.int64)
        measured = Measurement(np.maximum(ratios, 1), np.zeros_like(ratios))
        low, high = _interval(measured)
        scale = 1 / _RATIO_UNITS
        return cls(measured.median * scale, low and low * scale, high and high * scale, len(anchors))


@dataclass(frozen=True)
class Latency:
    """Latency of the network, measured in one interleaved run with the table's ``anchors``.

    ``predicted`` in ns by the table. ``noise`` and ``stopped_by`` are those of the measuring run, as text.
    """

    measurement: Measurement
    budget_ns: int
    predicted: Estimate
    anchors: tuple[AnchorMedians, ...]
    rounds: int
    stopped_by: str
    noise: Mapping[str, str]

    def __post_init__(self) -> None:
        object.__setattr__(self, "noise", MappingProxyType(dict(self.noise)))

    @cached_property
    def interval(self) -> tuple[int, int] | None:
        """95 % order-statistic interval of the median in ns; None with too few samples."""
        low, high = _interval(self.measurement)
        return None if low is None or high is None else (low, high)

    @cached_property
    def machine(self) -> MachineFactor:
        """The machine now against the machine that the table was measured on."""
        return MachineFactor.of(self.anchors)

    @property
    def predicted_now_ns(self) -> float:
        """The table's prediction for the machine as it is now."""
        return self.predicted.value * self.machine.value

    @property
    def error_percent(self) -> float:
        """How far that prediction lies above the measured median."""
        return 100 * (self.predicted_now_ns / self.measurement.median - 1)

    @property
    def headroom_percent(self) -> float:
        """How much of the budget the measured median leaves unused; negative when it is over."""
        return 100 * (1 - self.measurement.median / self.budget_ns)

    @property
    def verdict(self) -> Verdict:
        """By the interval of the median, not by the median: all of it within the budget, all of it over, or neither."""
        if self.interval is None:
            return Verdict.INCONCLUSIVE
        low, high = self.interval
        if high <= self.budget_ns:
            return Verdict.PASS
        return Verdict.FAIL if low > self.budget_ns else Verdict.INCONCLUSIVE

    @property
    def reason(self) -> str:
        """Why not, empty when it passes."""
        budget, median = f"{self.budget_ns / 1e6:.4f} ms", f"{self.measurement.median / 1e6:.4f} ms"
        if self.verdict is Verdict.FAIL:
            return f"latency: the median of {median} is over the budget of {budget}"
        if self.verdict is Verdict.PASS:
            return ""
        if self.interval is None:
            return f"latency: {len(self.measurement)} samples are too few for an interval of the median; measure more"
        low, high = (f"{value / 1e6:.4f}" for value in self.interval)
        return (
            f"latency: the budget of {budget} lies within the interval of the median, {low} to {high} ms: it is too "
            "close to tell; close other programs and verify again, or search for a slightly smaller budget"
        )


def _interval(measurement: Measurement) -> tuple[int, int] | tuple[None, None]:
    try:
        return measurement.interval(0.5)
    except NotMeasuredError:
        return None, None
