"""The example of an adapter in a package of its own: installed, listed, profiled and examined as its README says."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "out_of_tree_device"
COMMAND = [sys.executable, "-m", "binas_deploy"]


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the example; its package is installed beside, in ``site``."""
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("example") / "out_of_tree_device"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("__pycache__", ".*_cache"))
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    done = _run([*install, "--target", str(folder / "site"), "."], folder, {})
    assert done.returncode == 0, done.stderr
    (folder / "reference_device.py").unlink()  # so that it is the installed one that is found
    return folder


def _run(command: list[str], cwd: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


def _with_it(example: Path, command: list[str], threads: str = "1") -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join((str(example / "site"), str(ROOT)))
    return _run(command, example, {"PYTHONPATH": path, "OMP_NUM_THREADS": threads})


def test_it_is_listed_where_it_is_installed_only(example: Path) -> None:
    asked = [*COMMAND, "devices", "--workspace", ".", "--json"]
    with_it, without = _with_it(example, asked), _run(asked, example, {"PYTHONPATH": str(ROOT)})
    found, absent = (
        {device["name"]: device for device in json.loads(done.stdout)["devices"]}["reference"]
        for done in (with_it, without)
    )
    assert (found["adapter"], found["installed"]) == ("reference", True)
    assert not absent["installed"]
    assert "unknown adapter 'reference'" in absent["reason"]


def test_a_space_is_profiled_on_it(example: Path, tiny_space_path: Path) -> None:
    asked = ["profile", "--workspace", ".", "--device", "reference", "--space", str(tiny_space_path)]
    done = _with_it(example, [*COMMAND, *asked, "--networks", "6", "--time", "4s"])
    assert done.returncode == 0, done.stderr
    (path,) = (example / "latency_tables" / "reference" / "tiny").glob("*.json")
    table = json.loads(path.read_text(encoding="utf-8"))
    identity = table["conditions"]["identity"]
    assert (identity["runtime"], identity["provider"], identity["threads"]) == ("onnx", "numpy", "1")
    assert not table["simulated"]


def test_its_one_wish_is_told(example: Path, tiny_space_path: Path) -> None:
    asked = ["profile", "--workspace", ".", "--device", "reference", "--space", str(tiny_space_path)]
    done = _with_it(example, [*COMMAND, *asked], threads="2")
    assert done.returncode == 2
    assert "1 threads asked, OMP_NUM_THREADS is 2." in done.stderr


def test_it_passes_the_exam(example: Path) -> None:
    done = _with_it(example, [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"])
    assert done.returncode == 0, done.stdout
    assert "passed" in done.stdout
    assert "failed" not in done.stdout
