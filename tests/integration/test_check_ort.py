"""``binas-deploy check`` as a user runs it, on real small bundles and real processes.

Slower is what does its work two times over, which no machine is too noisy to show; nothing else that is asserted
depends on how fast anything is.
"""

from __future__ import annotations

import importlib
import itertools
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from click.testing import CliRunner, Result

from binas_deploy.accuracy import AccuracyModel
from binas_deploy.budget import Budget
from binas_deploy.bundle.manifest import MODEL_NAME, Manifest, load_vectors, save_vectors
from binas_deploy.cli.main import cli
from binas_deploy.devices import DeviceSpec, load_device_spec
from binas_deploy.gate.accepted import ACCEPTED_NAME
from binas_deploy.gate.comparison import Comparison
from binas_deploy.gate.report import CheckReport, Outcome
from binas_deploy.search_result import SearchResult
from binas_deploy.space import SearchSpace
from binas_deploy.steps import check_localise, check_pairs, check_process
from binas_deploy.steps.profile import profile
from binas_deploy.steps.search import search
from binas_deploy.steps.verify import verify
from binas_deploy.table import LatencyTable
from binas_deploy.testing.bundles import restate, write_bundle
from binas_deploy.testing.slowed import slowed_python

pytest.importorskip("onnxruntime")

DEVICE = """\
format = "binas-deploy/device"
version = 1
name = "mine"
adapter = "onnxruntime"
batch = 4
[timing]
warmup_ms = 0.1
samples_per_visit = 4
min_rounds = 6
max_rounds = 6
"""
check = importlib.import_module("binas_deploy.steps.check")
Made = tuple[SearchResult, LatencyTable]


@pytest.fixture(scope="module")
def made(tiny_space: SearchSpace, tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("made")
    spec: DeviceSpec = load_device_spec(device_file(folder))
    table = profile(tiny_space, spec, workspace=folder)[1]
    rng = np.random.default_rng(0)
    archs = [tiny_space.sample(rng) for _ in range(40)]
    model = AccuracyModel.fit(tiny_space, [(arch, 20 + tiny_space.macs(arch) / 1e5) for arch in archs])
    return search(tiny_space, accuracy=model, budgets=[Budget.parse("10s")], tables=[table]), table


@pytest.fixture
def workspace(made: Made, tmp_path: Path) -> Path:
    """With one bundle, ``export/net``."""
    device_file(tmp_path)
    write_bundle(tmp_path / "export" / "net", *made)
    return tmp_path


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_pairs, "TURNS", 4)
    monkeypatch.setattr(check_pairs, "VISIT_MS", 3.0)
    monkeypatch.setattr(check_localise, "PAIRS", 2)
    monkeypatch.setattr(check_localise, "TURNS", 2)


def device_file(folder: Path) -> Path:
    path = folder / "devices" / "mine.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(DEVICE, encoding="utf-8")
    return path


def run(workspace: Path, *words: object) -> Result:
    given = ["check", *map(str, words), "--workspace", str(workspace), "--pairs", "6", "-q"]
    return CliRunner().invoke(cli, given, prog_name="binas-deploy")


def report_of(result: Result, tmp_path: Path) -> CheckReport:
    """What ``--json`` printed, read as strictly as its file would be."""
    path = tmp_path / "printed.json"
    path.write_text(result.stdout)
    return CheckReport.load(path)


def copy_of(workspace: Path) -> Path:
    return Path(shutil.copytree(workspace / "export" / "net", workspace / "before" / "net"))


def test_what_did_not_change_is_not_timed_unless_it_is_asked(workspace: Path, tmp_path: Path) -> None:
    before = copy_of(workspace)
    result = run(workspace, "--against", before)
    assert result.exit_code == 0, result.stderr
    assert "unchanged, byte for byte: nothing to compare" in result.stdout
    forced = run(workspace, "--against", before.parent, "--force", "--report-only", "--json")
    assert forced.exit_code == 0, forced.stderr
    (found,) = report_of(forced, tmp_path).bundles
    assert isinstance(found.timing, Comparison)
    assert found.timing.base.program == found.timing.head.program == Manifest.load(before).files[MODEL_NAME].sha256
    assert found.numerics is not None
    assert not found.numerics.fault
    assert {len(pair.base_ns) for pairs in found.timing.rounds for pair in pairs} == {4}


def test_a_slower_runtime_is_called_located_and_accepted(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = sys.executable
    head = slowed_python(tmp_path / "slow", again=2, version="9.99.0")
    monkeypatch.setattr(sys, "executable", str(head))  # what runs the head
    measure_once(monkeypatch)
    outputs = [word for name in ("junit", "markdown", "output") for word in (f"--{name}", str(tmp_path / name))]
    result = run(workspace, "--base-python", here, *outputs)
    assert result.exit_code == 1, result.stdout + result.stderr
    assert "REGRESSED (exit code 1)" in result.stdout
    report = CheckReport.load(tmp_path / "output")
    (found,) = report.bundles
    assert found.outcome is Outcome.REGRESSED
    assert isinstance(found.timing, Comparison)
    assert found.timing.judgement.effect.percent > 50
    assert len(found.timing.rounds) == 2
    assert found.cause is not None
    assert "since onnxruntime 9.99.0 (was " in found.cause.text
    assert {part.stage for part in found.cause.parts} >= {"stem", "stage 1", "head"}
    assert "failure" in (tmp_path / "junit").read_text()
    assert "❌ regressed" in (tmp_path / "markdown").read_text()
    accepted = run(workspace, "--base-python", here, "--accept", "a newer runtime is needed")
    assert accepted.exit_code == 0, accepted.stdout + accepted.stderr
    assert (workspace / "export" / "net" / ACCEPTED_NAME).is_file()
    honoured = run(workspace, "--base-python", here)
    assert honoured.exit_code == 0, honoured.stdout
    assert "a newer runtime is needed" in honoured.stdout


def measure_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Later checks of a test get the rounds and the place that the first one measured."""
    for name in ("take_round", "localise"):
        kept: dict[int, Any] = {}
        monkeypatch.setattr(check, name, once(getattr(check, name), kept, 2 if name == "take_round" else 1))


def once(function: Callable[..., Any], kept: dict[int, Any], calls: int) -> Callable[..., Any]:
    turns = itertools.count()

    def call(*given: Any) -> Any:
        index = next(turns) % calls
        if index not in kept:
            kept[index] = function(*given)
        return kept[index]

    return call


def test_an_improvement_is_told_and_passes(workspace: Path, tmp_path: Path) -> None:
    result = run(workspace, "--base-python", slowed_python(tmp_path / "slow", again=2), "--json")
    assert result.exit_code == 0, result.stderr
    assert report_of(result, tmp_path).outcome is Outcome.IMPROVED


def git(folder: Path, *words: str) -> None:
    names = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *names, *words], cwd=folder, capture_output=True, check=True)


def test_against_git_revisions(workspace: Path, made: Made, tmp_path: Path) -> None:
    git(workspace, "init", "-q", "-b", "main")
    git(workspace, "add", "devices")
    git(workspace, "commit", "-q", "-m", "no bundle yet")
    nothing = run(workspace)
    assert (nothing.exit_code, "NOT COMPARED (exit code 3)" in nothing.stdout) == (3, True), nothing.stderr
    git(workspace, "add", "export")
    git(workspace, "commit", "-q", "-m", "a bundle")
    assert run(workspace).exit_code == 0
    write_bundle(workspace / "export" / "net", *made, seed=1)
    git(workspace, "switch", "-q", "-c", "work")
    git(workspace, "commit", "-q", "-am", "other weights")
    result = run(workspace, "--json", "--report-only")
    assert result.exit_code == 0, result.stderr
    (found,) = report_of(result, tmp_path).bundles
    assert isinstance(found.timing, Comparison)
    assert found.timing.base.program != found.timing.head.program
    assert found.timing.base.what.startswith("the merge-base with main (")
    shutil.rmtree(workspace / "export" / "net")
    gone = run(workspace)
    assert (gone.exit_code, "has no bundles" in gone.stderr) == (3, True)


def test_damage_and_wrong_outputs_fail_before_anything_is_timed(workspace: Path) -> None:
    before, bundle = copy_of(workspace), workspace / "export" / "net"
    inputs, outputs = load_vectors(bundle)
    save_vectors(bundle, inputs, outputs[::-1])
    restate(bundle, Manifest.load(bundle))
    wrong = run(workspace, bundle, "--against", before, "--report-only")
    assert (wrong.exit_code, "parity of onnx: outputs differ by" in wrong.stdout) == (1, True), wrong.stderr
    (bundle / MODEL_NAME).write_bytes(b"damaged")
    damaged = run(workspace, "--against", before)
    assert (damaged.exit_code, "model.onnx" in damaged.stdout) == (1, True), damaged.stderr
    (bundle / "manifest.json").write_text("{")
    torn = run(workspace, "--against", before)
    assert (torn.exit_code, "truncated" in torn.stdout) == (1, True), torn.stderr


def test_what_cannot_be_compared_is_refused(workspace: Path, made: Made) -> None:
    before = copy_of(workspace)
    write_bundle(before, *made, seed=1)
    (before / MODEL_NAME).write_bytes(b"damaged")
    assert_refused(run(workspace, "--against", before), "the base cannot be run here")
    assert_refused(run(workspace, "--against", before, "--accept", " "), "give a reason")
    assert_refused(run(workspace, "--against", "no-such-thing"), "neither a folder nor a git revision")
    assert_refused(run(workspace, workspace / "devices"), "is no bundle")
    assert_refused(run(workspace, "--base-python", workspace / "nowhere"), "is no Python")
    assert_refused(run(workspace, "--threshold", "1"), "is not a share such as 1%")
    assert_refused(run(workspace, "--against", before, "--device", "cpu"), "made for batch 4")


def test_bundles_that_run_in_different_ways_are_refused(workspace: Path) -> None:
    before = copy_of(workspace)
    manifest = Manifest.load(before)
    identity = {**manifest.identity, "threads": "2"}
    replace(manifest, asked=replace(manifest.asked, threads=2), identity=identity).save(before)
    assert_refused(run(workspace, "--against", before), "threads: base 2, head 1")


def assert_refused(result: Result, why: str) -> None:
    assert result.exit_code == 2, result.stdout
    assert why in " ".join(result.stderr.split())


def test_a_stored_latency_is_compared_by_anchors_only_when_asked(workspace: Path, tmp_path: Path) -> None:
    before = copy_of(workspace)
    assert_refused(run(workspace, "--against", before, "--relative"), "verification.json")
    verify(before, workspace=workspace, accuracy="never")
    result = run(workspace, "--against", before, "--relative", "--report-only", "--json")
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert document["bundles"][0]["latency"]["kind"] == "relative to anchors"
    report_of(result, tmp_path)


def test_simulated_latencies_never_pass(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = (
        'from binas_deploy.adapters.registry import ADAPTERS, Adapter\nADAPTERS["onnxruntime"] = ADAPTERS["fake"] = '
    )
    fake = f'{known}Adapter("binas_deploy.testing.fake_device:FakeDevice", "binas_deploy")\nsys.exit('
    monkeypatch.setattr(check_process, "_BOOT", check_process._BOOT.replace("sys.exit(", fake))
    result = run(workspace, "--against", copy_of(workspace), "--force", "--report-only")
    assert result.exit_code == 4, result.stdout + result.stderr
    assert "no clock measured it" in result.stdout


@pytest.fixture
def long_check(workspace: Path) -> Iterator[subprocess.Popen[str]]:
    words = ["check", "--against", str(copy_of(workspace)), "--force", "--pairs", "200", "--workspace", str(workspace)]
    process = subprocess.Popen([sys.executable, "-m", "binas_deploy", *words], stderr=subprocess.PIPE, text=True)
    yield process
    process.kill()
    process.wait()


def test_ctrl_c_ends_it_and_its_processes(long_check: subprocess.Popen[str]) -> None:
    watched = psutil.Process(long_check.pid)
    until = time.monotonic() + 60
    while not (children := watched.children(recursive=True)) and time.monotonic() < until:
        time.sleep(0.05)
    assert children
    long_check.send_signal(signal.SIGINT)
    _, said = long_check.communicate(timeout=60)
    assert (long_check.returncode, "interrupted" in said) == (130, True), said
    assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)
