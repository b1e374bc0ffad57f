"""The commands verify, export and deploy: what they print and how they exit. Their steps have tests of their own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from junitparser import Error, Failure, JUnitXml, Skipped

from binas_deploy.accuracy import AccuracyModel
from binas_deploy.bundle.manifest import Manifest
from binas_deploy.cli.main import cli
from binas_deploy.documents import digest
from binas_deploy.errors import MismatchError
from binas_deploy.search_result import SearchResult
from binas_deploy.steps.tables import TABLES
from binas_deploy.table import LatencyTable, table_path
from binas_deploy.testing.bundles import write_bundle

pytestmark = pytest.mark.usefixtures("fake_adapter")
Bundle = tuple[Path, Manifest]


def run(*args: str) -> Result:
    return CliRunner().invoke(cli, [*args, "--quiet"], prog_name="binas-deploy")


@pytest.fixture
def workspace(fake_device_file: Path, tmp_path: Path) -> Path:
    return tmp_path


def test_verify_prints_the_bundle_and_the_verdict(bundle: Bundle, workspace: Path) -> None:
    result = run("verify", str(bundle[0]), "--workspace", str(workspace), "--no-accuracy")
    assert result.exit_code == 4, result.stderr  # simulated
    assert result.stdout.startswith("asked     median latency of at most")
    assert result.stdout.endswith("verdict   INCONCLUSIVE (exit code 4)\n")


def test_verify_json_is_the_file(bundle: Bundle, workspace: Path) -> None:
    result = run("verify", str(bundle[0]), "--workspace", str(workspace), "--json", "--data", "nowhere")
    document = json.loads(result.stdout)
    assert document["digest"] == digest(document)
    assert result.stdout == (bundle[0] / "verification.json").read_text()
    assert (document["accuracy"]["verdict"], document["accuracy"]["asked"]) == ("not measured", True)
    assert result.exit_code == document["exit_code"] == 4


def test_verify_tells_what_became_of_it_for_the_table(
    bundle: Bundle, fake_table: LatencyTable, workspace: Path
) -> None:
    words = ["verify", str(bundle[0]), "--workspace", str(workspace), "--no-accuracy"]
    path = table_path(workspace / TABLES, fake_table.device, fake_table.space.name, fake_table.conditions)
    fake_table.save(path)
    assert run(*words).stdout.endswith("the network does not join the latency table: no clock measured it.\n")
    assert "join" not in run(*words, "--no-join").stdout
    path.write_text("{")
    assert "join" not in run(*words).stdout


def test_verify_asks_and_measures_besides(bundle: Bundle, workspace: Path, tmp_path: Path) -> None:
    asked = ["--percentile", "95", "--confidence", "0.9", "--batches", "1,2", "--concurrency", "1", "--soak", "1s"]
    junit = tmp_path / "reports" / "verify.xml"
    words = ["verify", str(bundle[0]), "--workspace", str(workspace), "--no-accuracy", *asked, "--junit", str(junit)]
    result = run(*words)
    assert result.exit_code in (1, 4), result.stderr  # simulated, and of a p95
    assert "measured p95 (bounds " in result.stdout
    assert ", 90 % each)" in result.stdout
    assert "the table predicts another statistic or rhythm than p95 back-to-back" in result.stdout
    assert "batch  callers  inputs/s" in result.stdout
    assert "soak      " in result.stdout
    document = json.loads((bundle[0] / "verification.json").read_text())
    assert (document["latency"]["statistic"], document["latency"]["confidence"]) == ("p95", 0.9)
    assert [point["batch"] for point in document["sweep"]] == [1, 2]
    assert document["soak"]["calls"] > 100
    found = JUnitXml.fromfile(str(junit))
    names = [case.name for suite in found for case in suite]
    assert names == ["files", "parity of onnx", "latency p95", "sustained latency", "accuracy"]
    outcomes = {case.name: case.result for suite in found for case in suite}
    assert outcomes["parity of onnx"] == []
    assert [type(row) for row in outcomes["accuracy"]] == [Skipped]
    assert all(isinstance(row, (Error, Failure)) for row in outcomes["latency p95"])


def test_verify_in_another_rhythm_has_no_prediction(bundle: Bundle, workspace: Path) -> None:
    result = run("verify", str(bundle[0]), "--workspace", str(workspace), "--no-accuracy", "--period", "1us")
    assert result.exit_code == 4, result.stderr
    assert "measured median every 1us" in result.stdout
    assert "\nmachine " not in result.stdout
    assert json.loads((bundle[0] / "verification.json").read_text())["latency"]["machine"] is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--percentile", "95.55"], "one decimal"),
        (["--batches", "1,x"], "whole numbers"),
        (["--batches", "0"], "from 1 to 65536"),
        (["--soak", "60"], "no unit"),
        (["--soak", "1ms"], "from 1 s to a week"),
        (["--confidence", "0.4"], "0.5"),
    ],
)
def test_what_cannot_be_asked_is_2(bundle: Bundle, workspace: Path, words: list[str], said: str) -> None:
    result = run("verify", str(bundle[0]), "--workspace", str(workspace), "--no-accuracy", *words)
    assert result.exit_code == 2
    assert said in result.stderr
    assert not (bundle[0] / "verification.json").exists()


def test_verify_of_no_bundle_is_2(workspace: Path) -> None:
    result = run("verify", str(workspace), "--workspace", str(workspace))
    assert (result.exit_code, result.stdout) == (2, "")
    assert "is no bundle" in result.stderr


Given = dict[str, Any]


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch, fake_table: LatencyTable) -> Given:
    """What the export was given, instead of which a bundle without torch is written."""
    given: Given = {}

    def export(result: SearchResult, *, workspace: Path, output: Path | None = None, **more: Any) -> Path:
        given.update(more, result=result)
        folder = output or workspace / "export" / "default"
        write_bundle(folder, result, fake_table)
        return folder

    monkeypatch.setattr("binas_deploy.steps.export.export", export)
    monkeypatch.setattr("binas_deploy.steps.deploy.export", export)
    return given


def test_export_takes_the_search_and_the_table(
    exported: Given, searched: Callable[[float], SearchResult], fake_table: LatencyTable, workspace: Path
) -> None:
    asked = searched(0.5)
    asked.save(workspace / "search.json")
    fake_table.save(workspace / "table.json")
    given = ["--table", str(workspace / "table.json"), "--output", str(workspace / "mine"), "--seed", "7"]
    result = run("export", str(workspace / "search.json"), "--workspace", str(workspace), *given)
    assert result.exit_code == 0, result.stderr
    assert f"{workspace / 'mine'}: model.onnx (" in result.stdout
    assert exported["result"].digest == asked.digest
    assert (exported["table"].digest, exported["seed"]) == (fake_table.digest, 7)
    json_result = run("export", str(workspace / "search.json"), "--workspace", str(workspace), "--json")
    assert json_result.stdout == (workspace / "export" / "default" / "manifest.json").read_text()
    assert exported["table"] is None


@pytest.fixture
def deploy_words(tiny_space_path: Path, tiny_accuracy: AccuracyModel, workspace: Path) -> list[str]:
    tiny_accuracy.save(workspace / "accuracy.json")
    told = {
        "--device": "fake",
        "--space": tiny_space_path,
        "--accuracy": workspace / "accuracy.json",
        "--supernet": workspace,
        "--workspace": workspace,
        "--data": "nowhere",
    }
    return ["deploy", "--no-accuracy", "--shortlist", "0", *(str(word) for pair in told.items() for word in pair)]


def test_deploy_prints_rounds_bundle_and_verdict(exported: Given, deploy_words: list[str]) -> None:
    result = run(*deploy_words, "--budget", "30us")
    assert result.exit_code == 4, result.stderr  # simulated
    assert result.stdout.startswith("round")
    assert "verdict   INCONCLUSIVE (exit code 4)" in result.stdout


def test_deploy_of_an_infeasible_budget_is_5(exported: Given, deploy_words: list[str]) -> None:
    result = run(*deploy_words, "--budget", "1us")
    assert (result.exit_code, result.stdout) == (5, "")
    assert "the least that a network of space 'tiny' is predicted to take" in result.stderr


def test_deploy_passes_errors_on(exported: Given, deploy_words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise MismatchError("not this one")

    monkeypatch.setattr("binas_deploy.steps.deploy.verify", refuse)
    result = run(*deploy_words, "--budget", "30us")
    assert (result.exit_code, result.stderr) == (2, "error: not this one\n")
