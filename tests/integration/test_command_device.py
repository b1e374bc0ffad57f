"""A command device as a user has it: profile, search and verify, by the example's script and ONNX Runtime."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from binas_deploy.accuracy import AccuracyModel
from binas_deploy.cli.main import cli
from binas_deploy.search_result import SearchResult
from binas_deploy.space import SearchSpace
from binas_deploy.space_file import load_space
from binas_deploy.table import LatencyTable
from binas_deploy.testing.bundles import write_bundle

SCRIPT = Path(__file__).parents[2] / "examples" / "command_device" / "time_model.py"
STAND_IN = "import os, sys; ns = 20_000 + os.path.getsize(sys.argv[1]); print((str(ns) + '\\n') * int(sys.argv[2]))"
"""Prints latencies by the size of the file: starts in some milliseconds, so that a whole profile does."""
DEVICE = """\
format = "binas-deploy/device"
version = 1
name = "mine"
adapter = "command"

[options]
unit = "ns"
device_model = "a board"
runtime = "own"
runtime_version = "3"
{options}

[timing]
visit_ms = 1000.0
samples_per_visit = {samples}
min_rounds = 3
max_rounds = 3
networks = {networks}
"""


@pytest.fixture
def workspace(tiny_space: SearchSpace, tiny_space_path: Path, tmp_path: Path) -> Path:
    (tmp_path / "devices").mkdir()
    (tmp_path / "tiny.toml").write_text(tiny_space_path.read_text(encoding="utf-8"), encoding="utf-8")
    rng = np.random.default_rng(0)
    archs = [tiny_space.sample(rng) for _ in range(60)]
    accuracy = AccuracyModel.fit(tiny_space, [(arch, 60 + tiny_space.macs(arch) / 1e4) for arch in archs])
    accuracy.save(tmp_path / "accuracy.json")
    return tmp_path


def device_file(workspace: Path, *, samples: int, networks: int, **commands: list[str]) -> None:
    options = "\n".join(f"{name} = {json.dumps(words)}" for name, words in commands.items())
    text = DEVICE.format(options=options, samples=samples, networks=networks)
    (workspace / "devices" / "mine.toml").write_text(text, encoding="utf-8")


def run(workspace: Path, command: str, *words: str) -> Result:
    return CliRunner().invoke(
        cli, [command, "--workspace", str(workspace), "--quiet", *words], prog_name="binas-deploy"
    )


def searched(workspace: Path, table: LatencyTable) -> SearchResult:
    budget = f"{table.predict(table.space.largest()).value:.0f}ns"
    files = {"space": "tiny.toml", "accuracy": "accuracy.json", "output": "search.json"}
    given = [word for name, file in files.items() for word in (f"--{name}", str(workspace / file))]
    result = run(workspace, "search", "--device", "mine", "--budget", budget, *given)
    assert result.exit_code == 0, result.output
    return SearchResult.load(workspace / "search.json")


def profiled(workspace: Path, *words: str) -> LatencyTable:
    result = run(workspace, "profile", "--device", "mine", "--space", str(workspace / "tiny.toml"), *words)
    assert result.exit_code == 0, result.output
    assert "a board, own 3 (as the device's file states)" in result.stdout
    (path,) = (workspace / "latency_tables" / "mine").rglob("*.json")
    return LatencyTable.load(path)


def test_profile_and_search(workspace: Path) -> None:
    command = [sys.executable, "-S", "-E", "-c", STAND_IN, "{model}", "{count}"]
    device_file(workspace, samples=4, networks=16, command=command)
    table = profiled(workspace)
    assert len(table.anchors) == 16
    assert table.conditions.identity["stated_by"] == "the device's file"
    assert not table.simulated
    found = searched(workspace, table)
    assert not found.simulated
    listed = run(workspace, "devices")
    assert "mine" in listed.stdout


def test_a_command_that_fails_ends_the_profile_with_3(workspace: Path) -> None:
    command = [sys.executable, "-S", "-E", "-c", "import sys; sys.exit('board is not connected')", "{model}"]
    device_file(workspace, samples=4, networks=16, command=command)
    result = run(workspace, "profile", "--device", "mine", "--space", str(workspace / "tiny.toml"))
    assert (result.exit_code, result.stdout) == (3, "")
    assert "exited with status 1: board is not connected" in result.stderr


@pytest.fixture
def real(workspace: Path) -> Callable[..., LatencyTable]:
    """Profiles few networks by the example's script, on the grounds of a table of another device."""
    pytest.importorskip("onnxruntime")

    def made(*, outputs: bool) -> LatencyTable:
        start = [sys.executable, str(SCRIPT), "--model", "{model}"]
        more = {"outputs": [*start, "--input", "{input}", "--output", "{output}"]} if outputs else {}
        command = [*start, "--count", "{count}", "--warmup", "{warmup}"]
        device_file(workspace, samples=100, networks=4, command=command, **more)
        return profiled(workspace, *source(workspace))

    return made


def source(workspace: Path) -> tuple[str, str]:
    """The option that gives a table of another device, with which no piece is measured."""
    space, rng = load_space(str(workspace / "tiny.toml")), np.random.default_rng(1)
    archs = {space.sample(rng): None for _ in range(12)}
    table = LatencyTable.fit(space, [(arch, 1e4 + space.macs(arch) / 7) for arch in archs])
    table.save(workspace / "source.json")
    return "--from", str(workspace / "source.json")


@pytest.mark.parametrize("outputs", [True, False], ids=["with outputs", "that only times"])
def test_verify_checks_what_the_command_can_show(
    real: Callable[..., LatencyTable], workspace: Path, outputs: bool
) -> None:
    table = real(outputs=outputs)
    assert len(table.anchors) == 4
    folder = workspace / "export" / "it"
    made = write_bundle(folder, searched(workspace, table), table)
    replace(made, asked=replace(made.asked, budget="10s")).save(folder)  # clear after three runs
    result = run(workspace, "verify", str(folder), "--no-accuracy", "--json")
    document = json.loads(result.stdout)
    assert document["latency"]["samples"] >= 300
    if outputs:
        assert document["parity"]["verdict"] == "pass"
        assert document["parity"]["relative"] < 1e-4
        return
    assert document["parity"]["verdict"] == "not measured"
    assert result.exit_code == document["exit_code"] != 0
    assert "no 'outputs' command" in " ".join(document["reasons"])


def test_trtexec_as_its_example_has_it(workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in with trtexec's options and the file that its sources write; the real one takes a GPU."""
    examples = Path(__file__).parents[2] / "examples" / "command_device"
    text = (examples / "trtexec.toml").read_text(encoding="utf-8")
    kept = [line for line in text.splitlines() if not line.startswith("host")]
    (workspace / "devices" / "trtexec.toml").write_text("\n".join(kept).replace("= 24", "= 4"), encoding="utf-8")
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "trtexec").write_text(f"#!{sys.executable} -SE\n{TRTEXEC}")
    (programs / "trtexec").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("BINAS_DEPLOY_CACHE", str(tmp_path / "cache"))
    words = ["--device", "trtexec", "--space", str(workspace / "tiny.toml"), *source(workspace)]
    result = run(workspace, "profile", *words)
    assert result.exit_code == 0, result.output
    (path,) = (workspace / "latency_tables" / "trtexec").rglob("*.json")
    table = LatencyTable.load(path)
    assert {int(sample) for sample in table.anchors[0].measurement.samples_ns} == {250_000}
    assert table.conditions.identity["precision"] == "fp16"


TRTEXEC = """
import json, sys
given = dict(word.lstrip("-").partition("=")[::2] for word in sys.argv[1:])
print("&&&& RUNNING TensorRT.trtexec")
if "onnx" in given:
    open(given["saveEngine"], "wb").write(b"engine of " + open(given["onnx"], "rb").read())
else:
    assert open(given["loadEngine"], "rb").read(10) == b"engine of "
    row = {"startComputeMs": 1.0, "endComputeMs": 1.2, "h2dMs": 0.02, "computeMs": 0.2, "d2hMs": 0.03}
    rows = [{**row, "latencyMs": 9.0}] * 2 + [{**row, "latencyMs": 0.25}] * int(given["iterations"])
    json.dump(rows, open(given["exportTimes"], "w"))
print("&&&& PASSED TensorRT.trtexec")
"""
