"""The rounds of a deployment: what each searched for and found, and what the next one should aim at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from binas_deploy.bundle.verification import Latency, Verdict, VerificationReport
from binas_deploy.search_result import SearchResult

MOST_ROUNDS: Final = 4
MARGIN: Final = 0.003
"""By how much each round aims below what the last one measured, more in each."""


@dataclass(frozen=True)
class Round:
    """One search and what came of it.

    It searched for ``effective_ns`` and found a network predicted to take ``predicted_ns``, with ``accuracy`` in
    percent; measured was ``measured_ns``, between the bounds ``interval`` (None with too few processes).
    """

    effective_ns: int
    predicted_ns: float
    accuracy: float
    measured_ns: float
    interval: tuple[int, int] | None
    verdict: Verdict

    @classmethod
    def of(cls, effective_ns: int, result: SearchResult, latency: Latency) -> Round:
        """The round that searched for ``effective_ns``, found ``result`` and measured ``latency``."""
        return cls(
            effective_ns=effective_ns,
            predicted_ns=result.latency.value,
            accuracy=result.accuracy.value,
            measured_ns=latency.value_ns,
            interval=latency.interval,
            verdict=latency.verdict,
        )


@dataclass(frozen=True)
class Deployment:
    """``bundle`` is that of the last round, ``report`` its verification; ``notes`` say what a person should know."""

    bundle: Path
    rounds: tuple[Round, ...]
    report: VerificationReport
    table: Path
    notes: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """That of the verification."""
        return self.report.exit_code


def tightened(asked_ns: int, predicted_ns: float, latency: Latency, number: int) -> int:
    """The budget in ns to search for after round ``number`` found its network too slow.

    asked * (predicted / upper bound to be expected of the last look) * (1 - MARGIN * number), and at least MARGIN below
    ``predicted_ns``, so that another network must be found. The bound itself may be of an early look, where it is wide.
    """
    learnt = asked_ns * (predicted_ns / latency.settled_ns) * (1 - MARGIN * number)
    return max(1, int(min(learnt, predicted_ns * (1 - MARGIN))))
