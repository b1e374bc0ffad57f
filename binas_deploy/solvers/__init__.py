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


def solver_names() -> list[str]:
    """Every solver that `solver` knows."""
    return sorted(_HOME)


def solver(name: str) -> Solver:
    """The solver of that name.

    Raises:
        InputError: unknown name.
    """
    if name not in _HOME:
        raise InputError(f"unknown solver {name!r}. Known: {', '.join(solver_names())}.")
    module, attribute = _HOME[name]
    found: Solver = getattr(importlib.import_module(module), attribute)()
    return found
