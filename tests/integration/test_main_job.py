"""The whole way as a user goes it: the command line in processes of its own, torch and ONNX Runtime as they are.

A tiny space and made-up images stand in for the shipped ones; everything else is real.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

COMMAND = [sys.executable, "-m", "binas_deploy"]
QUICK_DEVICE = """\
format = "binas-deploy/device"
version = 1
name = "cpu"
adapter = "onnxruntime"
threads = 1
[timing]
min_rounds = 4
max_rounds = 4
"""
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def place(
    tmp_path_factory: pytest.TempPathFactory, tiny_space_path: Path, write_images: Callable[[Path, int], None]
) -> Path:
    """A workspace with a device that measures briefly, a space file and images whose class is their brightness."""
    folder = tmp_path_factory.mktemp("main-job")
    (folder / "devices").mkdir()
    (folder / "devices" / "cpu.toml").write_text(QUICK_DEVICE, encoding="utf-8")
    (folder / "tiny.toml").write_text(tiny_space_path.read_text(encoding="utf-8"), encoding="utf-8")
    write_images(folder / "images.npz", 400)
    return folder


def _environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def run(place: Path) -> Run:
    def call(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *words], cwd=place, env=_environment(), capture_output=True, text=True, timeout=300, check=False
        )

    return call


@pytest.fixture(scope="module")
def supernet(place: Path, run: Run) -> Path:
    """Trained and estimated by the commands; each is interrupted once on its way and then continues."""
    interrupt([*TRAIN, "--supernet-epochs", "40"], place, when=place / "runs" / "other" / "checkpoint.safetensors")
    trained = run("train", *GIVEN, "--output", "runs/tiny", *EPOCHS, "--batch", "32")
    assert trained.returncode == 0, trained.stderr
    estimated = run("estimate", "--supernet", "runs/tiny", "--data", "images.npz", "--samples", "30", "--fresh", "20")
    assert estimated.returncode == 0, estimated.stderr
    assert "kendall_tau" in estimated.stdout
    return place / "runs" / "tiny"


GIVEN = ["--space", "tiny.toml", "--data", "images.npz"]
EPOCHS = ["--largest-epochs", "3", "--supernet-epochs", "2"]
TRAIN = ["train", *GIVEN, "--output", "runs/other", "--largest-epochs", "1", "--batch", "32"]
WITH = ["--supernet", "runs/tiny", "--data", "images.npz"]
MODEL = ["--accuracy", "runs/tiny/accuracy.json"]


def interrupt(words: list[str], place: Path, when: Path) -> str:
    """Start a command, press Ctrl-C once ``when`` exists; it must end with 130. Gives its stderr."""
    process = subprocess.Popen(
        [*COMMAND, *words], cwd=place, env=_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    give_up = time.monotonic() + 120
    while not when.exists() and process.poll() is None and time.monotonic() < give_up:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "interrupted" in errors
    assert "Traceback" not in errors
    return errors


def test_step_by_step(place: Path, run: Run, supernet: Path) -> None:
    table = run("profile", "--device", "cpu", "--space", "tiny.toml")
    assert table.returncode == 0, table.stderr
    found = run("search", "--device", "cpu", "--space", "tiny.toml", "--budget", "20ms", *MODEL)
    assert found.returncode == 0, found.stderr
    assert "every network of the space meets this budget" in found.stdout
    unknown = run("export", "search.json", "--output", "export/mine", "--format", "coreml", *WITH)
    assert (unknown.returncode, "unknown format 'coreml'" in unknown.stderr) == (2, True)
    exported = run("export", "search.json", "--output", "export/mine", "--format", "torch", *WITH)
    assert exported.returncode == 0, exported.stderr
    assert "formats   onnx (fp32), torch (fp32)" in exported.stdout
    verified = run("verify", "export/mine", "--data", "images.npz", "--json")
    report = json.loads(verified.stdout)
    assert verified.returncode == 0, verified.stderr
    assert report["format"] == "binas-deploy/verification"
    without = run("verify", "export/mine", "--no-accuracy")
    assert without.returncode == 0, without.stderr
    assert " the latency table" in without.stdout.splitlines()[-1]  # joins it, or why not
    unmeasured = run("verify", "export/mine", "--data", "elsewhere.npz", "--no-join")
    assert unmeasured.returncode == 4
    assert "NOT MEASURED" in unmeasured.stdout
    assert "the latency table" not in unmeasured.stdout.splitlines()[-1]


def test_deploy(place: Path, run: Run, supernet: Path) -> None:
    done = run("deploy", "--device", "cpu", "--budget", "20ms", "--space", "tiny.toml", *WITH, *MODEL)
    assert done.returncode == 0, done.stderr
    bundle = place / "export" / "tiny-cpu-20ms"
    assert {path.name for path in bundle.iterdir()} == {
        "README.md",
        "manifest.json",
        "model.onnx",
        "vectors.safetensors",
        "verification.json",
    }
    impossible = run("deploy", "--device", "cpu", "--budget", "1us", "--space", "tiny.toml", *WITH, *MODEL)
    assert impossible.returncode == 5
    assert "least that a network" in impossible.stderr


def test_a_profile_that_was_interrupted_goes_on(place: Path, run: Run) -> None:
    slow = QUICK_DEVICE.replace('name = "cpu"', 'name = "slow"').replace("= 4\nmax_rounds = 4", "= 60\nmax_rounds = 60")
    (place / "devices" / "slow.toml").write_text(slow, encoding="utf-8")
    tables = place / "latency_tables" / "slow" / "tiny"
    tables.mkdir(parents=True)

    def journals() -> list[Path]:
        return list(tables.glob("*.json.journal"))

    words = ["profile", "--device", "slow", "--space", "tiny.toml"]
    process = subprocess.Popen([*COMMAND, *words], cwd=place, env=_environment(), stderr=subprocess.PIPE, text=True)
    give_up = time.monotonic() + 120
    while time.monotonic() < give_up and not any(path.read_bytes().count(b"\n") > 3 for path in journals()):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    kept = len(journals()[0].read_text(encoding="utf-8").splitlines()) - 1
    assert kept >= 3
    again = run(*words)
    assert again.returncode == 0, again.stderr
    assert journals() == []
    (path,) = tables.glob("*.json")
    document = json.loads(path.read_text(encoding="utf-8"))
    assert len(document["runs"]) == 2
    runs_of_a_piece = next(iter(document["pieces"].values()))["runs"]
    assert [run_id for run_id, _ in runs_of_a_piece] == [run["id"] for run in document["runs"]]


@pytest.mark.parametrize("command", ["export", "verify", "deploy"])
def test_ctrl_c_leaves_nothing_half_done(place: Path, run: Run, supernet: Path, command: str) -> None:
    """Interrupted as soon as it runs: exit code 130, and what was there before is there as it was."""
    words = {
        "export": ["export", "search.json", "--output", "export/mine", *WITH],
        "verify": ["verify", "export/mine", "--data", "images.npz"],
        "deploy": ["deploy", "--device", "cpu", "--budget", "20ms", "--space", "tiny.toml", *WITH, *MODEL],
    }
    before = {path: path.read_bytes() for path in sorted((place / "export").rglob("*")) if path.is_file()}
    process = subprocess.Popen([*COMMAND, *words[command]], cwd=place, env=_environment(), stderr=subprocess.PIPE)
    time.sleep(1.0)  # imports are under way or over; wherever it is, the promise is the same
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    # A fast machine may have finished; CPython ends by the signal itself where it was compiling a class meanwhile.
    assert process.returncode in (130, -signal.SIGINT, 0)
    if process.returncode != 0:
        assert before == {path: path.read_bytes() for path in sorted((place / "export").rglob("*")) if path.is_file()}
