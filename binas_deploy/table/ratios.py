"""Latencies of two tables as ratios: what all have in common, and what happened to one piece apart from that.

With a and b the locations of a piece in tables A and B, r = b / a, and m the median of r over all pieces (the *common
factor*), r / m is what happened to that piece by itself. Its 95 % interval comes from those of a and b by the method
of variance estimates recovery for a difference, here of logarithms (Zou and Donner 2008, Statistics in Medicine
27:1693)::

    log low  = log(r / m) - sqrt((log a_high - log a)^2 + (log b - log b_low)^2)
    log high = log(r / m) + sqrt((log a - log a_low)^2 + (log b_high - log b)^2)

Such an interval knows the samples that the tables hold, not what would differ from one measuring run to the next.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from binas_deploy.measurement import Measurement
from binas_deploy.table.labels import Label

MOST_OF_ALL: Final = 0.9
"""The share of ratios that a spread speaks of."""
APART: Final = 0.05
"""What lies further than this from the common factor differs by an amount that matters."""

Interval = tuple[float, float]


@dataclass(frozen=True)
class Ratios:
    """Of ``count`` ratios B / A: the least, the 5, 50 and 95 % quantiles and the most, linear between logarithms.

    ``spread_percent``: nine in ten of them lie within this of the median.
    """

    count: int
    least: float
    p5: float
    median: float
    p95: float
    most: float
    spread_percent: float

    @classmethod
    def of(cls, pairs: Sequence[tuple[float, float]]) -> Ratios:
        """Of pairs (A, B) of positive numbers, at least one."""
        logs = np.array([math.log(b / a) for a, b in pairs])
        quantiles = np.quantile(logs, [0, 0.05, 0.5, 0.95, 1])
        spread = float(np.quantile(np.abs(logs - quantiles[2]), MOST_OF_ALL))
        least, p5, median, p95, most = np.exp(quantiles).tolist()
        return cls(len(logs), least, p5, median, p95, most, 100 * math.expm1(spread))

    @property
    def uniform(self) -> bool:
        """Whether nearly all changed alike."""
        return self.spread_percent <= 100 * APART


@dataclass(frozen=True)
class PieceChange:
    """A piece in both tables: locations in ns with their 95 % intervals, None with too few samples.

    ``relative``: its ratio B / A over the common factor, with ``relative_interval`` (this module's head) where both
    tables give one.
    """

    label: Label
    a_ns: float
    b_ns: float
    a_interval: Interval | None
    b_interval: Interval | None
    relative: float
    relative_interval: Interval | None

    @classmethod
    def of(cls, label: Label, a: Measurement, b: Measurement, common: float) -> PieceChange:
        """Of the piece's measurements in both tables, whose common factor is ``common``."""
        around_a, around_b = a.location_interval, b.location_interval
        relative = b.location / a.location / common
        interval = None
        if around_a is not None and around_b is not None:
            interval = _ratio_interval(relative, _logs(a.location, around_a), _logs(b.location, around_b))
        return cls(label, a.location, b.location, around_a, around_b, relative, interval)

    @property
    def ratio(self) -> float:
        """B / A."""
        return self.b_ns / self.a_ns

    @property
    def distance(self) -> float:
        """How far it went from the common factor, up or down, as a logarithm."""
        return abs(math.log(self.relative))

    @property
    def excludes_no_change(self) -> bool | None:
        """Whether the interval shows a change apart from the common factor; None without an interval."""
        if self.relative_interval is None:
            return None
        low, high = self.relative_interval
        return not low <= 1 <= high

    @property
    def apart(self) -> bool:
        """Whether it changed by itself, by an amount that matters."""
        return bool(self.excludes_no_change) and self.distance > math.log1p(APART)

    def to_json(self) -> dict[str, Any]:
        """The document form."""
        figures = {key: value for key, value in asdict(self).items() if key != "label"}
        derived = {"ratio": self.ratio, "excludes_no_change": self.excludes_no_change}
        return {**self.label.to_json(), **figures, **derived}


def _logs(location: float, interval: Interval) -> Interval:
    """How far an interval reaches below and above its location, as logarithms."""
    return math.log(location / interval[0]), math.log(interval[1] / location)


def _ratio_interval(ratio: float, a: Interval, b: Interval) -> Interval:
    """Of b / a, where each reaches (below, above) as logarithms."""
    return ratio * math.exp(-math.hypot(a[1], b[0])), ratio * math.exp(math.hypot(a[0], b[1]))
