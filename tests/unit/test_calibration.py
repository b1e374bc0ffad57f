from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import stats
from scipy.optimize import check_grad

from binas_deploy.columns import Columns, Floats
from binas_deploy.errors import InputError, NotMeasuredError
from binas_deploy.space import SearchSpace
from binas_deploy.space_file import load_space
from binas_deploy.table.calibration import Calibration, Networks, calibrate
from binas_deploy.table.hierarchy import _loss, posterior, spreads
from binas_deploy.table.parts import measured_pieces
from binas_deploy.table.reconcile import LEAST_NOISE, reconcile
from binas_deploy.table.terms import SPREADS, Source, piece_source, terms, work_sources

# Terms


@pytest.fixture(scope="module")
def columns(tiny_space: SearchSpace) -> Columns:
    return Columns(tiny_space)


def locations(space: SearchSpace) -> dict[str, float]:
    return {piece.key: 1_000.0 + piece.macs / 10 for piece in measured_pieces(space)}


def test_a_source_prices_a_network_as_the_sum_of_its_pieces(columns: Columns) -> None:
    space, cost = columns.space, locations(columns.space)
    archs = list(space.networks())[::7]
    priced = columns.design(archs) @ piece_source(columns, cost).costs
    assert_allclose(priced, [sum(cost.get(piece.key, 0.0) for piece in space.pieces(arch)) for arch in archs])


def test_work_is_that_of_the_space(columns: Columns) -> None:
    archs = list(columns.space.networks())[::7]
    macs, moved = (columns.design(archs) @ source.costs for source in work_sources(columns))
    assert_allclose(macs, [columns.space.macs(arch) for arch in archs])
    assert (moved > 0).all()


def test_each_group_of_scales_adds_up_to_its_source(columns: Columns) -> None:
    source = piece_source(columns, locations(columns.space))
    found = terms(columns, [source], 1e5)
    elastic = np.arange(columns.size) > 0
    for group in ("stage scale", "piece"):
        chosen = [index for index, name in enumerate(found.groups) if name == group]
        assert_allclose(found.values[:, chosen].sum(axis=1), source.costs * elastic)


def test_blocks_are_counted_without_skips(columns: Columns) -> None:
    found = terms(columns, [piece_source(columns, locations(columns.space))], 1e5)
    count = found.values[:, found.groups.index("blocks")]
    archs = list(columns.space.networks())
    expected = [sum("id_" not in block for row in eval_rows(columns.space, arch) for block in row) for arch in archs]
    priced = columns.design(archs) @ count
    assert_allclose(priced / priced.max(), np.array(expected) / max(expected))


def eval_rows(space: SearchSpace, arch: object) -> list[list[str]]:
    import ast

    rows: list[list[str]] = ast.literal_eval(space.text(arch))  # type: ignore[arg-type]
    return rows


# The hierarchical model


def random_problem(seed: int) -> tuple[Floats, Floats, tuple[str, ...]]:
    rng = np.random.default_rng(seed)
    return (
        rng.standard_normal((9, 6)),
        rng.standard_normal(9) * 0.05,
        ("scale", "scale", "offset", "piece", "piece", "piece"),
    )


@given(st.integers(0, 10**6))
@settings(max_examples=20)
def test_the_posterior_is_that_of_bayesian_regression(seed: int) -> None:
    rows, target, groups = random_problem(seed)
    given_spreads = {"scale": 0.3, "offset": 0.1, "piece": 0.05, "noise": 0.02}
    found = posterior(rows, target, groups, given_spreads)
    precision = np.diag([given_spreads[name] ** -2 for name in groups]) + rows.T @ rows / 0.02**2
    assert_allclose(found.covariance, np.linalg.inv(precision), atol=1e-10)
    assert_allclose(found.mean, np.linalg.solve(precision, rows.T @ target / 0.02**2), atol=1e-9)
    assert_allclose(found.variance(rows), np.diag(rows @ found.covariance @ rows.T), atol=1e-12)


@given(st.integers(0, 10**6))
@settings(max_examples=20)
def test_the_evidence_and_its_slope_are_right(seed: int) -> None:
    rows, target, _ = random_problem(seed)
    kernels = [rows[:, :3] @ rows[:, :3].T, rows[:, 3:] @ rows[:, 3:].T, np.eye(9)]
    centre, width = np.log([0.2, 0.1, 0.01]), np.array([1.0, 1.0, 0.5])
    at = centre + np.random.default_rng(seed).normal(0, 0.5, 3)

    def loss(logs: Floats) -> float:
        return _loss(logs, kernels, target, centre, width)[0]

    covariance = sum(np.exp(2 * log) * kernel for log, kernel in zip(at, kernels, strict=True))
    density = stats.multivariate_normal(np.zeros(9), covariance).logpdf(target)
    prior = stats.norm(centre, width).logpdf(at).sum()
    constant = -4.5 * np.log(2 * np.pi) + stats.norm(0, width).logpdf(0).sum()
    assert loss(at) == pytest.approx(-(density + prior - constant))
    slope = _loss(at, kernels, target, centre, width)[1]
    assert check_grad(loss, lambda logs: _loss(logs, kernels, target, centre, width)[1], at) < 1e-3 * (
        1 + abs(slope).max()
    )


def test_spreads_tell_a_group_that_matters_from_one_that_does_not() -> None:
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((80, 20))
    groups = ("scale",) * 10 + ("piece",) * 10
    target = rows[:, :10] @ rng.normal(0, 0.5, 10) + rng.normal(0, 0.01, 80)
    found = spreads(rows, target, groups, SPREADS)
    assert 0.25 < found["scale"] < 1.0
    assert found["piece"] < 0.02
    assert 0.005 < found["noise"] < 0.02


# Calibration


def world(
    columns: Columns, count: int, seed: int, *, noise: float = 0.0, kind: str = "random"
) -> tuple[Source, Networks, Floats]:
    """A device on which pieces cost 0.8 of what they cost alone, a constant less, and stages differ by 10 %."""
    rng = np.random.default_rng(seed)
    source = piece_source(columns, locations(columns.space))
    true = 0.8 * source.costs
    for place, s, _block in columns.blocks():
        true[place] = 0.0 if not source.costs[place] else true[place] * (1 + 0.1 * (s % 2)) - 150.0
    archs = list(dict.fromkeys(columns.space.sample(rng) for _ in range(count)))
    design = columns.design(archs)
    latency = design @ true * (1 + noise * rng.standard_normal(len(archs)))
    return source, Networks(design, latency, (kind,) * len(archs)), true


@given(st.integers(0, 10**6))
@settings(max_examples=10)
def test_recovers_a_device_from_its_networks(seed: int) -> None:
    columns = Columns(load_space("cifar10"))
    source, networks, true = world(columns, 60, seed, noise=0.003)
    fitted = calibrate(columns, [source], networks)
    fresh = columns.design([columns.space.sample(np.random.default_rng([seed, i])) for i in range(40)])
    errors = fresh @ fitted.costs / (fresh @ true) - 1
    assert np.abs(errors).mean() < 0.004
    told = np.abs([error for error in fitted.errors if error is not None])
    assert 0.3 < told.mean() / np.abs(networks.latency_ns / (networks.design @ true) - 1).mean() < 4


def test_the_error_it_tells_is_that_of_networks_held_out(columns: Columns) -> None:
    source, networks, _ = world(columns, 25, 3, noise=0.01)
    fitted = calibrate(columns, [source], networks)
    inside = networks.latency_ns / (networks.design @ fitted.costs) - 1
    told = np.array([error for error in fitted.errors if error is not None])
    assert len(told) == len(networks.kinds)
    assert np.abs(told).mean() > np.abs(inside).mean()


def test_networks_designed_to_calibrate_on_tell_no_error(columns: Columns) -> None:
    source, networks, _ = world(columns, 25, 3)
    kinds = ("designed",) * 10 + networks.kinds[10:]
    fitted = calibrate(columns, [source], Networks(networks.design, networks.latency_ns, kinds))
    assert [error is None for error in fitted.errors] == [kind == "designed" for kind in kinds]


def test_works_from_three_networks_and_says_how_badly(columns: Columns) -> None:
    source, networks, true = world(columns, 3, 5)
    fitted = calibrate(columns, [source], networks)
    every = columns.design(list(columns.space.networks()))
    assert np.abs(every @ fitted.costs / (every @ true) - 1).mean() < 0.2
    assert all(error is not None for error in fitted.errors)


def test_no_block_is_paid_for_by_another(columns: Columns) -> None:
    source, networks, _ = world(columns, 20, 7)
    # The more blocks the faster: no device is so, but a broken measurement can be.
    nonsense = Networks(networks.design, 1e6 - 40 * (networks.latency_ns - networks.latency_ns.min()), networks.kinds)
    fitted = calibrate(columns, [source], Networks(nonsense.design, np.abs(nonsense.latency_ns) + 1, nonsense.kinds))
    assert min(fitted.costs[place] for place, _, _ in columns.blocks()) >= 0


def test_several_sources_are_weighed(columns: Columns) -> None:
    source, networks, true = world(columns, 30, 11)
    noise = np.random.default_rng(0).uniform(0.2, 5, columns.size)
    wrong = Source("wrong", source.costs * noise)
    fitted = calibrate(columns, [wrong, source], networks)
    assert set(fitted.ratios) == {"wrong", "pieces"}
    every = columns.design(list(columns.space.networks()))
    assert np.abs(every @ fitted.costs / (every @ true) - 1).mean() < 0.03


def test_only_the_shape_of_a_source_counts(columns: Columns) -> None:
    source, networks, _ = world(columns, 20, 13)
    slow = Source("pieces", 7 * source.costs)
    mine, other = (calibrate(columns, [one], networks) for one in (source, slow))
    assert_allclose(mine.costs, other.costs, atol=2)
    assert mine.ratios["pieces"] == pytest.approx(7 * other.ratios["pieces"])


def test_what_cannot_be_calibrated_is_refused(columns: Columns) -> None:
    source, networks, _ = world(columns, 5, 1)
    with pytest.raises(NotMeasuredError, match="at least 3 whole networks, 2 were measured"):
        calibrate(columns, [source], networks.at([0, 1]))
    with pytest.raises(InputError, match="one latency and one kind for each"):
        Networks(networks.design[:3], networks.latency_ns, networks.kinds)
    with pytest.raises(InputError, match="must be positive"):
        Networks(networks.design, -networks.latency_ns, networks.kinds)
    with pytest.raises(InputError, match="at least one source"):
        calibrate(columns, [], networks)
    with pytest.raises(InputError, match="source 'nothing': every network must cost something"):
        calibrate(columns, [Source("nothing", np.zeros(columns.size))], networks)


def test_equal_calibrations_are_equal(columns: Columns) -> None:
    source, networks, _ = world(columns, 6, 1)
    one, same = (calibrate(columns, [source], networks) for _ in range(2))
    assert one == same
    assert one != "a calibration"
    assert one != Calibration(one.costs + 1, one.statistic, one.ratios, one.spreads, one.errors)


# Carrying over to another run


@given(st.floats(0.6, 1.7), st.integers(0, 10**6))
@settings(max_examples=40)
def test_three_anchors_carry_a_table_over_to_another_speed(scale: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    then = rng.uniform(2e5, 6e5, 3)
    now = then * scale * (1 + 0.005 * rng.standard_normal(3))
    found = reconcile(then, now, noise=0.005)
    fresh = rng.uniform(2e5, 6e5, 100)
    errors = (found.scale * fresh + found.offset_ns) / (scale * fresh) - 1
    assert np.abs(errors).max() < 6 * found.relative_sd
    assert 0.002 < found.relative_sd < 0.02


def test_more_anchors_are_more_certain_and_one_is_enough() -> None:
    then = np.linspace(2e5, 6e5, 12)
    sds = [reconcile(then[:n], 1.3 * then[:n], noise=0.01).relative_sd for n in (1, 3, 12)]
    assert sds == sorted(sds, reverse=True)
    assert reconcile(then[:1], 1.3 * then[:1], noise=0.01).scale == pytest.approx(1.3, abs=0.02)


def test_an_offset_is_found_from_many_anchors() -> None:
    then = np.linspace(2e5, 6e5, 12)
    found = reconcile(then, then + 8_000, noise=0.001)
    assert found.offset_ns == pytest.approx(8_000, rel=0.3)


@given(st.lists(st.tuples(st.floats(1e5, 1e6), st.floats(-2, 2)), min_size=1, max_size=9), st.floats(1e-3, 0.05))
def test_what_carries_a_table_over_is_the_posterior_of_the_linear_model(
    anchors: list[tuple[float, float]], noise: float
) -> None:
    then, ratios = np.array([row[0] for row in anchors]), 1.2 + noise * np.array([row[1] for row in anchors])
    found = reconcile(then, then * ratios, noise=noise)
    unit, centre = np.median(then), np.median(ratios)
    scatter = np.sqrt(np.sum((ratios - centre) ** 2) / max(1, len(ratios) - 1))
    spreads = {"scale": 0.3 * centre, "offset": 0.02 * centre, "noise": max(np.sqrt(2) * noise * centre, scatter)}
    rows = np.column_stack([np.ones_like(then), unit / then])
    known = posterior(rows, ratios - centre, ("scale", "offset"), spreads)
    assert found.scale == pytest.approx(centre + known.mean[0])
    assert found.offset_ns == pytest.approx(known.mean[1] * unit, abs=1e-3)
    typical = found.now_ns(unit) / unit
    assert found.relative_sd * typical == pytest.approx(np.sqrt(known.variance(np.ones((1, 2)))[0]))
    assert found.anchors == len(anchors)


def test_anchors_that_disagree_carry_a_table_over_less_surely() -> None:
    then = np.linspace(2e5, 6e5, 8)
    calm, torn = (then * (1 + off * np.array([1, -1] * 4)) for off in (0.001, 0.1))
    assert reconcile(then, torn, noise=0.005).relative_sd > 5 * reconcile(then, calm, noise=0.005).relative_sd


def test_one_wild_anchor_does_not_carry_the_others_away() -> None:
    then, wild = np.linspace(2e5, 6e5, 8), np.array([1, 1, 1, 1, 1, 2.5, 1, 1])
    found = reconcile(then, 1.2 * then * wild, noise=0.005)
    assert found.scale + found.offset_ns / 4e5 == pytest.approx(1.2, rel=0.005)


def test_nothing_is_carried_over_by_nothing() -> None:
    for then, now in (([], []), ([1.0], []), ([1.0, 2.0], [1.0, -2.0])):
        with pytest.raises(InputError, match="at least one anchor"):
            reconcile(then, now, noise=0.01)


def test_a_table_of_no_noise_at_all_is_carried_over_as_one_of_little() -> None:
    then = np.linspace(2e5, 6e5, 12)
    assert reconcile(then, 1.3 * then, noise=1e-200) == reconcile(then, 1.3 * then, noise=LEAST_NOISE)


@pytest.mark.parametrize("count", [4, 10])
def test_a_network_held_out_has_no_say_in_its_own_prediction(columns: Columns, count: int) -> None:
    """Neither in the spreads nor in the ratios, which a few networks know better than they should."""
    source, networks, _ = world(columns, count, 4)
    usual = calibrate(columns, [source], networks).errors
    slower = networks.latency_ns.copy()
    slower[0] *= 1.5
    found = calibrate(columns, [source], Networks(networks.design, slower, networks.kinds)).errors
    assert None not in (usual[0], found[0])
    assert 1 + found[0] == pytest.approx(1.5 * (1 + usual[0]), rel=1e-5)  # type: ignore[operator]
