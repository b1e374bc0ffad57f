"""The shortlist of a deployment: which networks are on it, and that choosing among them is not lured by luck."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from binas_deploy.accuracy import AccuracyModel
from binas_deploy.budget import Budget
from binas_deploy.errors import InfeasibleBudgetError, InputError
from binas_deploy.estimate import Estimate
from binas_deploy.quantities import Quantity
from binas_deploy.search_result import SearchResult
from binas_deploy.space import SearchSpace
from binas_deploy.steps.search import search
from binas_deploy.steps.shortlist import Candidate, Find, chosen, listed, room_of, weighed
from binas_deploy.table import LatencyTable

ERROR = 0.02
NOISE = 0.015


@pytest.fixture(scope="session")
def table(make_table: Callable[..., LatencyTable]) -> LatencyTable:
    return make_table(identity={"cadence": "back-to-back"})


@pytest.fixture(scope="session")
def find(tiny_space: SearchSpace, tiny_accuracy: AccuracyModel, table: LatencyTable) -> Find:
    def found(limit_ns: int) -> SearchResult:
        budget = Budget(Quantity("time", limit_ns))
        return search(tiny_space, accuracy=tiny_accuracy, budgets=[budget], tables=[table])

    return found


def middle(table: LatencyTable) -> int:
    ends = [table.predict(arch).value for arch in (table.space.smallest(), table.space.largest())]
    return round(sum(ends) / 2)


def test_it_holds_different_networks_on_either_side_and_the_one_searched_for(find: Find, table: LatencyTable) -> None:
    limit = middle(table)
    found = listed(find, limit, 0.5, length=8)
    archs = [row.architecture for row in found]
    assert 2 < len(found) <= 9
    assert len(set(archs)) == len(archs)
    assert find(limit).architecture in archs
    latencies = [row.latency.value for row in found]
    assert latencies == sorted(latencies)
    assert latencies[0] < limit < latencies[-1] <= 1.5 * limit


def test_budgets_below_the_least_are_left_out_but_not_the_one_asked(find: Find, table: LatencyTable) -> None:
    least = round(table.predict(table.space.smallest()).value) + 1
    assert len(listed(find, least, 0.3)) >= 1
    with pytest.raises(InfeasibleBudgetError):
        listed(find, least // 2, 0.01)


def candidates(result: SearchResult, predicted: np.ndarray[Any, Any]) -> list[SearchResult]:
    """Of rising accuracy, with these predictions; only their estimates count here."""
    (answer,) = result.latencies
    reach = 1.959964 * ERROR

    def one(value: float, index: int) -> SearchResult:
        estimate = Estimate(value, value * (1 - reach), value * (1 + reach), "ns", 0.95, "test")
        accuracy = replace(result.accuracy, value=70 + index / 10)
        return replace(result, latencies=(replace(answer, predicted=estimate),), accuracy=accuracy)

    return [one(float(value), index) for index, value in enumerate(predicted)]


def test_the_choice_is_not_lured_by_luck(find: Find, table: LatencyTable) -> None:
    """The expected latency of what is chosen is right on average; the measured one would be too good to be true."""
    rng, budget = np.random.default_rng(0), 1e6
    made = candidates(find(middle(table)), np.linspace(0.96e6, 1.04e6, 12))
    predicted = np.array([row.latency.value for row in made])
    off, naive, within = [], [], []
    for _ in range(400):
        true = predicted * (1 + rng.normal(0, ERROR, 12))
        speed = 1 + rng.normal(0, 0.01, (3, 1))
        measured = true * speed * (1 + rng.normal(0, NOISE, (3, 12)))
        best = chosen(weighed(made, measured.tolist()), budget)
        if best is None:
            continue
        index = next(i for i, row in enumerate(made) if row is best.result)
        now = true[index] * speed.mean()
        off.append(best.expected_ns / now - 1)
        naive.append(best.measured_ns / now - 1)
        within.append(now <= budget)
    assert len(within) > 380
    assert abs(np.mean(off)) < 0.25 * abs(np.mean(naive))
    assert np.mean(within) > 0.85


@settings(max_examples=30, deadline=None)
@given(speed=st.floats(0.5, 2.0))
def test_a_machine_of_another_speed_moves_all_alike(speed: float, find: Find, table: LatencyTable) -> None:
    made = candidates(find(middle(table)), np.linspace(0.9e6, 1.1e6, 9))
    predicted = np.array([row.latency.value for row in made])
    found = weighed(made, [(predicted * speed).tolist()] * 3)
    assert [row.expected_ns for row in found] == pytest.approx(predicted * speed)
    assert weighed(made, [predicted.tolist()] * 3, factor=speed)[0].expected_ns == pytest.approx(found[0].expected_ns)


def test_networks_that_were_tried_or_do_not_fit_are_not_chosen(find: Find, table: LatencyTable) -> None:
    first, second = listed(find, middle(table), 0.5, length=4)[:2]
    rows = [Candidate(first, 1e6, 1e6, 0.01), Candidate(second, 2e6, 2e6, 0.01)]
    assert chosen(rows, 3e6) is max(rows, key=lambda row: row.result.accuracy.value)
    assert chosen(rows, 1.5e6) is rows[0]
    assert chosen(rows, 1.5e6, tried=[first.architecture]) is None
    assert chosen(rows, 1.005e6) is None  # within it, but not surely enough


@pytest.mark.parametrize("measured", [[], [[1.0]], [[1.0, -1.0]], [[]]])
def test_latencies_that_cannot_be_are_refused(measured: list[list[float]], find: Find, table: LatencyTable) -> None:
    with pytest.raises(InputError, match="are not those of 2 networks"):
        weighed([find(middle(table))] * 2, measured)


def test_the_room_below_a_budget_is_for_noise_and_not_for_the_speed_of_processes() -> None:
    rng = np.random.default_rng(0)
    true, speeds = np.linspace(0.9e6, 1.1e6, 12), np.array([[0.8], [1.0], [1.25]])
    calm = (true * (1 + rng.normal(0, 0.005, (3, 12)))).tolist()
    restless = (true * speeds * (1 + rng.normal(0, 0.005, (3, 12)))).tolist()
    assert 1.001 < room_of(calm, 0.95) < 1.01
    assert room_of(restless, 0.95) == pytest.approx(room_of(calm, 0.95), abs=0.005)
    assert room_of(calm, 0.99) > room_of(calm, 0.95)
