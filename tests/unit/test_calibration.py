from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import t as student

from binas_deploy.errors import InputError, NotMeasuredError
from binas_deploy.table import calibration
from binas_deploy.table.calibration import (
    BLOCK_SD,
    LEAST_SCALE,
    NOISE,
    OFFSET_SD,
    SCALE_SD,
    Calibration,
    CalibrationDocument,
)

Floats = NDArray[np.float64]
FIXED, SMALLEST = 60_000.0, 8_000.0


class Truth:
    """Networks of random blocks on a device that follows the model, up to relative noise."""

    def __init__(self, seed: int, n: int, offset: float, scale: float, per_block: float, noise: float = 0.0) -> None:
        rng = np.random.default_rng(seed)
        self.blocks = rng.integers(6, 19, n)
        self.sums = np.array([FIXED + SMALLEST * b + rng.gamma(2.0, 15_000.0, b).sum() for b in self.blocks])
        self.exact = offset + scale * self.sums + per_block * self.blocks
        self.measured = self.exact * np.exp(noise * rng.standard_normal(n))

    def fit(self, chosen: Any = slice(None)) -> Calibration:
        return fit(self.sums[chosen], self.blocks[chosen], self.measured[chosen])


def fit(sums: Any, blocks: Any, measured: Any) -> Calibration:
    arrays = (np.asarray(sums, float), np.asarray(blocks), np.asarray(measured, float))
    found: Calibration = calibration.fit(*arrays, fixed_ns=FIXED, smallest_block_ns=SMALLEST)
    return found


@given(st.integers(0, 10**6), st.floats(-40_000, 40_000), st.floats(0.7, 1.4), st.floats(-5_000, 5_000))
@settings(max_examples=40)
def test_recovers_the_truth_without_noise(seed: int, offset: float, scale: float, per_block: float) -> None:
    truth = Truth(seed, 14, offset, scale, per_block)
    fitted = truth.fit()
    predicted = [fitted.of(pieces, int(blocks)) for pieces, blocks in zip(truth.sums, truth.blocks, strict=True)]
    assert np.allclose(predicted, truth.exact, rtol=0.004)
    assert fitted.scale == pytest.approx(scale, abs=0.05)
    assert fitted.loo_mape_percent < 1


def test_isolated_blocks_that_cost_a_constant_too_much_are_put_right() -> None:
    fitted = Truth(1, 12, -8_000, 1.0, -5_000, noise=0.005).fit()
    fresh = Truth(2, 200, -8_000, 1.0, -5_000)
    predicted = fitted.offset_ns + fitted.scale * fresh.sums + fitted.per_block_ns * fresh.blocks
    assert np.mean(np.abs(predicted / fresh.exact - 1)) < 0.01
    assert np.mean(np.abs(fresh.sums / fresh.exact - 1)) > 0.1


def test_with_little_to_go_by_it_stays_near_the_plain_sum() -> None:
    sums = np.array([1e6, 1e6 + 10, 1e6 + 20])
    fitted = fit(sums, [10, 10, 10], sums)
    assert (fitted.offset_ns, fitted.scale, fitted.per_block_ns) == pytest.approx((0, 1, 0), abs=1e-6)


def loss(x: Floats, sums: Floats, blocks: NDArray[np.int64], measured: Floats) -> float:
    """The sum in the module's head, as it is written there."""
    offset, scale, per_block = x
    predicted = offset + scale * sums + per_block * blocks
    ridge = (offset / (OFFSET_SD * np.median(measured))) ** 2 + ((scale - 1) / SCALE_SD) ** 2
    ridge += (per_block / (BLOCK_SD * np.median(sums / blocks))) ** 2
    return float(np.sum(((predicted - measured) / measured) ** 2) / NOISE**2 + ridge)


def allowed(x: Floats) -> bool:
    offset, scale, per_block = x
    return bool(scale >= LEAST_SCALE and per_block + scale * SMALLEST >= 0 and offset + scale * FIXED >= 0)


@given(
    st.integers(0, 10**6),
    st.integers(3, 12),
    st.floats(-200_000, 100_000),
    st.floats(0.05, 2.0),
    st.floats(-15_000, 15_000),
)
@settings(max_examples=60)
def test_minimises_the_stated_sum_within_the_bounds(
    seed: int, n: int, offset: float, scale: float, per_block: float
) -> None:
    truth = Truth(seed, n, offset, scale, per_block, noise=0.02)
    measured = np.maximum(truth.measured, 1_000.0)
    fitted = fit(truth.sums, truth.blocks, measured)
    found = np.array([fitted.offset_ns, fitted.scale, fitted.per_block_ns])
    slack = 1e-6 * np.array([FIXED, 0.0, SMALLEST])
    assert allowed(found + slack)
    best = loss(found, truth.sums, truth.blocks, measured)
    rng = np.random.default_rng(seed)
    for size in (1e-3, 1e-2, 0.1, 1.0):
        for step in rng.standard_normal((25, 3)) * size * np.array([30_000.0, 0.3, 3_000.0]):
            if allowed(found + step):
                assert loss(found + step, truth.sums, truth.blocks, measured) >= best * (1 - 1e-9)


@pytest.mark.parametrize(
    ("offset", "scale", "per_block"), [(0, 1.0, -12_000), (-150_000, 1.0, 0), (0, 0.05, 0), (0, 0.05, -9_000)]
)
def test_no_network_can_cost_less_than_nothing(offset: float, scale: float, per_block: float) -> None:
    truth = Truth(3, 12, offset, scale, per_block)
    measured = np.maximum(truth.exact, 1_000.0)
    fitted = fit(truth.sums, truth.blocks, measured)
    assert fitted.scale >= LEAST_SCALE
    assert fitted.scale * SMALLEST + fitted.per_block_ns >= -1e-6
    assert fitted.of(FIXED, 0) >= -1e-6


@given(st.integers(0, 10**6), st.integers(4, 12))
@settings(max_examples=25)
def test_leave_one_out_equals_refitting_without_each(seed: int, n: int) -> None:
    truth = Truth(seed, n, -10_000, 1.1, -2_000, noise=0.02)
    errors = []
    for i in range(n):
        refit = truth.fit(np.arange(n) != i)
        errors.append(refit.of(truth.sums[i], int(truth.blocks[i])) / truth.measured[i] - 1)
    fitted = truth.fit()
    assert fitted.relative_std == pytest.approx(np.sqrt(np.mean(np.square(errors))), rel=1e-6)
    assert fitted.loo_mape_percent == pytest.approx(100 * np.mean(np.abs(errors)), rel=1e-6)


@pytest.mark.parametrize(("n", "degrees"), [(3, 1), (4, 1), (5, 2), (12, 9)])
def test_the_interval_is_students_t(n: int, degrees: int) -> None:
    fitted = Truth(5, n, 0, 1.0, 0, noise=0.02).fit()
    assert fitted.t_quantile == pytest.approx(student.ppf(0.975, degrees))
    assert fitted.half_width == pytest.approx(fitted.t_quantile * fitted.relative_std)
    assert (fitted.confidence, fitted.method, fitted.statistic) == (0.95, f"t, {n} anchors", "median")


def test_the_interval_covers_new_networks_as_often_as_it_says() -> None:
    inside = []
    for seed in range(60):
        fitted = Truth(seed, 10, -10_000, 1.1, -2_000, noise=0.01).fit()
        fresh = Truth(10_000 + seed, 50, -10_000, 1.1, -2_000, noise=0.01)
        predicted = fitted.offset_ns + fitted.scale * fresh.sums + fitted.per_block_ns * fresh.blocks
        inside.append(np.mean(np.abs(fresh.measured / predicted - 1) <= fitted.half_width))
    assert 0.93 <= np.mean(inside) <= 0.99


@pytest.mark.parametrize("n", [0, 1, 2])
def test_fewer_than_3_anchors_are_refused(n: int) -> None:
    with pytest.raises(NotMeasuredError, match=f"at least 3 whole networks, {n} were measured") as refusal:
        fit([1e6] * n, [10] * n, [1e6] * n)
    assert refusal.value.exit_code == 3


@pytest.mark.parametrize(
    ("sums", "blocks", "measured", "finding"),
    [
        ([1e6] * 2, [10] * 3, [1e6] * 3, "3 measured networks, but 2 piece sums"),
        ([1e6] * 3, [10] * 4, [1e6] * 3, "and 4 block counts"),
        ([1e6, 1e6, 0], [10] * 3, [1e6] * 3, "must be positive"),
        ([1e6] * 3, [10] * 3, [1e6, -1, 1e6], "must be positive"),
        ([1e6] * 3, [10] * 3, [1e6, float("nan"), 1e6], "must be positive"),
        ([1e6] * 3, [10, -1, 10], [1e6] * 3, "not negative"),
    ],
)
def test_what_is_no_latency_is_refused(sums: Any, blocks: Any, measured: Any, finding: str) -> None:
    with pytest.raises(InputError, match=finding):
        fit(sums, blocks, measured)


def test_document_round_trips() -> None:
    fitted = Truth(0, 8, 0, 1.0, 0, noise=0.01).fit()
    document = CalibrationDocument.model_validate(fitted.to_json())
    assert Calibration.from_document(document) == fitted
    assert fitted.to_json() == asdict(fitted)
