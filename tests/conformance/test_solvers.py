"""The shipped solvers against the conformance suite, and against each other."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from binas_deploy.errors import InconclusiveError, InputError
from binas_deploy.problem import Ints, Limits, LinearForm, Resource, SelectionProblem, Status
from binas_deploy.solvers import solver, solver_names
from binas_deploy.solvers.base import Solver
from binas_deploy.solvers.frontier import Frontier
from binas_deploy.testing.solver_suite import SolverSuite

RECORDED = Path(__file__).parents[1] / "data" / "solvers" / "medium-5x4x12.json"


class TestFrontier(SolverSuite):
    def make(self) -> Solver:
        return solver("frontier")


class TestMilp(SolverSuite):
    resources = 2
    tie_parts = 2

    def make(self) -> Solver:
        return solver("milp")


Recorded = tuple[SelectionProblem, list[tuple[int, int]]]


def _form(raw: dict[str, Any]) -> LinearForm:
    def row(values: list[int]) -> Ints:
        return np.array(values, dtype=np.int64)

    option = tuple(tuple(row(terms) for terms in stage) for stage in raw["option"])
    return LinearForm(raw["constant"], tuple(row(terms) for terms in raw["depth"]), option)


def _limited(problem: SelectionProblem, limit: int) -> SelectionProblem:
    return dataclasses.replace(problem, resources=(dataclasses.replace(problem.resources[0], limit=limit),))


@pytest.fixture(scope="module")
def recorded() -> Recorded:
    raw = json.loads(RECORDED.read_text(encoding="utf-8"))
    depths = tuple(tuple(stage) for stage in raw["depths"])
    problem = SelectionProblem(depths, _form(raw["value"]), (Resource("time", _form(raw["cost"]), 0),))
    return problem, [(limit, value) for limit, value in raw["answers"]]


def test_recorded_instance_agrees_over_budgets(recorded: Recorded) -> None:
    problem, answers = recorded
    frontier, milp = Frontier.of(problem), solver("milp")
    for limit, value in answers:
        index = frontier.best(limit)
        assert index is not None
        arch = frontier.architecture(index)
        found = milp.solve(_limited(problem, limit), limits=Limits(), seed=0)
        assert int(frontier.values[index]) == problem.value.of(arch, problem.depths) == value
        assert int(frontier.costs[index]) == problem.resources[0].cost.of(arch, problem.depths) <= limit
        assert (found.status, found.value) == (Status.OPTIMAL, value)


def test_frontier_is_strictly_ascending(recorded: Recorded) -> None:
    frontier = Frontier.of(recorded[0])
    assert np.all(np.diff(frontier.costs) > 0)
    assert np.all(np.diff(frontier.values) > 0)
    assert frontier.best(int(frontier.costs[0]) - 1) is None
    assert frontier.best(int(frontier.costs[-1]) * 10) == len(frontier) - 1
    assert frontier.least() == 0


def test_frontier_in_small_blocks_is_the_same(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Frontier.of(recorded[0])
    monkeypatch.setattr("binas_deploy.solvers.frontier._PAIRS_AT_ONCE", 997)
    blocks = Frontier.of(recorded[0])
    assert np.array_equal(whole.costs, blocks.costs)
    assert [whole.architecture(i) for i in range(0, len(whole), 97)] == [
        blocks.architecture(i) for i in range(0, len(blocks), 97)
    ]


def test_frontier_refuses_two_resources_and_names_milp(
    recorded: Recorded,
) -> None:
    problem = recorded[0]
    two = dataclasses.replace(problem, resources=problem.resources * 2)
    with pytest.raises(InputError, match="'milp'"):
        solver("frontier").solve(two, limits=Limits(), seed=0)


def test_frontier_refuses_sums_over_64_bits() -> None:
    huge = LinearForm(2**61, (np.array([0]),), ((np.array([2**61]),),))
    with pytest.raises(InputError, match="64 bits"):
        Frontier.of(SelectionProblem(((1,),), huge, (Resource("time", huge, 0),)))


def test_frontier_out_of_time(recorded: Recorded) -> None:
    with pytest.raises(InconclusiveError, match="time limit"):
        Frontier.of(recorded[0], seconds=-1.0)


def test_milp_out_of_time_keeps_its_bound_honest(recorded: Recorded) -> None:
    problem, answers = recorded
    limit, value = answers[len(answers) // 2]
    found = solver("milp").solve(_limited(problem, limit), limits=Limits(seconds=0.02), seed=0)
    assert found.status in (Status.OPTIMAL, Status.FEASIBLE, Status.UNKNOWN)
    assert found.bound is None or found.bound >= value


def test_milp_writes_nothing_to_stdout(recorded: Recorded, capfd: pytest.CaptureFixture[str]) -> None:
    problem, answers = recorded
    solver("milp").solve(_limited(problem, answers[0][0]), limits=Limits(), seed=0)
    os.write(1, b"after")
    assert capfd.readouterr().out == "after"


def test_unknown_solver_names_the_known() -> None:
    assert solver_names() == ["frontier", "milp"]
    with pytest.raises(InputError, match="frontier, milp"):
        solver("simplex")
