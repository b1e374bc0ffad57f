from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from binas_deploy.columns import Floats
from binas_deploy.errors import InputError
from binas_deploy.table.design import Candidates, most_informative


def left(covariance: Floats, rows: Floats, wanted: Floats, noise: float) -> float:
    """Mean variance of the predictions after measuring these rows, from the textbook."""
    after = np.linalg.inv(np.linalg.inv(covariance) + rows.T @ rows / noise**2)
    return float(np.mean(np.einsum("ij,jk,ik->i", wanted, after, wanted)))


def problem(seed: int, candidates: int = 7) -> tuple[Floats, Floats, Floats]:
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((4, 4))
    return root @ root.T + 0.1 * np.eye(4), rng.standard_normal((candidates, 4)), rng.standard_normal((9, 4))


@given(st.integers(0, 10**6))
@settings(max_examples=40)
def test_the_first_is_the_best_of_all_and_each_next_the_best_beside_those(seed: int) -> None:
    covariance, rows, wanted = problem(seed)
    found = most_informative(covariance, Candidates(rows, np.ones(7)), wanted, 0.3, 4)
    assert len(set(found)) == 4
    for count in range(4):
        chosen, others = found[:count], [index for index in range(7) if index not in found[:count]]
        best = min(others, key=lambda index: left(covariance, rows[[*chosen, index]], wanted, 0.3))
        assert found[count] == best


@given(st.integers(0, 10**6))
@settings(max_examples=20)
def test_the_list_is_near_the_best_list(seed: int) -> None:
    covariance, rows, wanted = problem(seed)
    before = left(covariance, rows[:0], wanted, 0.3)
    found = most_informative(covariance, Candidates(rows, np.ones(7)), wanted, 0.3, 3)
    best = min(left(covariance, rows[list(trio)], wanted, 0.3) for trio in itertools.combinations(range(7), 3))
    assert before - left(covariance, rows[found], wanted, 0.3) >= 0.8 * (before - best)


def test_a_dear_network_must_tell_more() -> None:
    covariance, rows, wanted = np.eye(2), np.array([[1.0, 0.0], [1.05, 0.0]]), np.array([[1.0, 0.0]])
    assert most_informative(covariance, Candidates(rows, np.array([1.0, 1.0])), wanted, 1.0, 1) == [1]
    assert most_informative(covariance, Candidates(rows, np.array([1.0, 2.0])), wanted, 1.0, 1) == [0]


def test_what_tells_nothing_is_not_chosen() -> None:
    rows, wanted = np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([[1.0, 0.0]])
    assert most_informative(np.eye(2), Candidates(rows, np.ones(2)), wanted, 0.1, 5) == [1]


def test_what_does_not_fit_is_refused() -> None:
    covariance, rows, wanted = problem(0)
    for candidates, noise in (
        (Candidates(rows[:, :3], np.ones(7)), 0.1),
        (Candidates(rows, np.ones(6)), 0.1),
        (Candidates(rows, np.zeros(7)), 0.1),
        (Candidates(rows, np.ones(7)), 0.0),
    ):
        with pytest.raises(InputError):
            most_informative(covariance, candidates, wanted, noise, 2)
