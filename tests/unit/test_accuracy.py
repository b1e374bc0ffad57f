from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from binas_deploy import documents
from binas_deploy.accuracy import AccuracyModel, fit_conditional, fit_ridge, rank_quality
from binas_deploy.columns import Columns, Floats
from binas_deploy.errors import DocumentError, InputError, MismatchError
from binas_deploy.space import Architecture, SearchSpace
from binas_deploy.space_file import load_space

GOLDEN = Path(__file__).parents[1] / "data" / "formats" / "accuracy-model-v1.json"
CIFAR10 = load_space("cifar10")
FITS = [fit_ridge, fit_conditional]


def truth_of(space: SearchSpace, seed: int, size: float = 0.5) -> Floats:
    """A random additive truth in the gauge: base 70 and contributions of about ``size`` points."""
    columns = Columns(space)
    flat = np.random.default_rng(seed).normal(scale=size, size=columns.size)
    flat[0] = 70.0
    return columns.gauge @ flat


def drawn(space: SearchSpace, count: int, seed: int) -> list[Architecture]:
    rng = np.random.default_rng(seed)
    return [space.sample(rng) for _ in range(count)]


def accuracies(
    space: SearchSpace, archs: list[Architecture], truth: Floats, noise: float = 0.0, seed: int = 0
) -> Floats:
    exact = Columns(space).design(archs) @ truth
    return exact + np.random.default_rng(seed).normal(scale=noise, size=len(archs))


def every_draw(space: SearchSpace) -> list[Architecture]:
    """Each outcome of drawing per decision once: options of inactive positions are drawn too, then dropped."""
    stages = []
    for stage in space.stages:
        rows = itertools.product(*(range(len(options)) for options in stage.options))
        stages.append([(depth, row[:depth]) for row in rows for depth in stage.depths])
    return [
        Architecture(tuple(depth for depth, _ in choice), tuple(row for _, row in choice))
        for choice in itertools.product(*stages)
    ]


@pytest.fixture(scope="module")
def model(tiny_space: SearchSpace) -> AccuracyModel:
    archs = drawn(tiny_space, 60, 1)
    values = accuracies(tiny_space, archs, truth_of(tiny_space, 2), noise=0.1)
    fitted = replace(
        fit_ridge(tiny_space, archs, values), seed=1, supernet_digest="ab" * 32, dataset_fingerprint="cd" * 32
    )
    fresh = drawn(tiny_space, 30, 3)
    return fitted.with_quality(fresh, accuracies(tiny_space, fresh, truth_of(tiny_space, 2)))


@pytest.fixture
def path(model: AccuracyModel, tmp_path: Path) -> Path:
    target = tmp_path / "accuracy.json"
    model.save(target)
    return target


# Fitting


@settings(max_examples=10)
@given(seed=st.integers(0, 10**6))
def test_ridge_recovers_an_additive_truth(tiny_space: SearchSpace, seed: int) -> None:
    truth, archs = truth_of(tiny_space, seed), drawn(tiny_space, 300, seed)
    fitted = fit_ridge(tiny_space, archs, accuracies(tiny_space, archs, truth))
    assert np.allclose(fitted.contributions.flat(), truth, atol=1e-3)
    assert fitted.residual_std < 1e-3


@settings(max_examples=10)
@given(seed=st.integers(0, 10**6))
def test_conditional_means_are_exact_under_full_enumeration(tiny_space: SearchSpace, seed: int) -> None:
    truth, archs = truth_of(tiny_space, seed), every_draw(tiny_space)
    fitted = fit_conditional(tiny_space, archs, accuracies(tiny_space, archs, truth))
    assert np.allclose(fitted.contributions.flat(), truth, atol=1e-9)


@settings(max_examples=10)
@given(seed=st.integers(0, 10**6))
def test_ridge_is_in_the_gauge_for_any_sample(tiny_space: SearchSpace, seed: int) -> None:
    archs = drawn(tiny_space, 25, seed)
    values = np.random.default_rng(seed).uniform(60, 90, 25)
    fitted = fit_ridge(tiny_space, archs, values).contributions
    assert all(abs(row.sum()) < 1e-9 for row in fitted.depth)
    assert all(abs(row.sum()) < 1e-9 for stage in fitted.option for row in stage)


@settings(max_examples=20)
@given(seed=st.integers(0, 10**6))
def test_the_gauge_changes_no_prediction(tiny_space: SearchSpace, seed: int) -> None:
    columns = Columns(tiny_space)
    flat = np.random.default_rng(seed).normal(size=columns.size)
    design = columns.design(list(tiny_space.networks()))
    moved = columns.gauge @ flat
    assert np.allclose(design @ flat, design @ moved)
    assert np.allclose(columns.gauge @ moved, moved)


@pytest.mark.parametrize("seed", range(3))
def test_ridge_beats_conditional_means_on_few_noisy_samples(seed: int) -> None:
    truth = truth_of(CIFAR10, seed, 0.3)
    archs, fresh = drawn(CIFAR10, 200, seed), drawn(CIFAR10, 200, seed + 100)
    values = accuracies(CIFAR10, archs, truth, noise=0.2, seed=seed)
    exact = accuracies(CIFAR10, fresh, truth)
    errors = [fit(CIFAR10, archs, values).with_quality(fresh, exact).quality for fit in FITS]
    ridge, conditional = errors
    assert ridge is not None
    assert conditional is not None
    assert (ridge["mse"] or 0) < 0.7 * (conditional["mse"] or 0)


@pytest.mark.parametrize("fit", FITS)
def test_standard_errors_cover(fit: Callable[..., AccuracyModel]) -> None:
    inside: list[bool] = []
    for seed in range(5):
        truth, archs = truth_of(CIFAR10, seed, 0.3), drawn(CIFAR10, 300, seed)
        fitted = fit(CIFAR10, archs, accuracies(CIFAR10, archs, truth, noise=0.3, seed=seed))
        error = fitted.standard_errors.flat()
        distance = np.abs(fitted.contributions.flat() - truth)
        inside += list(distance[error > 1e-9] <= 1.96 * error[error > 1e-9])
    assert 0.90 < np.mean(inside) < 0.99


@pytest.mark.parametrize("fit", FITS)
def test_standard_errors_shrink_with_samples(fit: Callable[..., AccuracyModel], tiny_space: SearchSpace) -> None:
    truth = truth_of(tiny_space, 5)
    sizes = []
    for count in (50, 800):
        archs = drawn(tiny_space, count, 5)
        fitted = fit(tiny_space, archs, accuracies(tiny_space, archs, truth, noise=0.5))
        sizes.append(fitted.standard_errors.flat().mean())
    assert sizes[1] < 0.5 * sizes[0]


def test_conditional_residual_is_that_of_leaving_each_network_out(tiny_space: SearchSpace) -> None:
    archs = drawn(tiny_space, 30, 7)
    values = accuracies(tiny_space, archs, truth_of(tiny_space, 7), noise=0.4)
    missed = []
    for i in range(30):
        others = fit_conditional(tiny_space, archs[:i] + archs[i + 1 :], np.delete(values, i))
        missed.append(others.predict(archs[i]).value - values[i])
    fitted = fit_conditional(tiny_space, archs, values)
    assert fitted.residual_std == pytest.approx(np.sqrt(np.mean(np.square(missed))), rel=1e-6)


def test_ridge_residual_is_near_the_error_on_fresh_networks() -> None:
    truth, archs, fresh = truth_of(CIFAR10, 9, 0.3), drawn(CIFAR10, 300, 9), drawn(CIFAR10, 300, 10)
    fitted = fit_ridge(CIFAR10, archs, accuracies(CIFAR10, archs, truth, noise=0.3, seed=9))
    checked = fitted.with_quality(fresh, accuracies(CIFAR10, fresh, truth, noise=0.3, seed=10))
    assert checked.residual_std == pytest.approx(fitted.residual_std, rel=0.2)


@pytest.mark.parametrize("fit", FITS)
def test_a_choice_that_no_network_made_is_uncertain(fit: Callable[..., AccuracyModel], tiny_space: SearchSpace) -> None:
    archs = [arch for arch in drawn(tiny_space, 200, 4) if arch.options[0][0] != 3]
    fitted = fit(tiny_space, archs, accuracies(tiny_space, archs, truth_of(tiny_space, 4)))
    errors = fitted.standard_errors.option[0][0]
    assert errors[3] > 3 * errors[0]


@pytest.mark.parametrize("fit", FITS)
def test_equal_accuracies_give_no_contributions(fit: Callable[..., AccuracyModel], tiny_space: SearchSpace) -> None:
    archs = drawn(tiny_space, 20, 0)
    fitted = fit(tiny_space, archs, np.full(20, 10.0))
    assert fitted.predict(archs[0]).value == pytest.approx(10.0)
    assert fitted.residual_std == pytest.approx(0.0, abs=1e-9)


def test_fit_takes_pairs_and_a_kind(tiny_space: SearchSpace) -> None:
    archs = drawn(tiny_space, 20, 0)
    pairs = [(arch, 50.0 + arch.depths[0]) for arch in archs]
    assert AccuracyModel.fit(tiny_space, pairs).kind == "ridge"
    assert AccuracyModel.fit(tiny_space, pairs, kind="conditional").kind == "conditional"
    with pytest.raises(InputError, match="unknown kind of accuracy model 'neural'"):
        AccuracyModel.fit(tiny_space, pairs, kind="neural")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("count", "values", "message"),
    [
        (2, [50.0, 51.0], "at least 3"),
        (4, [50.0, 51.0, 52.0], "one for each"),
        (3, [50.0, 51.0, float("nan")], "percentages"),
        (3, [50.0, 51.0, 101.0], "percentages"),
        (3, [50.0, 51.0, -1.0], "percentages"),
    ],
)
@pytest.mark.parametrize("fit", FITS)
def test_unusable_samples_are_refused(
    fit: Callable[..., AccuracyModel], tiny_space: SearchSpace, count: int, values: list[float], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        fit(tiny_space, drawn(tiny_space, count, 0), values)


def test_a_network_of_another_space_is_refused(tiny_space: SearchSpace, model: AccuracyModel) -> None:
    with pytest.raises(InputError, match="stages"):
        fit_ridge(tiny_space, drawn(CIFAR10, 3, 0), [1.0, 2.0, 3.0])
    with pytest.raises(InputError, match="stages"):
        model.predict(CIFAR10.largest())
    with pytest.raises(MismatchError, match=r"'tiny' \(.{8}\), asked for 'cifar10' \(.{8}\)"):
        model.require_space(CIFAR10)


# Prediction


def test_predicts_from_the_integers_of_the_value_form(model: AccuracyModel) -> None:
    depths = tuple(stage.depths for stage in model.space.stages)
    for arch in drawn(model.space, 50, 8):
        estimate = model.predict(arch)
        assert estimate.value == model.value_form().of(arch, depths) / 10**9
        exact = float(Columns(model.space).design([arch])[0] @ model.contributions.flat())
        assert estimate.value == pytest.approx(exact, abs=1e-8)
        assert estimate.high - estimate.value == pytest.approx(1.959964 * model.residual_std)
        assert (estimate.unit, estimate.confidence) == ("%", 0.95)


def test_says_where_the_interval_comes_from(tiny_space: SearchSpace, model: AccuracyModel) -> None:
    assert "30 fresh networks" in model.predict(tiny_space.largest()).method
    archs = drawn(tiny_space, 40, 0)
    fitted = fit_ridge(tiny_space, archs, accuracies(tiny_space, archs, truth_of(tiny_space, 0)))
    assert "leave-one-out over 40 networks" in fitted.predict(tiny_space.largest()).method


def test_few_fresh_networks_do_not_set_the_interval(tiny_space: SearchSpace) -> None:
    archs = drawn(tiny_space, 40, 0)
    fitted = fit_ridge(tiny_space, archs, accuracies(tiny_space, archs, truth_of(tiny_space, 0), noise=0.2))
    checked = fitted.with_quality(archs[:5], accuracies(tiny_space, archs[:5], truth_of(tiny_space, 0)))
    assert checked.residual_std == fitted.residual_std
    assert checked.quality is not None
    assert checked.quality["n"] == 5


def test_rank_quality() -> None:
    quality = rank_quality([1.0, 2.0, 3.0, 4.0], [2.0, 1.0, 3.0, 5.0])
    assert quality == {
        "kendall_tau": pytest.approx(4 / 6),
        "spearman": pytest.approx(0.8),
        "pearson": pytest.approx(np.corrcoef([1, 2, 3, 4], [2, 1, 3, 5])[0, 1]),
        "mse": pytest.approx(0.75),
        "n": 4,
    }


def test_rank_quality_without_variation_has_no_correlation() -> None:
    assert rank_quality([1.0, 1.0], [1.0, 3.0]) == {
        "kendall_tau": None,
        "spearman": None,
        "pearson": None,
        "mse": 2.0,
        "n": 2,
    }


@pytest.mark.parametrize("measured", [[1.0], [1.0, 2.0, 3.0]])
def test_rank_quality_needs_pairs(measured: list[float]) -> None:
    with pytest.raises(InputError, match="2 or more pairs"):
        rank_quality(measured[:1], measured)


# The document


def test_round_trip(model: AccuracyModel, path: Path, tmp_path: Path) -> None:
    again = AccuracyModel.load(path)
    assert again.digest == model.digest
    assert again.quality == model.quality
    assert np.array_equal(again.contributions.flat(), model.contributions.flat())
    assert np.array_equal(again.standard_errors.flat(), model.standard_errors.flat())
    again.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == path.read_bytes()


def test_round_trip_of_a_conditional_model_without_quality(tiny_space: SearchSpace, tmp_path: Path) -> None:
    archs = drawn(tiny_space, 20, 0)
    fitted = fit_conditional(tiny_space, archs, accuracies(tiny_space, archs, truth_of(tiny_space, 0)))
    fitted.save(tmp_path / "a.json")
    again = AccuracyModel.load(tmp_path / "a.json")
    assert (again.digest, again.quality, again.strength, again.kind) == (fitted.digest, None, None, "conditional")


def test_the_first_version_is_still_read() -> None:
    golden = AccuracyModel.load(GOLDEN)
    assert (golden.kind, golden.samples, golden.space.name) == ("ridge", 60, "tiny")
    assert golden.value_form().constant == 69_513_358_717
    assert golden.predict(golden.space.largest()).value == 69.498128205


def rewritten(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the content and seal it again, as a foreign program would that knows the format."""
    content = json.loads(path.read_text())
    change(content)
    rest = {key: value for key, value in content.items() if key not in ("format", "version", "digest")}
    documents.write_document(path, documents.seal("accuracy-model", 1, rest))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["contributions"]["depth"][0].append(0.0), "contributions: not one number for each depth"),
        (lambda c: c["contributions"]["option"].pop(), "contributions: not one number for each depth"),
        (lambda c: c["standard_errors"]["option"][0][1].pop(), "standard_errors: not one number"),
        (lambda c: c["standard_errors"]["depth"][0].__setitem__(0, -1.0), r"standard_errors.depth\[0\]\[0\]"),
        (lambda c: c["contributions"].update(base="70"), "contributions.base: .*found '70'"),
        (lambda c: c.update(kind="neural"), "kind: .*'ridge' or 'conditional'"),
        (lambda c: c.update(residual_std=-0.1), "residual_std"),
        (lambda c: c.update(extra=1), "extra"),
        (lambda c: c["quality"].update(kendall_tau=2.0), "quality.kendall_tau"),
        (lambda c: c["space"].update(fingerprint="0" * 64), "fingerprint"),
        (lambda c: c.pop("unit"), "unit"),
    ],
)
def test_a_wrong_field_is_named(path: Path, change: Callable[[dict[str, Any]], object], message: str) -> None:
    rewritten(path, change)
    with pytest.raises(DocumentError, match=message) as caught:
        AccuracyModel.load(path)
    assert str(path) in str(caught.value)


def test_an_edit_by_hand_is_noticed(path: Path) -> None:
    path.write_text(path.read_text().replace('"samples": 60', '"samples": 61'))
    with pytest.raises(DocumentError, match="digest"):
        AccuracyModel.load(path)


def test_loading_and_predicting_needs_neither_scipy_nor_torch() -> None:
    code = (
        "import sys; from pathlib import Path; from binas_deploy.accuracy import AccuracyModel; "
        f"m = AccuracyModel.load(Path({str(GOLDEN)!r})); m.predict(m.space.largest()); "
        "assert not {'scipy', 'torch', 'onnx'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
