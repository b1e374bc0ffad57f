"""What HiGHS may say wrongly, replayed: the answer is rechecked and statuses are not taken for proofs."""

from __future__ import annotations

import os
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from binas_deploy.problem import Limits, LinearForm, Resource, SelectionProblem, Solution, Status
from binas_deploy.solvers.milp import MilpSolver

ONE_STAGE = LinearForm(1000, (np.array([0]),), ((np.array([10, 20, 30]),),))
PROBLEM = SelectionProblem(((1,),), ONE_STAGE, (Resource("time", ONE_STAGE, 1025),))
"""Value and cost are 1010, 1020 or 1030; at most 1025 is allowed."""

Fake = Callable[..., Any]


def says(option: int | None, *, status: int = 0, bound: float | None = None) -> SimpleNamespace:
    """A result of HiGHS: depth variable, then three options; the objective is the negative value without 1000."""
    x = None if option is None else np.eye(4)[0] + np.eye(4)[1 + option]
    return SimpleNamespace(status=status, x=x, mip_dual_bound=None if bound is None else 1000 - bound)


@pytest.fixture
def replay(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Solution, list[dict[str, Any]]]]:
    """Solve `PROBLEM` with these results in turn; gives the solution and the arguments of each call."""

    def solve(*results: SimpleNamespace) -> tuple[Solution, list[dict[str, Any]]]:
        left, calls = list(results), []

        def milp(objective: Any, **arguments: Any) -> SimpleNamespace:
            calls.append(arguments)
            return left.pop(0)

        monkeypatch.setattr("scipy.optimize.milp", milp)
        return MilpSolver().solve(PROBLEM, limits=Limits(), seed=0), calls

    return solve


def right_side(call: dict[str, Any]) -> float:
    return float(np.ravel(call["constraints"][1].ub)[0]) * 1000


def test_an_answer_over_the_limit_tightens_the_row(replay: Callable[..., Any]) -> None:
    solution, calls = replay(says(2, bound=1030), says(1, bound=1020), says(1))
    assert solution == Solution(Status.OPTIMAL, solution.architecture, 1020, 1020)
    assert [right_side(call) for call in calls[:2]] == pytest.approx([25.5, 25.0])


def test_below_the_limit_nothing_is_proved(replay: Callable[..., Any]) -> None:
    solution, calls = replay(says(2, bound=1030), says(2, bound=1030), says(1, bound=1020))
    assert right_side(calls[2]) < 25
    assert (solution.status, solution.value, solution.bound) == (Status.FEASIBLE, 1020, 1030)
    solution, _ = replay(says(2, bound=1030), says(2, bound=1030), says(None, status=2))
    assert (solution.status, solution.bound) == (Status.UNKNOWN, 1030)


def test_always_over_the_limit_is_unknown(replay: Callable[..., Any]) -> None:
    solution, calls = replay(*[says(2, bound=1030)] * 8)
    assert (solution.status, solution.architecture, solution.bound) == (Status.UNKNOWN, None, 1030)
    assert len(calls) == 8


def test_infeasible_is_a_proof(replay: Callable[..., Any]) -> None:
    assert replay(says(None, status=2))[0] == Solution(Status.INFEASIBLE, None, None, None)


def test_a_failure_is_tried_without_presolve_and_is_no_proof(replay: Callable[..., Any]) -> None:
    solution, calls = replay(says(None, status=4), says(None, status=4))
    assert solution == Solution(Status.UNKNOWN, None, None, None)
    assert [call["options"]["presolve"] for call in calls] == [True, False]
    assert replay(says(None, status=4), says(1, bound=1020), says(1))[0].status is Status.OPTIMAL


def test_stopped_with_a_network_carries_the_bound(replay: Callable[..., Any]) -> None:
    solution, _ = replay(says(0, status=1, bound=1024.6))
    assert (solution.status, solution.value, solution.bound) == (Status.FEASIBLE, 1010, 1025)
    assert replay(says(0, status=1))[0].bound is None
    assert replay(says(None, status=1, bound=1020))[0] == Solution(Status.UNKNOWN, None, None, 1020)


def test_of_equals_the_cheaper(monkeypatch: pytest.MonkeyPatch) -> None:
    cost = LinearForm(0, (np.array([0]),), ((np.array([9, 5, 7]),),))
    flat = LinearForm(0, (np.array([0]),), ((np.array([1, 1, 1]),),))
    problem = SelectionProblem(((1,),), flat, (Resource("time", cost, 8),))
    results = [says(2, bound=1001), says(1)]
    monkeypatch.setattr("scipy.optimize.milp", lambda *_, **__: results.pop(0))
    solution = MilpSolver().solve(problem, limits=Limits(), seed=0)
    assert solution.architecture is not None
    assert (solution.architecture.options, solution.value) == (((1,),), 1)


def test_a_second_solve_that_fails_keeps_the_first(replay: Callable[..., Any]) -> None:
    solution, _ = replay(says(1, bound=1020), says(None, status=1))
    assert (solution.status, solution.value) == (Status.OPTIMAL, 1020)


def test_works_with_stdout_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(descriptor: int) -> int:
        raise OSError("closed")

    monkeypatch.setattr(os, "dup", closed)
    assert MilpSolver().solve(PROBLEM, limits=Limits(), seed=0).value == 1020


def test_without_resources_the_best_of_all() -> None:
    free = SelectionProblem(((1,),), ONE_STAGE, ())
    assert MilpSolver().solve(free, limits=Limits(), seed=0).value == 1030
