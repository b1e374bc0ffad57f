"""The solver protocol."""

from __future__ import annotations

from typing import Protocol

from binas_deploy.problem import Limits, SelectionProblem, Solution


class Solver(Protocol):
    """One algorithm. Ties: the highest value, then the lowest cost of the first resource, then the
    lexicographically smallest (depth, options) stage by stage; a solver that cannot keep the last two says so.
    """

    @property
    def ties(self) -> str:
        """Which part of the tie rule it keeps, in words."""
        ...

    def solve(self, problem: SelectionProblem, *, limits: Limits, seed: int) -> Solution:
        """Solve; ``seed`` decides whatever is random."""
        ...
