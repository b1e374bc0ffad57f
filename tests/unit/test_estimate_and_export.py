"""Steps that need torch and images: estimating (resumable, shared by fits) and exporting (all or nothing)."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)  # the networks are tiny: threads only wait for each other

import binas_deploy  # noqa: E402  # after the skip
from binas_deploy.accuracy import AccuracyModel  # noqa: E402
from binas_deploy.adapters import registry  # noqa: E402
from binas_deploy.budget import Budget  # noqa: E402
from binas_deploy.bundle.manifest import Manifest, check_files, load_vectors, read_model  # noqa: E402
from binas_deploy.bundle.reproduce import reproduce_words  # noqa: E402
from binas_deploy.cli.export import command as export_command  # noqa: E402
from binas_deploy.cli.search import command as search_command  # noqa: E402
from binas_deploy.data.base import Dataset, Split  # noqa: E402
from binas_deploy.errors import EnvironmentFault, InputError, MismatchError, MissingExtraError  # noqa: E402
from binas_deploy.model import INPUT_NAME  # noqa: E402
from binas_deploy.search_result import SearchResult  # noqa: E402
from binas_deploy.space_file import load_space  # noqa: E402
from binas_deploy.steps import estimate as estimating  # noqa: E402
from binas_deploy.steps.estimate import EVALUATIONS_NAME, estimate  # noqa: E402
from binas_deploy.steps.export import export  # noqa: E402
from binas_deploy.steps.search import search  # noqa: E402
from binas_deploy.steps.train import train  # noqa: E402
from binas_deploy.table import LatencyTable  # noqa: E402

Estimating = Callable[..., tuple[Path, AccuracyModel]]


def made_up(count: int, seed: int) -> Split:
    rng = np.random.default_rng(seed)
    labels = rng.integers(5, size=count)
    noise = rng.integers(0, 128, size=(count, 3, 8, 8))
    return Split((noise + labels[:, None, None, None] * 25).astype(np.uint8), labels.astype(np.int64))


def made_up_data(seed: int = 0) -> Dataset:
    splits = [made_up(count, seed + index) for index, count in enumerate((64, 40, 40))]
    return Dataset.build("made-up", [f"class{k}" for k in range(5)], *splits)


@pytest.fixture(autouse=True)
def images(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("train", "estimate"):
        monkeypatch.setattr(f"binas_deploy.steps.{module}.load_dataset", lambda *_, **__: made_up_data())


@pytest.fixture
def table(fake_table: LatencyTable) -> LatencyTable:
    return fake_table


@pytest.fixture
def supernet(table: LatencyTable, tmp_path: Path) -> Path:
    train(table.space, output=tmp_path / "supernet", largest_epochs=1, supernet_epochs=1, batch=32)
    return tmp_path / "supernet"


@pytest.fixture
def run(supernet: Path) -> Estimating:
    def call(**more: Any) -> tuple[Path, AccuracyModel]:
        return estimate(**{"supernet": supernet, "samples": 8, "fresh": 4, **more})

    return call


def counted(monkeypatch: pytest.MonkeyPatch, *, fail_at: int | None = None) -> list[int]:
    """How many networks are evaluated from now on; ``fail_at`` interrupts that evaluation."""
    calls: list[int] = []
    import binas_deploy.supernet.evaluate as evaluating

    original = evaluating.top1

    def top1(*arguments: Any) -> float:
        calls.append(1)
        if len(calls) == fail_at:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(evaluating, "top1", top1)
    return calls


def test_the_model_states_what_it_was_made_of(run: Estimating, supernet: Path) -> None:
    path, model = run()
    assert path == supernet / "accuracy.json"
    assert AccuracyModel.load(path).digest == model.digest
    assert (model.samples, model.kind, model.seed) == (8, "ridge", 0)
    assert model.dataset_fingerprint == made_up_data().fingerprint
    assert model.quality is not None
    assert model.quality["n"] == 4


def test_an_interrupted_run_goes_on_with_the_same_figures(
    run: Estimating, supernet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted(monkeypatch, fail_at=6)
    with pytest.raises(KeyboardInterrupt):
        run()
    journal = supernet / EVALUATIONS_NAME
    with journal.open("ab") as stream:
        stream.write(b'{"identity": "cut off by a ki')
    calls = counted(monkeypatch)
    _, resumed = run()
    assert len(calls) == 12 - 5
    assert len(journal.read_text(encoding="utf-8").splitlines()) == 12
    journal.unlink()
    assert run()[1].digest == resumed.digest


def test_another_kind_of_fit_evaluates_nothing_again(
    run: Estimating, supernet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run()
    calls = counted(monkeypatch)
    _, conditional = run(kind="conditional", output=supernet / "conditional.json")
    assert calls == []
    assert conditional.kind == "conditional"


def test_evaluations_of_something_else_are_refused(run: Estimating) -> None:
    run()
    with pytest.raises(MismatchError, match="another supernet, data set or seed"):
        run(seed=1)


def test_other_images_are_refused(run: Estimating, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimating, "load_dataset", lambda *_, **__: made_up_data(seed=9))
    with pytest.raises(MismatchError, match="the supernet was trained with 'made-up'"):
        run()


@pytest.fixture
def result(table: LatencyTable, run: Estimating) -> SearchResult:
    _, model = run()
    return search(table.space, accuracy=model, budgets=[Budget.parse("1s")], tables=[table])


def test_a_bundle_is_whole_and_runs_as_torch_said(
    result: SearchResult, table: LatencyTable, supernet: Path, tmp_path: Path
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    bundle = export(result, table=table, workspace=tmp_path, supernet=supernet)
    assert bundle == tmp_path / "export" / f"{table.space.name}-{table.device}-1000ms"
    manifest = Manifest.load(bundle)
    check_files(bundle, manifest)
    assert manifest.architecture == result.architecture
    assert manifest.predicted.holdout_accuracy is not None
    assert manifest.table.digest == table.digest
    inputs, outputs = load_vectors(bundle)
    session = onnxruntime.InferenceSession(read_model(bundle, manifest).payload, providers=["CPUExecutionProvider"])
    found = np.concatenate([session.run(None, {INPUT_NAME: row[None]})[0] for row in inputs])
    assert np.abs(found - outputs).max() <= 1e-4 * np.abs(outputs).max()


def test_formats_hold_the_same_network_and_say_so(
    result: SearchResult, table: LatencyTable, supernet: Path, tmp_path: Path
) -> None:
    for package in ("onnxruntime", "openvino"):
        pytest.importorskip(package)
    bundle = export(result, table=table, workspace=tmp_path, supernet=supernet, formats=["openvino", "torch"])
    manifest = Manifest.load(bundle)
    check_files(bundle, manifest)
    assert list(manifest.formats) == ["onnx", "openvino", "torch"]
    assert sorted(manifest.files) == sorted(path.name for path in bundle.iterdir() if path.name != "manifest.json")
    assert manifest.formats["onnx"].versions["opset"] == "20"
    assert manifest.formats["torch"].versions == {"torch": torch.__version__}
    notes = {prop.key: prop.value for prop in onnx.load(bundle / "model.onnx").metadata_props}
    assert json.loads(notes["binas_deploy.preprocessing"]) == manifest.preprocessing.to_json()
    assert json.loads(notes["binas_deploy.labels"]) == list(manifest.labels)
    assert notes["binas_deploy.architecture"] == manifest.text
    pictures = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    found = {name: binas_deploy.load(bundle, format=name).logits(pictures) for name in manifest.formats}
    largest = np.abs(found["onnx"]).max()
    for name, logits in found.items():
        assert np.abs(logits - found["onnx"]).max() <= 1e-4 * largest, name


def test_the_command_that_makes_it_again_finds_the_same_network(
    result: SearchResult, table: LatencyTable, supernet: Path, tmp_path: Path
) -> None:
    words = Manifest.load(export(result, table=table, workspace=tmp_path, supernet=supernet, seed=3)).reproduce
    cut = words.index("&&")
    assert words[:2] == (words[cut + 1], "search")
    assert words[cut + 2 :] == ("export", "search.json", "--format", "onnx", "--data", "cifar10", "--seed", "3")
    for command, made in ((search_command, words[2:cut]), (export_command, words[cut + 3 :])):
        command.make_context("binas-deploy", list(made))  # raises where it is no such command
    told = dict(zip(words[2:cut:2], words[3:cut:2], strict=True))
    assert (told["--budget"], told["--threads"], told["--statistic"]) == ("fake=1000ms", "1", "median")
    tightened = replace(result.latency_budget, most_predicted_ns=476_600)
    found = reproduce_words(replace(result, latencies=(tightened,)), table, ["onnx"], data="cifar10", seed=0)
    assert "fake=0.4766ms" in found


def test_a_format_that_cannot_be_had_leaves_nothing(
    result: SearchResult, table: LatencyTable, supernet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = registry._installed
    monkeypatch.setattr(registry, "_installed", lambda name: name != "openvino" and installed(name))
    with pytest.raises(MissingExtraError, match=r"The format 'openvino' needs .*binas-deploy\[openvino\]"):
        export(result, table=table, workspace=tmp_path, supernet=supernet, formats=["openvino"])
    with pytest.raises(InputError, match="unknown format 'coreml'"):
        export(result, table=table, workspace=tmp_path, supernet=supernet, formats=["coreml"])
    assert not (tmp_path / "export").exists()


def test_a_failed_export_leaves_the_old_bundle(
    result: SearchResult, table: LatencyTable, supernet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out" / "mine"
    export(result, table=table, workspace=tmp_path, supernet=supernet, output=target)
    before = {path.name: path.read_bytes() for path in target.iterdir()}

    def full(*_: object, **__: object) -> None:
        raise EnvironmentFault("no space left on the device")

    monkeypatch.setattr("binas_deploy.steps.export.save_vectors", full)
    with pytest.raises(EnvironmentFault, match="no space left"):
        export(result, table=table, workspace=tmp_path, supernet=supernet, output=target)
    assert {path.name: path.read_bytes() for path in target.iterdir()} == before
    assert [path.name for path in target.parent.iterdir()] == ["mine"]


def test_a_folder_of_something_else_is_not_replaced(
    result: SearchResult, table: LatencyTable, supernet: Path, tmp_path: Path
) -> None:
    target = tmp_path / "photos"
    target.mkdir()
    (target / "holiday.png").write_bytes(b"dear to someone")
    with pytest.raises(InputError, match="is no bundle"):
        export(result, table=table, workspace=tmp_path, supernet=supernet, output=target)
    assert (target / "holiday.png").read_bytes() == b"dear to someone"


def test_parts_that_do_not_belong_together_are_refused(
    result: SearchResult, table: LatencyTable, supernet: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="is not in"):
        export(result, workspace=tmp_path, supernet=supernet)  # the table is nowhere in this workspace
    train(load_space("cifar10"), output=tmp_path / "other", largest_epochs=1, supernet_epochs=1, batch=32)
    with pytest.raises(MismatchError, match="the supernet holds space"):
        export(result, table=table, workspace=tmp_path, supernet=tmp_path / "other")
    renewed = replace(table, created="2026-01-01T00:00:00+00:00")
    with pytest.raises(MismatchError, match="was searched with the latency table"):
        export(result, table=renewed, workspace=tmp_path, supernet=supernet)
