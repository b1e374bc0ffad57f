"""The rounds of a deployment: what each searched for and found, and what the next one should aim at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from binas_deploy.bundle.verification import Latency, Verdict, VerificationReport
from binas_deploy.search_result import ComputedAnswer
from binas_deploy.steps.shortlist import Candidate

MOST_ROUNDS: Final = 4
MARGIN: Final = 0.003
"""By how much each round aims below what the last one measured, more in each."""


@dataclass(frozen=True)
class Round:
    """One network and what came of it.

    Searched for ``effective_ns``, with ``accuracy`` in percent, it was predicted to take ``predicted_ns``, and expected
    ``expected_ns`` where it had been measured as a candidate. Verified was ``measured_ns``, between the bounds
    ``interval`` (None with too few processes). ``computed``: its other budgets.
    """

    effective_ns: int
    predicted_ns: float
    expected_ns: float
    accuracy: float
    measured_ns: float
    interval: tuple[int, int] | None
    verdict: Verdict
    computed: tuple[ComputedAnswer, ...] = ()

    @classmethod
    def of(cls, effective_ns: int, pick: Candidate, latency: Latency) -> Round:
        """The round that searched for ``effective_ns``, took ``pick`` and verified its ``latency``."""
        result = pick.result
        return cls(
            effective_ns=effective_ns,
            predicted_ns=result.latency.value,
            expected_ns=pick.expected_ns,
            accuracy=result.accuracy.value,
            measured_ns=latency.value_ns,
            interval=latency.interval,
            verdict=latency.verdict,
            computed=result.computed,
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


def tightened(asked_ns: int, expected_ns: float, latency: Latency, number: int) -> int:
    """The budget in ns to search for after round ``number`` found its network too slow.

    asked * (expected / upper bound to be expected of the last look) * (1 - MARGIN * number), and at least MARGIN below
    ``expected_ns``, so that another network must be found. The bound itself may be of an early look, where it is wide.
    """
    learnt = asked_ns * (expected_ns / latency.settled_ns) * (1 - MARGIN * number)
    return max(1, int(min(learnt, expected_ns * (1 - MARGIN))))
