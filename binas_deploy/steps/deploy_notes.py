"""What a deployment says on its way and in the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from binas_deploy.progress import Progress
from binas_deploy.steps.rounds import Round
from binas_deploy.steps.shortlist import Candidate

_MUCH_FASTER: Final = 0.93


class Notes:
    """Says things as they happen, and keeps those that the end should repeat."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.kept: list[str] = []

    def add(self, text: str, *, kept: bool = True) -> None:
        """Say it, unless it is empty."""
        if text:
            self._progress.note(text)
        if text and kept:
            self.kept.append(text)


def round_text(number: int, row: Round) -> str:
    """What a round took and found."""
    return (
        f"round {number}: searched for {ms(row.effective_ns)}, predicted {ms(row.predicted_ns)}, "
        f"expected {ms(row.expected_ns)}, measured {ms(row.measured_ns)}: {row.verdict.value}"
    )


def list_text(rows: Sequence[Candidate]) -> str:
    """What measuring them told."""
    predicted, expected = [row.result.latency.value for row in rows], [row.expected_ns for row in rows]
    return (
        f"shortlist: {len(rows)} candidates, predicted {ms(min(predicted))} to {ms(max(predicted))}; measured, they "
        f"are expected at {ms(min(expected))} to {ms(max(expected))}, known to {100 * rows[0].sd:.1f} %"
    )


def faster_text(factor: float) -> str:
    """What to say of a machine that got faster, empty otherwise.

    ``factor``: of the latency predicted for the machine as verified to the one that was expected. A machine that is
    slower than its table is found out by the budget; one that is faster leaves some unused.
    """
    if factor > _MUCH_FASTER:
        return ""
    return (
        f"the machine is {1 / factor:.2f} times as fast as when the budget was searched for, so a better network "
        "may fit. Run the same command again if it stays so; a shared host's speed changes by the minute."
    )


def ms(nanoseconds: float) -> str:
    """``0.4990 ms``."""
    return f"{nanoseconds / 1e6:.4f} ms"
