from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import t as student

from binas_deploy.errors import InputError, NotMeasuredError
from binas_deploy.table.calibration import (
    BLOCK_SD,
    LEAST_SCALE,
    NOISE,
    OFFSET_SD,
    SCALE_SD,
    STAGE_BLOCK_SD,
    STAGE_SCALE_SD,
    Anchors,
    Calibration,
    CalibrationDocument,
    Coefficients,
    coefficients,
    fit,
    leave_one_out,
)

Floats = NDArray[np.float64]
FIXED, SMALLEST = 60_000.0, np.array([12_000.0, 8_000.0, 5_000.0])
STAGES = len(SMALLEST)


def truth(
    seed: int,
    n: int,
    offset: float = 0.0,
    scale: float = 1.0,
    per_block: float = 0.0,
    *,
    noise: float = 0.0,
    stage_scale: tuple[float, ...] = (0.0, 0.0, 0.0),
) -> tuple[Anchors, Floats]:
    """Networks of random blocks on a device that follows the model, up to relative noise; and without the noise."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(2, 7, (n, STAGES))
    above = np.array([[rng.gamma(2.0, 15_000.0, b).sum() for b in row] for row in blocks])
    sums = SMALLEST * blocks + above
    exact = offset + scale * FIXED + sums @ (scale + np.array(stage_scale)) + per_block * blocks.sum(axis=1)
    measured = np.maximum(exact, 1_000.0) * np.exp(noise * rng.standard_normal(n))
    return Anchors(sums, blocks, measured, FIXED, SMALLEST), exact


def predicted(fitted: Calibration, anchors: Anchors) -> Floats:
    rates = fitted.stages
    scales, constants = np.array([r.scale for r in rates]), np.array([r.per_block_ns for r in rates])
    total: Floats = fitted.fixed(anchors.fixed_ns) + anchors.stage_ns @ scales + anchors.stage_blocks @ constants
    return total


@given(st.integers(0, 10**6), st.floats(-40_000, 40_000), st.floats(0.7, 1.4), st.floats(-4_000, 4_000))
@settings(max_examples=30)
def test_recovers_the_truth_without_noise(seed: int, offset: float, scale: float, per_block: float) -> None:
    anchors, exact = truth(seed, 20, offset, scale, per_block)
    fitted = fit(anchors)
    assert np.allclose(predicted(fitted, anchors), exact, rtol=0.01)
    assert fitted.scale == pytest.approx(scale, abs=0.1)


def test_isolated_blocks_that_cost_a_constant_too_much_are_put_right() -> None:
    fitted = fit(truth(1, 16, -8_000, 1.0, -5_000, noise=0.005)[0])
    fresh, exact = truth(2, 200, -8_000, 1.0, -5_000)
    assert np.mean(np.abs(predicted(fitted, fresh) / exact - 1)) < 0.01
    plain = FIXED + fresh.stage_ns.sum(axis=1)
    assert np.mean(np.abs(plain / exact - 1)) > 0.1


def test_stages_that_behave_differently_are_told_apart() -> None:
    """Networks that put their depth where a device is fast: one rate for all stages is biased on them."""
    different = {"stage_scale": (-0.2, 0.1, 0.1), "noise": 0.002}
    fitted = fit(truth(3, 16, -8_000, 1.0, -3_000, **different)[0])  # type: ignore[arg-type]  # a dict of keywords
    fresh, exact = truth(4, 300, -8_000, 1.0, -3_000, stage_scale=(-0.2, 0.1, 0.1))
    lopsided = fresh.stage_blocks[:, 0] > fresh.stage_blocks[:, 2] + 1
    errors = (predicted(fitted, fresh) / exact - 1)[lopsided]
    assert abs(np.mean(errors)) < 0.01


def test_with_little_to_go_by_it_stays_near_the_plain_sum() -> None:
    sums: Floats = np.full((3, STAGES), 3e5) + np.arange(3.0)[:, None]
    anchors = Anchors(sums, np.full((3, 3), 3), FIXED + sums.sum(axis=1), FIXED, SMALLEST)
    found = coefficients(anchors)
    assert (found.offset_ns, found.scale, found.per_block_ns) == pytest.approx((0, 1, 0), abs=1e-4)
    assert found.stage_scale == pytest.approx(np.ones(3), abs=1e-6)


def loss(x: Coefficients, anchors: Anchors) -> float:
    """The sum in the module's head, as it is written there."""
    y = anchors.measured_ns
    unit = np.median(y) / np.median(anchors.stage_blocks.sum(axis=1))
    ridge = (x.offset_ns / (OFFSET_SD * np.median(y))) ** 2 + ((x.scale - 1) / SCALE_SD) ** 2
    ridge += (x.per_block_ns / (BLOCK_SD * unit)) ** 2
    ridge += np.sum(((x.stage_scale - x.scale) / STAGE_SCALE_SD) ** 2)
    ridge += np.sum(((x.stage_block_ns - x.per_block_ns) / (STAGE_BLOCK_SD * unit)) ** 2)
    return float(np.sum(((x.predict(anchors) - y) / y) ** 2) / NOISE**2 + ridge)


def allowed(x: Coefficients, slack: float = 0.0) -> bool:
    scales = [x.scale, *x.stage_scale]
    cheapest = [x.offset_ns + x.scale * FIXED, *(x.stage_block_ns + x.stage_scale * SMALLEST)]
    return bool(min(scales) >= LEAST_SCALE - 1e-9 and min(cheapest) >= -slack)


@given(
    st.integers(0, 10**6),
    st.integers(3, 16),
    st.floats(-200_000, 100_000),
    st.floats(0.05, 2.0),
    st.floats(-15_000, 15_000),
)
@settings(max_examples=40)
def test_minimises_the_stated_sum_within_the_bounds(
    seed: int, n: int, offset: float, scale: float, per_block: float
) -> None:
    anchors, _ = truth(seed, n, offset, scale, per_block, noise=0.02)
    found = coefficients(anchors)
    assert allowed(found, slack=0.1)
    best = loss(found, anchors)
    rng = np.random.default_rng(seed)
    for size in (1e-3, 1e-2, 0.1, 1.0):
        for _ in range(25):
            steps = rng.standard_normal(3 + 2 * STAGES) * size
            other = Coefficients(
                found.offset_ns + 30_000 * steps[0],
                found.scale + 0.3 * steps[1],
                found.per_block_ns + 3_000 * steps[2],
                found.stage_scale + 0.1 * steps[3 : 3 + STAGES],
                found.stage_block_ns + 1_000 * steps[3 + STAGES :],
            )
            if allowed(other):
                assert loss(other, anchors) >= best * (1 - 1e-6)


@pytest.mark.parametrize(
    ("offset", "scale", "per_block"), [(0, 1.0, -12_000), (-150_000, 1.0, 0), (0, 0.05, 0), (0, 0.05, -9_000)]
)
def test_no_network_can_cost_less_than_nothing(offset: float, scale: float, per_block: float) -> None:
    fitted = fit(truth(3, 12, offset, scale, per_block)[0])
    assert fitted.fixed(FIXED) >= -1e-3
    for stage, smallest in enumerate(SMALLEST):
        assert fitted.stages[stage].scale >= LEAST_SCALE - 1e-9
        assert fitted.block(stage, smallest) >= -1e-3


@given(st.integers(0, 10**6), st.integers(4, 10))
@settings(max_examples=15)
def test_leave_one_out_equals_refitting_without_each(seed: int, n: int) -> None:
    anchors, _ = truth(seed, n, -10_000, 1.1, -2_000, noise=0.02)
    errors = leave_one_out(anchors)
    for i in range(n):
        refitted = fit(anchors.without(i))
        assert errors[i] == pytest.approx(predicted(refitted, anchors)[i] / anchors.measured_ns[i] - 1, abs=1e-9)
    fitted = fit(anchors)
    assert fitted.relative_std == pytest.approx(np.sqrt(np.mean(errors**2)))
    assert fitted.loo_mape_percent == pytest.approx(100 * np.mean(np.abs(errors)))


@pytest.mark.parametrize(("n", "degrees"), [(3, 1), (4, 1), (5, 2), (12, 9)])
def test_the_interval_is_students_t(n: int, degrees: int) -> None:
    fitted = fit(truth(5, n, noise=0.02)[0])
    assert fitted.t_quantile == pytest.approx(student.ppf(0.975, degrees))
    assert fitted.half_width == pytest.approx(fitted.t_quantile * fitted.relative_std)
    assert (fitted.confidence, fitted.method, fitted.statistic) == (0.95, f"t, {n} anchors", "median")


def test_the_interval_covers_new_networks_as_often_as_it_says() -> None:
    inside = []
    for seed in range(40):
        fitted = fit(truth(seed, 16, -10_000, 1.1, -2_000, noise=0.01)[0])
        fresh, _ = truth(10_000 + seed, 50, -10_000, 1.1, -2_000, noise=0.01)
        inside.append(np.mean(np.abs(fresh.measured_ns / predicted(fitted, fresh) - 1) <= fitted.half_width))
    assert 0.93 <= np.mean(inside) <= 0.99


@pytest.mark.parametrize("n", [0, 1, 2])
def test_fewer_than_3_anchors_are_refused(n: int) -> None:
    empty = Anchors(np.ones((n, 3)), np.ones((n, 3), dtype=np.int64), np.ones(n), FIXED, SMALLEST)
    with pytest.raises(NotMeasuredError, match=f"at least 3 whole networks, {n} were measured") as refusal:
        fit(empty)
    assert refusal.value.exit_code == 3


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        ({"stage_ns": np.ones((2, 3))}, "3 measured networks of 3 stages, but sums"),
        ({"stage_blocks": np.ones((3, 4), dtype=np.int64)}, "and block counts"),
        ({"stage_ns": -np.ones((3, 3))}, "not negative"),
        ({"measured_ns": np.array([1.0, 0.0, 1.0])}, "must be positive"),
        ({"measured_ns": np.array([1.0, np.nan, 1.0])}, "must be positive"),
        ({"stage_blocks": -np.ones((3, 3), dtype=np.int64)}, "not negative"),
    ],
)
def test_what_is_no_latency_is_refused(change: dict[str, Any], finding: str) -> None:
    with pytest.raises(InputError, match=finding):
        fit(replace(truth(0, 3)[0], **change))


def test_document_round_trips() -> None:
    fitted = fit(truth(0, 8, noise=0.01)[0])
    document = CalibrationDocument.model_validate(fitted.to_json())
    assert Calibration.from_document(document) == fitted
