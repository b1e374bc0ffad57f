"""Solvers by name, one algorithm a file; a solver is imported when it is asked for."""

from __future__ import annotations

from typing import Final

from binas_deploy.by_name import made
from binas_deploy.solvers.base import Solver

_HOME: Final = {
    "frontier": "binas_deploy.solvers.frontier:FrontierSolver",
    "milp": "binas_deploy.solvers.milp:MilpSolver",
}
AUTO: Final = "auto"


def solver_names() -> list[str]:
    """Every solver that `solver` knows."""
    return sorted(_HOME)


def solver_name(asked: str, resources: int) -> str:
    """``asked`` itself; 'auto' is the frontier where there is one resource to limit, and milp where there are more."""
    if asked != AUTO:
        return asked
    return "frontier" if resources == 1 else "milp"


def solver(name: str) -> Solver:
    """The solver of that name.

    Raises:
        InputError: unknown name.
    """
    found: Solver = made("solver", name, _HOME, f"; {AUTO} chooses")
    return found
