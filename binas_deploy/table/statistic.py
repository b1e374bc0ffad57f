"""From the median of a network to another statistic of it: a factor, measured on the table's whole networks.

The factor is the median over networks of (their quantile / their median). Networks that were held out tell how far off
the product is: with e the error of a network's median and r its own ratio, it is ``(1 + e) * r / factor - 1``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from binas_deploy.errors import InputError, NotMeasuredError
from binas_deploy.estimate import Estimate
from binas_deploy.measurement import Measurement
from binas_deploy.table.margin import CONFIDENCE

MEDIAN: Final = "median"
QUANTILES: Final = {"p25": 0.25, MEDIAN: 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
_UNITS: Final = 10**9


@dataclass(frozen=True)
class Statistic:
    """``factor``: of the statistic over the median, with its 95 % interval; ``ratios``: of each network, (n,)."""

    name: str
    factor: Estimate
    ratios: tuple[float, ...]

    def errors(self, medians: Sequence[float | None]) -> tuple[float | None, ...]:
        """Errors of this statistic from those of the median."""
        pairs = zip(medians, self.ratios, strict=True)
        return tuple(None if error is None else (1 + error) * ratio / self.factor.value - 1 for error, ratio in pairs)


def statistic(name: str, measurements: Sequence[Measurement]) -> Statistic:
    """The factor of a statistic (a key of `QUANTILES`) over these networks.

    Raises:
        InputError: an unknown statistic.
        NotMeasuredError: too few samples for that quantile.
    """
    if name not in QUANTILES:
        raise InputError(f"{name!r} is not a statistic; use one of {', '.join(QUANTILES)}.")
    quantile = QUANTILES[name]
    least, needed = min(map(len, measurements)), _least_samples(quantile)
    if least < needed:
        raise NotMeasuredError(
            f"the {name} of a network takes at least {needed} samples, this table has {least} of some. "
            "Profile with more, or ask for the median."
        )
    ratios = [measured.quantile(quantile) / measured.location for measured in measurements]
    return Statistic(name, _factor(ratios), tuple(ratios))


def _least_samples(quantile: float) -> int:
    """So many that at least one is expected beyond the quantile."""
    return int(np.ceil(1 / min(quantile, 1 - quantile)))


def _factor(ratios: Sequence[float]) -> Estimate:
    whole = np.array([round(_UNITS * ratio) for ratio in ratios], dtype=np.int64)
    measured = Measurement(whole, np.zeros_like(whole))
    try:
        low, high = measured.interval(0.5, CONFIDENCE)
    except NotMeasuredError:  # too few networks: all that they span
        low, high = int(whole.min()), int(whole.max())
    return Estimate(measured.median / _UNITS, low / _UNITS, high / _UNITS, "", CONFIDENCE, "over whole networks")
