"""``table validate`` and ``profile --from`` as a user runs them, on ONNX Runtime and a small space."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("onnxruntime")

DEVICE = """\
format = "binas-deploy/device"
version = 1
name = "{name}"
adapter = "onnxruntime"
[timing]
warmup_ms = 0.2
samples_per_visit = 4
min_rounds = 3
max_rounds = 3
networks = 30
"""


def binas(workspace: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "binas_deploy", *map(str, arguments)]
    return subprocess.run(
        [*command, "--workspace", str(workspace)], capture_output=True, text=True, check=False, timeout=300
    )


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory, tiny_space_path: Path) -> Path:
    folder = tmp_path_factory.mktemp("workspace")
    (folder / "devices").mkdir()
    for name in ("small", "other"):
        (folder / "devices" / f"{name}.toml").write_text(DEVICE.format(name=name), encoding="utf-8")
    done = binas(folder, "profile", "--device", "small", "--space", tiny_space_path, "-q")
    assert done.returncode == 0, done.stderr
    return folder


def test_validates_and_draws(workspace: Path, tiny_space_path: Path, tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    done = binas(
        workspace, "table", "validate", "--device", "small", "--space", tiny_space_path,
        "--networks", 5, "--plot", picture, "--json", "-q",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)
    for kind in ("random", "searched"):
        assert content[kind]["networks"] == 5
        assert content[kind]["mape_percent"] >= 0
    assert content["noise_floor_percent"] > 0
    assert len(content["networks"]) == 10
    assert all(len(row["measured_ns"]) == 2 for row in content["networks"])
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_says_what_to_do_without_a_table(workspace: Path, tiny_space_path: Path) -> None:
    done = binas(workspace, "table", "validate", "--device", "other", "--space", tiny_space_path)
    assert done.returncode == 3
    assert "profile --device other" in done.stderr


def test_a_new_device_starts_from_another_ones_table(workspace: Path, tiny_space_path: Path) -> None:
    (table,) = (workspace / "latency_tables" / "small" / "tiny").glob("*.json")
    done = binas(
        workspace, "profile", "--device", "other", "--space", tiny_space_path, "--from", table, "--samples", 10,
        "--json", "-q",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)
    assert (content["pieces"], len(content["anchors"])) == ({}, 10)
    (name,) = content["calibration"]["ratios"]
    assert name.startswith("small-")
