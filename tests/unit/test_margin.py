from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from binas_deploy.errors import InputError, NotMeasuredError
from binas_deploy.table.margin import Margin, to_hold_out

SHARES = st.lists(st.floats(-0.5, 0.5), min_size=19, max_size=60)


def test_enough_networks_give_the_conformal_rank() -> None:
    errors = tuple(np.linspace(0.001, 0.040, 40))
    margin = Margin({"random": errors})
    # ceil(41 * 0.95) = 39
    assert margin.two_sided(0.95).share == margin.upper(0.95).share == errors[38]
    assert margin.upper(0.95).method == "conformal, 40 random"


@pytest.mark.parametrize(("count", "method"), [(18, "t, 18 searched"), (19, "conformal, 19 searched")])
def test_fewer_than_19_are_labelled_as_a_t_interval(count: int, method: str) -> None:
    assert Margin({"searched": (0.01,) * count}).two_sided(0.95).method == method


def test_the_t_interval_is_that_of_the_books() -> None:
    errors = (0.01, -0.02, 0.005, 0.0)
    spread = np.sqrt(np.mean(np.square(errors)) * (1 + 1 / 4))
    assert Margin({"random": errors}).two_sided(0.9).share == pytest.approx(stats.t.ppf(0.95, 3) * spread)
    assert Margin({"random": errors}).upper(0.9).share == pytest.approx(stats.t.ppf(0.9, 3) * spread)


def test_the_wider_kind_decides() -> None:
    margin = Margin({"random": (0.01,) * 30, "searched": (0.02,) * 20, "odd": (0.9, 0.9)})
    assert margin.two_sided() == margin.upper()
    assert (margin.upper().share, margin.upper().method) == (0.02, "conformal, 20 searched")


def test_an_upper_bound_may_lie_below_the_prediction() -> None:
    assert Margin({"random": (-0.03,) * 20}).upper().share == -0.03


def test_the_error_of_a_run_widens_it() -> None:
    still, moved = Margin({"random": (0.03,) * 20}), Margin({"random": (0.03,) * 20}, run=0.01)
    assert moved.two_sided().share == pytest.approx(np.hypot(still.two_sided().share, 0.01 * stats.norm.ppf(0.975)))
    assert Margin({"random": (-0.03,) * 20}, run=0.01).upper().share == pytest.approx(
        -0.03 + 0.01 * stats.norm.ppf(0.95)
    )


@given(SHARES, st.floats(0.5, 0.94))
@settings(max_examples=50)
def test_more_confidence_is_never_narrower(errors: list[float], confidence: float) -> None:
    margin = Margin({"random": tuple(errors)})
    assert margin.two_sided(confidence).share <= margin.two_sided(confidence + 0.01).share
    assert margin.upper(confidence).share <= margin.two_sided(confidence).share


@pytest.mark.parametrize("count", [25, 40])
def test_a_conformal_bound_covers_what_it_claims(count: int) -> None:
    rng, covered = np.random.default_rng(0), []
    for _ in range(1500):
        errors = rng.standard_t(3, count + 1) / 100
        covered.append(abs(errors[-1]) <= Margin({"random": tuple(errors[:-1])}).two_sided(0.9).share)
    assert 0.88 < np.mean(covered) < 0.95


def test_designed_networks_are_held_out_only_when_nothing_else_is_there() -> None:
    assert to_hold_out(["smallest", "random", "designed", "random", "searched", "random"]) == [1, 3, 4, 5]
    assert to_hold_out(["smallest", "random", "designed", "random"]) == [0, 1, 2, 3]
    kinds = ["smallest", "largest", "designed", "random"]
    assert dict(Margin.of(kinds, [0.1, 0.2, 0.3, None]).errors) == {"mixed": (0.1, 0.2, 0.3)}


def test_too_few_errors_and_absurd_confidences_are_refused() -> None:
    with pytest.raises(NotMeasuredError, match="at least 3 held-out networks of one kind, there are 2"):
        Margin({"random": (0.1, 0.1), "searched": (0.1,)})
    with pytest.raises(InputError, match=r"between 0 and 1, not at 95"):
        Margin({"random": (0.1,) * 3}).upper(95)
