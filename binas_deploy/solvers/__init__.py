"""Solvers by name, one algorithm a file; a solver is imported when it is asked for."""

from __future__ import annotations

import importlib
from typing import Final

from binas_deploy.errors import InputError
from binas_deploy.solvers.base import Solver

_HOME: Final = {
    "frontier": ("binas_deploy.solvers.frontier", "FrontierSolver"),
    "milp": ("binas_deploy.solvers.milp", "MilpSolver"),
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
    if name not in _HOME:
        raise InputError(f"unknown solver {name!r}. Known: {', '.join(solver_names())}; {AUTO} chooses.")
    module, attribute = _HOME[name]
    found: Solver = getattr(importlib.import_module(module), attribute)()
    return found
