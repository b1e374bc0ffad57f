"""Figures of a validation, its picture, and fitting tables from samples."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from binas_deploy.columns import Columns
from binas_deploy.errors import InputError, MismatchError, MissingExtraError, NotMeasuredError
from binas_deploy.report.scatter import scatter
from binas_deploy.space import Architecture, SearchSpace
from binas_deploy.space_file import load_space
from binas_deploy.steps.fit import fit
from binas_deploy.table import LatencyTable
from binas_deploy.table.terms import work_sources
from binas_deploy.table.validation import Predictions, Validation, figures, noise_floor_percent

# Figures


def predictions(errors: list[float], share: float = 0.02) -> Predictions:
    measured = np.linspace(1e6, 2e6, len(errors))
    predicted = measured * (1 + np.array(errors))
    return Predictions(predicted, predicted * (1 - share), predicted * (1 + share), measured)


def test_figures_are_what_they_say() -> None:
    run = predictions([0.01, -0.03, 0.0, 0.12])
    found = figures([run], [0, 1, 2, 3])
    assert found.networks == 4
    assert found.mape_percent == pytest.approx(4.0)
    assert found.bias_percent == pytest.approx(2.5)
    assert found.worst_percent == pytest.approx(12.0)
    assert found.coverage_percent == 50.0
    assert found.within_10_percent == 75.0
    assert found.kendall_tau == pytest.approx(1.0)


def test_figures_are_of_the_chosen_networks_over_all_runs() -> None:
    runs = [predictions([0.01, 0.5, 0.01, 0.01]), predictions([0.03, 0.5, 0.03, 0.03])]
    found = figures(runs, [0, 2, 3])
    assert (found.networks, found.mape_percent) == (3, pytest.approx(2.0))


def test_too_few_networks_have_no_figures() -> None:
    with pytest.raises(NotMeasuredError, match="at least 3 networks of a kind, not 2"):
        figures([predictions([0.0, 0.0])], [0, 1])


def test_the_noise_floor_leaves_out_what_all_have_in_common() -> None:
    first = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    assert noise_floor_percent(first, 1.4 * first) == pytest.approx(0.0, abs=1e-9)
    noisy = 1.4 * first * np.exp([0.01, -0.01, 0.0, 0.02, -0.02])
    assert noise_floor_percent(first, noisy) == pytest.approx(1.2)


def test_a_validation_has_the_keys_that_are_documented() -> None:
    found = figures([predictions([0.01, -0.03, 0.0])], [0, 1, 2])
    content = Validation({"random": found, "searched": found}, 0.5, (1.0, 1.1)).to_json()
    assert {"random", "searched", "noise_floor_percent", "error_over_floor", "machine"} == set(content)
    keys = {"networks", "mape_percent", "bias_percent", "coverage_percent", "kendall_tau", "worst_percent"}
    assert keys < set(content["random"])
    assert content["error_over_floor"]["random"] == pytest.approx(found.mape_percent / 0.5)


# The picture


def test_a_picture_is_a_png(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    run = predictions([0.01, -0.03, 0.0])
    path = tmp_path / "picture.png"
    scatter({"random": (run.predicted, run.measured)}, title="a title", path=path)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_the_line_that_installs_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'binas-deploy\[plot\]'"):
        scatter({}, title="", path=tmp_path / "none.png")


# Fitting


def true_ns(space: SearchSpace, archs: list[Architecture], *, slower: float = 1.0) -> np.ndarray:
    """A device on which time goes with MACs to nine tenths and activations to one."""
    columns = Columns(space)
    macs, moved = (columns.design(archs) @ source.costs for source in work_sources(columns))
    found: np.ndarray = slower * (macs * 0.2 + moved * 0.5 + 20_000)
    return found


def written(path: Path, space: SearchSpace, archs: list[Architecture], latencies: np.ndarray) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["network", "latency_us"])
        writer.writerows([space.text(arch), f"{ns / 1e3:.4f}"] for arch, ns in zip(archs, latencies, strict=True))
    return path


def drawn(space: SearchSpace, count: int, seed: int) -> list[Architecture]:
    rng = np.random.default_rng(seed)
    return list(dict.fromkeys(space.sample(rng) for _ in range(count)))


def mape(table: LatencyTable, archs: list[Architecture], latencies: np.ndarray) -> float:
    predicted = np.array([table.predict(arch).value for arch in archs])
    return float(100 * np.abs(predicted / latencies - 1).mean())


def test_a_table_from_samples_predicts_other_networks(tmp_path: Path) -> None:
    space = load_space("cifar10")
    archs = drawn(space, 60, 0)
    table, checked = fit(space, written(tmp_path / "s.csv", space, archs, true_ns(space, archs)), device="phone")
    fresh = drawn(space, 40, 1)
    assert mape(table, fresh, true_ns(space, fresh)) < 1.0
    assert (table.device, table.pieces, len(table.anchors)) == ("phone", {}, len(checked.archs))
    assert {anchor.kind for anchor in table.anchors} == {"given"}
    table.save(tmp_path / "table.json")
    assert LatencyTable.load(tmp_path / "table.json") == table


def test_another_devices_table_saves_samples(tmp_path: Path) -> None:
    space = load_space("cifar10")
    many, few, fresh = drawn(space, 60, 0), drawn(space, 10, 1), drawn(space, 40, 2)
    known, _ = fit(space, written(tmp_path / "a.csv", space, many, true_ns(space, many)), device="phone")
    known.save(tmp_path / "phone.json")
    samples = written(tmp_path / "b.csv", space, few, true_ns(space, few, slower=3.0))
    alone, _ = fit(space, samples, device="board")
    carried, _ = fit(space, samples, device="board", sources=[tmp_path / "phone.json"])
    truth = true_ns(space, fresh, slower=3.0)
    assert mape(carried, fresh, truth) < 1.0
    assert mape(carried, fresh, truth) < mape(alone, fresh, truth)
    assert carried.calibration.ratios == {f"phone-{known.digest[:8]}": pytest.approx(3.0, rel=0.01)}


def test_a_source_of_another_space_is_refused(tiny_space: SearchSpace, tmp_path: Path) -> None:
    space = load_space("cifar10")
    archs = drawn(space, 12, 0)
    samples = written(tmp_path / "a.csv", space, archs, true_ns(space, archs))
    fit(space, samples, device="phone")[0].save(tmp_path / "phone.json")
    tiny = drawn(tiny_space, 12, 0)
    other = written(tmp_path / "b.csv", tiny_space, tiny, true_ns(tiny_space, tiny))
    with pytest.raises(MismatchError, match="device 'phone': measured for space 'cifar10'"):
        fit(tiny_space, other, device="board", sources=[tmp_path / "phone.json"])


def test_the_public_function_takes_pairs_and_refuses_nonsense(tiny_space: SearchSpace) -> None:
    archs = drawn(tiny_space, 12, 0)
    table = LatencyTable.fit(tiny_space, list(zip(archs, true_ns(tiny_space, archs), strict=True)))
    assert table.device == "elsewhere"
    assert json.loads(json.dumps(table.to_document()))["conditions"]["identity"]["runtime"] == "not-stated"
    for absurd in (0.0, -1.0, float("nan"), float("inf"), 1e30):
        with pytest.raises(InputError, match="latencies are positive"):
            LatencyTable.fit(tiny_space, [(archs[0], absurd), (archs[1], 1e6), (archs[2], 1e6)])
    with pytest.raises(NotMeasuredError, match="at least 3 whole networks, 1 were"):
        LatencyTable.fit(tiny_space, [(archs[0], 1e6), (archs[0], 2e6)])
