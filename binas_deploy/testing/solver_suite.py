"""The conformance suite of solvers (needs pytest and hypothesis, the ``dev`` extra).

Subclass it in a test module and say how the solver is made::

    class TestMine(SolverSuite):
        def make(self) -> Solver:
            return MySolver()

Problems are tiny, drawn at random, and answered by looking at every network.
"""

# ruff: noqa: S101 - a conformance suite speaks through assert.

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from binas_deploy.errors import InputError
from binas_deploy.problem import Ints, Limits, LinearForm, Resource, SelectionProblem, Solution, Status
from binas_deploy.solvers.base import Solver
from binas_deploy.space import Architecture

_QUICK = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.differing_executors, HealthCheck.too_slow]
)
_AMOUNT = st.integers(-30, 60)


def every_network(problem: SelectionProblem) -> Iterator[Architecture]:
    """All networks in lexicographic order of (depth, options) stage by stage."""
    stages = []
    for depths, options in zip(problem.depths, problem.value.option, strict=True):
        counts = [range(len(terms)) for terms in options]
        stages.append([(depth, row) for depth in depths for row in itertools.product(*counts[:depth])])
    for choice in itertools.product(*stages):
        yield Architecture(tuple(depth for depth, _ in choice), tuple(row for _, row in choice))


def costs_of(problem: SelectionProblem, arch: Architecture) -> list[int]:
    """The cost of each resource."""
    return [resource.cost.of(arch, problem.depths) for resource in problem.resources]


def meets(problem: SelectionProblem, arch: Architecture) -> bool:
    """Whether the network keeps every limit."""
    return all(cost <= r.limit for cost, r in zip(costs_of(problem, arch), problem.resources, strict=True))


def brute_force(problem: SelectionProblem) -> Architecture | None:
    """The answer by the whole tie rule: highest value, lowest first cost, lexicographically smallest."""

    def order(arch: Architecture) -> tuple[int, int, Any]:
        costs = costs_of(problem, arch)
        key = tuple(zip(arch.depths, arch.options, strict=True))
        return (-problem.value.of(arch, problem.depths), costs[0] if costs else 0, key)

    return min((arch for arch in every_network(problem) if meets(problem, arch)), key=order, default=None)


def with_limits(problem: SelectionProblem, limits: list[int]) -> SelectionProblem:
    """The same problem with other limits."""
    pairs = zip(problem.resources, limits, strict=True)
    return dataclasses.replace(
        problem, resources=tuple(dataclasses.replace(resource, limit=limit) for resource, limit in pairs)
    )


@st.composite
def problems(draw: st.DrawFn, resources: int = 1) -> SelectionProblem:
    """Tiny problems: 1-3 stages, depths up to 3, 1-3 options that differ by position, small signed integers."""
    depths, counts = [], []
    for _ in range(draw(st.integers(1, 3))):
        allowed = sorted(draw(st.sets(st.integers(1, 3), min_size=1, max_size=2)))
        depths.append(tuple(allowed))
        counts.append(draw(st.lists(st.integers(1, 3), min_size=allowed[-1], max_size=allowed[-1])))

    def row(length: int) -> Ints:
        return np.array(draw(st.lists(_AMOUNT, min_size=length, max_size=length)), dtype=np.int64)

    def form() -> LinearForm:
        terms = tuple(tuple(row(count) for count in stage) for stage in counts)
        return LinearForm(draw(_AMOUNT), tuple(row(len(stage)) for stage in depths), terms)

    costs = tuple(Resource(f"resource {index}", form(), draw(st.integers(-50, 300))) for index in range(resources))
    return SelectionProblem(tuple(depths), form(), costs)


class SolverSuite:
    """What every solver has to do. ``resources``: how many at once it can take; ``tie_parts``: of the rule."""

    resources: int = 1
    tie_parts: int = 3

    def make(self) -> Solver:
        """A fresh solver."""
        raise NotImplementedError

    def answer(self, problem: SelectionProblem) -> Solution:
        """Solve with generous limits."""
        return self.make().solve(problem, limits=Limits(seconds=60.0), seed=0)

    def check(self, problem: SelectionProblem) -> None:
        """Compare with the oracle."""
        expected, found = brute_force(problem), self.answer(problem)
        if expected is None:
            assert found == Solution(Status.INFEASIBLE, None, None, None)
            return
        assert found.status is Status.OPTIMAL
        assert found.architecture is not None
        assert meets(problem, found.architecture)
        best = problem.value.of(expected, problem.depths)
        assert problem.value.of(found.architecture, problem.depths) == found.value == found.bound == best
        if self.tie_parts >= 2:
            assert costs_of(problem, found.architecture)[0] == costs_of(problem, expected)[0]
        if self.tie_parts >= 3:
            assert found.architecture == expected

    @_QUICK
    @given(problem=problems())
    def test_best_of_every_network(self, problem: SelectionProblem) -> None:
        """The oracle's answer at an arbitrary limit, reachable or not."""
        self.check(problem)

    @_QUICK
    @given(problem=problems(), data=st.data())
    def test_limit_equal_to_a_cost(self, problem: SelectionProblem, data: st.DataObject) -> None:
        """A network that costs exactly the limit meets it; one unit less and it does not."""
        networks = list(every_network(problem))
        knife = costs_of(problem, data.draw(st.sampled_from(networks)))[0]
        self.check(with_limits(problem, [knife]))
        self.check(with_limits(problem, [knife - 1]))

    @_QUICK
    @given(problem=problems())
    def test_one_unit_under_the_cheapest_is_infeasible(self, problem: SelectionProblem) -> None:
        """Infeasible is said exactly when it is so."""
        least = min(costs_of(problem, arch)[0] for arch in every_network(problem))
        assert self.answer(with_limits(problem, [least - 1])).status is Status.INFEASIBLE
        assert self.answer(with_limits(problem, [least])).status is Status.OPTIMAL

    @_QUICK
    @given(problem=problems(), data=st.data())
    def test_large_numbers_at_knife_edges(self, problem: SelectionProblem, data: st.DataObject) -> None:
        """Milliseconds in ns and points in 1e-9: a limit is kept to the last nanosecond."""
        resource = problem.resources[0]
        cost, value = _stretched(resource.cost, 100_003, 7), _stretched(problem.value, 10_000_019, 0)
        large = SelectionProblem(problem.depths, value, (Resource(resource.name, cost, 0),))
        knife = costs_of(large, data.draw(st.sampled_from(list(every_network(large)))))[0]
        self.check(with_limits(large, [knife]))
        self.check(with_limits(large, [knife - 1]))

    @_QUICK
    @given(data=st.data())
    def test_several_resources(self, data: st.DataObject) -> None:
        """Each limit is kept when there are several; a solver of one resource refuses them."""
        problem = data.draw(problems(resources=2))
        if self.resources < 2:
            with pytest.raises(InputError):
                self.answer(problem)
            return
        self.check(problem)
        reached = costs_of(problem, data.draw(st.sampled_from(list(every_network(problem)))))
        self.check(with_limits(problem, reached))

    def test_all_equal(self) -> None:
        """Every network the same: the tie rule alone decides."""
        zero = LinearForm(0, (np.zeros(2, np.int64),), ((np.zeros(2, np.int64), np.zeros(3, np.int64)),))
        self.check(SelectionProblem(((1, 2),), zero, (Resource("time", zero, 0),)))

    def test_nothing_to_choose(self) -> None:
        """One network only."""
        one = LinearForm(5, (np.array([1]),), ((np.array([2]),),))
        self.check(SelectionProblem(((1,),), one, (Resource("time", one, 8),)))
        self.check(SelectionProblem(((1,),), one, (Resource("time", one, 7),)))

    def test_says_how_ties_are_broken(self) -> None:
        """In words."""
        assert "value" in self.make().ties

    def test_no_time_is_not_infeasible(self) -> None:
        """A solver that had no time says UNKNOWN or gives a network; it does not say INFEASIBLE."""
        one = LinearForm(0, (np.array([0]),), ((np.array([2, 3]),),))
        problem = SelectionProblem(((1,),), one, (Resource("time", one, 3),))
        found = self.make().solve(problem, limits=Limits(seconds=0.0), seed=0)
        assert found.status is not Status.INFEASIBLE


def _stretched(form: LinearForm, factor: int, jitter: int) -> LinearForm:
    """``form`` times ``factor``, each term shifted by its index times ``jitter``."""

    def row(terms: Ints) -> Ints:
        return terms * factor + jitter * np.arange(len(terms))

    options = tuple(tuple(row(terms) for terms in stage) for stage in form.option)
    return LinearForm(form.constant * factor, tuple(row(terms) for terms in form.depth), options)
