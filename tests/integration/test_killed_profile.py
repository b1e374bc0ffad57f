"""A profile that is killed ten times (SIGKILL, at random moments) loses nothing and repeats nothing."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("onnxruntime")

ROUNDS, SAMPLES, KILLS = 40, 4, 10
DEVICE = f"""\
format = "binas-deploy/device"
version = 1
name = "mine"
adapter = "onnxruntime"
[timing]
warmup_ms = 0.5
samples_per_visit = {SAMPLES}
min_rounds = {ROUNDS}
max_rounds = {ROUNDS}
target_interval_percent = 0.001
networks = 24
"""
DRAWN = {"random": "drawn", "searched": "drawn"}


def start(workspace: Path, space: Path) -> subprocess.Popen[str]:
    words = ["profile", "--device", "mine", "--space", str(space), "--workspace", str(workspace), "-q"]
    return subprocess.Popen([sys.executable, "-m", "binas_deploy", *words], stderr=subprocess.PIPE, text=True)


def made(folder: Path) -> Path:
    (folder / "devices").mkdir(parents=True)
    (folder / "devices" / "mine.toml").write_text(DEVICE, encoding="utf-8")
    return folder


def finished(workspace: Path, space: Path) -> dict[str, Any]:
    process = start(workspace, space)
    _, said = process.communicate(timeout=200)
    assert process.returncode == 0, said
    (path,) = (workspace / "latency_tables" / "mine" / "tiny").glob("*.json")
    table: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    return table


def whole_lines(workspace: Path) -> int:
    """Of both journals, rounds and runs."""
    return sum(path.read_bytes().count(b"\n") for path in workspace.rglob("*.journal"))


def kill_somewhere(workspace: Path, space: Path, chance: random.Random) -> None:
    before, process = whole_lines(workspace), start(workspace, space)
    give_up = time.monotonic() + 60
    # Not before it has begun to measure again, and then at any moment of the next rounds.
    while whole_lines(workspace) < before + chance.randint(2, 4) and process.poll() is None:
        assert time.monotonic() < give_up
        time.sleep(0.002)
    time.sleep(chance.uniform(0, 0.02))
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)


def test_ten_kills_lose_and_repeat_nothing(tiny_space_path: Path, tmp_path: Path) -> None:
    usual = finished(made(tmp_path / "usual"), tiny_space_path)
    workspace, chance, rounds = made(tmp_path / "killed"), random.Random(5), 0
    for _ in range(KILLS):
        kill_somewhere(workspace, tiny_space_path, chance)
        assert not list(workspace.rglob("*.json"))
        grown = whole_lines(workspace)
        assert grown >= rounds  # but for a line cut short, which is no whole line
        rounds = grown
    table = finished(workspace, tiny_space_path)
    both = (table, usual)
    assert table["pieces"].keys() == usual["pieces"].keys()
    # Which networks are searched hangs on what was measured: where two searches agree, a random one comes instead.
    kinds = [Counter(DRAWN.get(anchor["kind"], anchor["kind"]) for anchor in document["anchors"]) for document in both]
    assert kinds[0] == kinds[1]
    ids = [run["id"] for run in table["runs"]]
    assert ids == list(range(len(ids)))
    assert len(ids) > 2
    for measured in [*table["pieces"].values(), *(anchor["measurement"] for anchor in table["anchors"])]:
        assert measured["total"] == ROUNDS * SAMPLES
        told = [run for run, _ in measured["runs"]]
        assert told == sorted(told)
        assert set(told) <= set(ids)
        assert all(count % SAMPLES == 0 for _, count in measured["runs"])
