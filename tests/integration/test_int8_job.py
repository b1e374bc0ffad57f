"""int8 as a user goes it: profile, search, export and verify by the command line, in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("torch")
onnxruntime = pytest.importorskip("onnxruntime")

COMMAND = [sys.executable, "-m", "binas_deploy"]
DEVICE = """\
format = "binas-deploy/device"
version = 1
name = "{name}"
adapter = "{adapter}"
threads = 1
[timing]
min_rounds = 4
max_rounds = 4
networks = 6
"""
WITH = ["--supernet", "runs/tiny", "--data", "images.npz"]
MODEL = ["--accuracy", "runs/tiny/accuracy.json"]
SPACE = ["--space", "tiny.toml"]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def place(
    tmp_path_factory: pytest.TempPathFactory, tiny_space_path: Path, write_images: Callable[[Path, int], None]
) -> Path:
    folder = tmp_path_factory.mktemp("int8-job")
    (folder / "devices").mkdir()
    for name, adapter in (("cpu", "onnxruntime"), ("ov", "openvino")):
        (folder / "devices" / f"{name}.toml").write_text(DEVICE.format(name=name, adapter=adapter), encoding="utf-8")
    (folder / "tiny.toml").write_text(tiny_space_path.read_text(encoding="utf-8"), encoding="utf-8")
    write_images(folder / "images.npz", 600)
    return folder


@pytest.fixture(scope="module")
def run(place: Path) -> Run:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "BINAS_DEPLOY_CACHE": str(place / "cache")}

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *words], cwd=place, env=environment, capture_output=True, text=True, timeout=300, check=False
        )

    return call


@pytest.fixture(scope="module")
def supernet(place: Path, run: Run) -> Path:
    words = ["--output", "runs/tiny", "--largest-epochs", "3", "--supernet-epochs", "2", "--batch", "32"]
    trained = run("train", *SPACE, "--data", "images.npz", *words)
    assert trained.returncode == 0, trained.stderr
    estimated = run("estimate", "--supernet", "runs/tiny", "--data", "images.npz", "--samples", "20", "--fresh", "20")
    assert estimated.returncode == 0, estimated.stderr
    return place / "runs" / "tiny"


@pytest.fixture(scope="module")
def searched(place: Path, run: Run, supernet: Path) -> str:
    table = run("profile", "--device", "cpu", "--precision", "int8", *SPACE)
    assert table.returncode == 0, table.stderr
    words = ["--device", "cpu", "--precision", "int8", *SPACE, "--budget", "20ms", "--output", "int8.json"]
    found = run("search", *words, *MODEL)
    assert found.returncode == 0, found.stderr
    return "int8.json"


def test_a_table_in_int8_is_one_of_its_own(place: Path, searched: str) -> None:
    (path,) = (place / "latency_tables" / "cpu" / "tiny").glob("*.json")
    assert path.name.startswith("int8-b1-t1-")
    conditions = json.loads(path.read_text())["conditions"]
    assert conditions["identity"]["precision"] == "int8"
    assert conditions["identity"]["quantiser"] == "onnxruntime"
    assert conditions["context"]["quantiser_version"].startswith(onnxruntime.__version__)
    kept = list((place / "cache" / "quantised").glob("*.onnx"))
    assert kept, "what was quantised for the table is not kept"


def test_export_quantises_and_tells_what_it_costs(place: Path, run: Run, searched: str) -> None:
    done = run("export", searched, "--output", "export/mine", "--precision", "int8", "--max-drop", "50", *WITH)
    assert done.returncode == 0, done.stderr
    assert "every block runs in int8" in done.stdout
    assert "loss alone" in done.stdout
    bundle = place / "export" / "mine"
    report = json.loads((bundle / "sensitivity.json").read_text())
    assert report["format"] == "binas-deploy/sensitivity"
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert manifest["asked"]["precision"] == "int8"
    assert manifest["predicted"]["holdout_accuracy"]["value"] == report["int8"]["value"]
    assert len(report["model_sha256"]) == 64
    nodes = {node.name for node in onnxruntime.InferenceSession(str(bundle / "model.onnx")).get_inputs()}
    assert nodes == {"input"}


def test_verify_runs_it_in_int8(place: Path, run: Run, searched: str) -> None:
    """The device's file says fp32; the bundle says int8. How near int8 is to torch is for parity's tolerance to say."""
    if not (place / "export" / "mine").exists():
        run("export", searched, "--output", "export/mine", "--max-drop", "50", *WITH)
    done = run("verify", "export/mine", "--data", "images.npz", "--json")
    assert done.returncode in (0, 1, 4), done.stderr
    report = json.loads(done.stdout)
    assert report["conditions"]["identity"]["precision"] == "int8"
    assert report["latency"]["verdict"] == "pass"


def test_another_precision_than_the_table_s_is_refused(run: Run, searched: str) -> None:
    done = run("export", searched, "--output", "export/other", "--precision", "fp16", *WITH)
    assert done.returncode == 2
    assert "searched with a latency table in int8" in done.stderr


def test_a_precision_that_the_runtime_lacks_is_refused_by_name(run: Run, supernet: Path) -> None:
    done = run("profile", "--device", "cpu", "--precision", "fp16", *SPACE)
    assert done.returncode == 2
    assert "precision 'fp16': ONNX Runtime's CPUExecutionProvider runs fp32 and int8 only" in done.stderr
    unknown = run("profile", "--device", "cpu", "--precision", "int4", *SPACE)
    assert unknown.returncode == 2
    assert "int4" in unknown.stderr


def test_deploy_in_int8(place: Path, run: Run, searched: str) -> None:
    words = ["--device", "cpu", "--precision", "int8", "--max-drop", "50", "--budget", "20ms", "--output", "export/all"]
    done = run("deploy", *words, *SPACE, *WITH, *MODEL)
    assert done.returncode in (0, 1, 4), done.stderr
    assert (place / "export" / "all" / "sensitivity.json").exists()
    assert json.loads((place / "export" / "all" / "verification.json").read_text())["latency"]["verdict"] == "pass"


def half() -> bool:
    openvino = pytest.importorskip("openvino")
    return "FP16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def test_fp16_by_openvino_or_a_refusal(place: Path, run: Run, supernet: Path) -> None:
    has = half()
    table = run("profile", "--device", "ov", "--precision", "fp16", *SPACE)
    if not has:
        assert table.returncode == 2
        assert "precision 'fp16'" in table.stderr
        return
    assert table.returncode == 0, table.stderr
    words = ["--device", "ov", "--precision", "fp16", *SPACE, "--budget", "20ms", "--output", "fp16.json", *MODEL]
    assert run("search", *words).returncode == 0
    exported = run("export", "fp16.json", "--output", "export/half", "--precision", "fp16", *WITH)
    assert exported.returncode == 0, exported.stderr
    verified = run("verify", "export/half", "--no-accuracy", "--json")
    assert verified.returncode in (0, 1, 4), verified.stderr
    report = json.loads(verified.stdout)
    assert report["conditions"]["identity"]["precision"] == "fp16"
    assert report["parity"]["relative"] < 2e-2
