"""The rule that ends the measuring of latency: how often it errs when one looks after every process."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import stdtrit

from binas_deploy.bundle.certainty import (
    LEAST_PROCESSES,
    LEAST_SD,
    MOST_PROCESSES,
    _t,
    bounds,
    level,
    settled,
    typical,
)
from binas_deploy.bundle.shown import Shown, statistic_of
from binas_deploy.errors import InputError

Logs = NDArray[np.float64]
SERIES = 60_000
LOOKS = range(LEAST_PROCESSES, MOST_PROCESSES + 1)


def passed(logs: Logs, confidence: float, budget: float = 0.0) -> NDArray[np.bool_]:
    """Of each series (series, MOST_PROCESSES) of log latencies: whether some look has the upper bound below ``budget``.

    The same as `bounds`, for all series at once; that it is the same is tested too.
    """
    found = np.zeros(len(logs), dtype=bool)
    for n in LOOKS:
        part = logs[:, :n]
        sd = np.maximum(part.std(axis=1, ddof=1), LEAST_SD)
        reach = -stdtrit(n - 1, level(n, confidence)) * sd / np.sqrt(n)
        found |= part.mean(axis=1) + reach <= budget
    return found


def normal(rng: np.random.Generator, shape: tuple[int, int]) -> Logs:
    return 0.02 * rng.standard_normal(shape)


def fine(rng: np.random.Generator, shape: tuple[int, int]) -> Logs:
    """Processes that agree as closely as the least deviation allows for."""
    return LEAST_SD * rng.standard_normal(shape)


def heavy(rng: np.random.Generator, shape: tuple[int, int]) -> Logs:
    return 0.02 * rng.standard_t(3, shape)


def with_slow_ones(rng: np.random.Generator, shape: tuple[int, int]) -> Logs:
    """One in seven processes meets a busy host and is 4 % slower; the mean is zero all the same."""
    slow = rng.random(shape) < 1 / 7
    return np.asarray(0.02 * rng.standard_normal(shape) + 0.04 * (slow - 1 / 7), dtype=np.float64)


NOISE: list[Callable[..., Logs]] = [normal, fine, heavy, with_slow_ones]


@pytest.mark.parametrize("confidence", [0.8, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("noise", NOISE, ids=lambda noise: str(noise.__name__))
def test_a_wrong_pass_or_fail_is_as_rare_as_asked_however_often_one_looks(
    noise: Callable[..., Logs], confidence: float
) -> None:
    logs = noise(np.random.default_rng(7), (SERIES, MOST_PROCESSES))
    allowed = 1 - confidence + 3 * np.sqrt(confidence * (1 - confidence) / SERIES)
    # Exactly at the budget is the hardest case: of a slower network fewer series pass.
    assert passed(logs, confidence).mean() <= allowed
    # A wrong FAIL is the mirror image: the lower bound above the budget.
    assert passed(-logs, confidence).mean() <= allowed


@pytest.mark.parametrize("most", [3, 4, 5])
def test_stopping_early_for_want_of_time_harms_nothing(most: int) -> None:
    logs = normal(np.random.default_rng(1), (SERIES, most))
    never = np.full((SERIES, MOST_PROCESSES - most), 1e3)  # what was not measured cannot pass
    assert passed(np.hstack([logs, never]), 0.95).mean() <= 0.05


def test_the_level_is_used_up() -> None:
    """Or else it would be more careful than asked, and end less often."""
    assert passed(with_slow_ones(np.random.default_rng(3), (SERIES, MOST_PROCESSES)), 0.95).mean() >= 0.045
    logs = normal(np.random.default_rng(3), (SERIES, MOST_PROCESSES))
    assert passed(logs - 0.04, 0.95).mean() >= 0.99  # two standard deviations below the budget
    assert passed(logs - 0.02, 0.95).mean() >= 0.7


def test_the_bounds_are_those_of_the_simulation() -> None:
    rng = np.random.default_rng(5)
    for row in normal(rng, (200, MOST_PROCESSES)):
        values = [round(5e6 * np.exp(x)) for x in row]
        looks = [bounds(values[:n], 0.95) for n in LOOKS]
        by_bounds = any(found is not None and found[1] <= 5_100_000 for found in looks)
        logs = np.log(np.array([values], dtype=np.float64) / 5_100_000)
        assert by_bounds == passed(logs, 0.95)[0]


@given(st.lists(st.integers(10**4, 10**8), min_size=3, max_size=10), st.sampled_from([0.8, 0.95, 0.99, 0.9999]))
def test_bounds_hold_the_value_and_widen_with_confidence(values: list[int], confidence: float) -> None:
    found, surer = bounds(values, confidence), bounds(values, 1 - (1 - confidence) / 2)
    assert found is not None
    assert surer is not None
    assert surer[0] <= found[0] <= typical(values) <= found[1] <= surer[1]
    assert settled(values, confidence) >= typical(values)


def test_levels_grow_and_never_sum_up_to_less_than_nothing() -> None:
    for confidence in (0.51, 0.8, 0.95, 0.999, 0.99999):
        levels = [level(n, confidence) for n in LOOKS]
        assert levels == sorted(levels)
        assert levels[-1] < 1 - confidence
    tiny = [level(n, 1 - 1e-6) for n in LOOKS]
    assert sum(tiny) < 1e-6


def test_three_that_agree_by_chance_are_not_believed() -> None:
    found = bounds([1_000_000] * 3, 0.95)
    assert found is not None
    assert found[1] - found[0] > 10_000


def test_a_host_that_swings_is_told_by_the_anchors() -> None:
    """The bounds are of the network at the mean speed of the session: how that speed swung is in neither of them."""
    rng, wrong, narrow = np.random.default_rng(9), 0, 0
    for _ in range(400):
        speed = 0.1 * rng.standard_normal(MOST_PROCESSES)
        own = 0.01 * rng.standard_normal(MOST_PROCESSES)
        values = [round(float(x)) for x in 1e7 * np.exp(speed + own)]
        slowness = [float(x) for x in np.exp(speed + 0.003 * rng.standard_normal(MOST_PROCESSES))]
        truth = 1e7 * float(np.exp(speed.mean()))
        found = bounds(values, 0.95, slowness)
        plain = bounds(values, 0.95)
        assert found is not None
        assert plain is not None
        wrong += found[1] < truth
        narrow += found[1] - found[0] < 0.5 * (plain[1] - plain[0])
    assert wrong <= 20
    assert narrow > 390


@pytest.mark.parametrize("tail", [0.4, 0.05, 0.0025, 1e-5])
def test_quantiles_of_t_are_those_of_scipy(tail: float) -> None:
    for degrees in range(2, MOST_PROCESSES):
        assert _t(degrees, tail) == pytest.approx(-stdtrit(degrees, tail), rel=1e-9)


def test_what_cannot_be_asked_is_refused() -> None:
    assert bounds([1, 2], 0.95) is None
    with pytest.raises(InputError, match="3 to 10 processes, not 11"):
        bounds([1000] * 11, 0.95)
    for confidence in (0.5, 1.0, 0.2):
        with pytest.raises(InputError, match="confidence"):
            level(5, confidence)
        with pytest.raises(InputError, match="confidence"):
            Shown("median", "back-to-back", confidence)
    for percentile in (0.5, 99.95, 95.55):
        with pytest.raises(InputError, match="percentile"):
            statistic_of(percentile)
    for statistic in ("mean", "p0", "p100", "p950"):
        with pytest.raises(InputError, match="is not a statistic"):
            Shown(statistic, "back-to-back")


def test_percentiles_have_names() -> None:
    names = [statistic_of(percentile) for percentile in (50, 95, 99, 99.9, 5)]
    assert names == ["median", "p95", "p99", "p99.9", "p5"]
    assert [Shown(name, "every 33ms").quantile for name in names] == pytest.approx([0.5, 0.95, 0.99, 0.999, 0.05])
