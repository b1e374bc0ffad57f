"""What a verification is to show of the latency: which quantile of the calls, in which rhythm, how surely."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from binas_deploy.conditions import period_of
from binas_deploy.errors import InputError
from binas_deploy.table.statistic import MEDIAN

if TYPE_CHECKING:
    from binas_deploy.bundle.manifest_parts import Asked

CONFIDENCE: Final = 0.95
STATISTIC_PATTERN: Final = r"median|p[1-9][0-9]?(\.[0-9])?"
_LEAST, _MOST = 1.0, 99.9


def statistic_of(percentile: float) -> str:
    """``median`` or such as ``p95`` and ``p99.9``.

    Raises:
        InputError: not from 1 to 99.9, or with more than one decimal.
    """
    if not _LEAST <= percentile <= _MOST or round(percentile, 1) != percentile:
        raise InputError(f"percentile {percentile:g}: give one from 1 to 99.9, with one decimal at most.")
    return MEDIAN if percentile == 50 else f"p{percentile:g}"


@dataclass(frozen=True)
class Shown:
    """The ``statistic`` of calls at ``cadence`` is to be shown with ``confidence``.

    Raises:
        InputError: not a statistic, cadence or confidence that can be asked.
    """

    statistic: str
    cadence: str
    confidence: float = CONFIDENCE

    def __post_init__(self) -> None:
        if not re.fullmatch(STATISTIC_PATTERN, self.statistic):
            raise InputError(f"{self.statistic!r} is not a statistic; use median, or such as p95.")
        if not 0.5 < self.confidence < 1:
            raise InputError(f"confidence {self.confidence:g}: give one between 0.5 and 1, such as 0.95.")
        period_of(self.cadence)

    @classmethod
    def of(
        cls,
        asked: Asked,
        *,
        percentile: float | None = None,
        confidence: float | None = None,
        cadence: str | None = None,
    ) -> Shown:
        """What a bundle was asked, but for what is given."""
        statistic = asked.statistic if percentile is None else statistic_of(percentile)
        return cls(statistic, cadence or asked.cadence, CONFIDENCE if confidence is None else confidence)

    @property
    def quantile(self) -> float:
        """Between 0 and 1."""
        return 0.5 if self.statistic == MEDIAN else float(self.statistic[1:]) / 100

    def predicted_by(self, asked: Asked) -> bool:
        """Whether what the table predicted for ``asked`` is a prediction of this."""
        return (self.statistic, self.cadence) == (asked.statistic, asked.cadence)
