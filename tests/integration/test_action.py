"""``action.yml``: its steps are run as a runner would run them, in a clone, with its variables made up."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
STEPS: dict[str, dict[str, Any]] = {step["id"]: step for step in ACTION["runs"]["steps"]}
EXPRESSION = re.compile(r"\$\{\{\s*(.+?)\s*\}\}")


class Runner:
    """As much of GitHub's runner as the steps see: files for outputs and the summary, and expressions in ``env``."""

    def __init__(self, folder: Path, clone: Path, event: Mapping[str, str], **inputs: str) -> None:
        given = {name: str(row["default"]) for name, row in ACTION["inputs"].items()} | inputs
        self.values = {f"inputs.{name}": value for name, value in given.items()}
        self.values |= {"github.action_path": str(ROOT), **event}
        self.clone, self.temporary, self.summary = clone, folder / "temp", folder / "summary.md"
        self.temporary.mkdir()

    def run(self, name: str) -> subprocess.CompletedProcess[str]:
        step, outputs = STEPS[name], self.temporary / f"{name}.out"
        outputs.touch()
        made = {"RUNNER_TEMP": self.temporary, "GITHUB_OUTPUT": outputs, "GITHUB_STEP_SUMMARY": self.summary}
        environment = {key: self.filled(value) for key, value in step["env"].items()}
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],  # as the runner calls it
            cwd=self.clone / self.filled(step.get("working-directory", ".")),
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                **{key: str(path) for key, path in made.items()},
                **environment,
            },
            capture_output=True,
            text=True,
            check=False,
        )
        for line in outputs.read_text().splitlines():
            key, _, value = line.partition("=")
            self.values[f"steps.{name}.outputs.{key}"] = value
        return done

    def filled(self, text: str) -> str:
        def value(match: re.Match[str]) -> str:
            names = [name.strip() for name in match[1].split("||")]
            return next((found for name in names if (found := self.values.get(name, ""))), "")

        return EXPRESSION.sub(value, text)


def git(folder: Path, *words: str) -> str:
    names = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *names, *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    """A repository whose two commits have the reference bundle; the second changes another file."""
    folder = tmp_path / "origin"
    (folder / "devices").mkdir(parents=True)
    shutil.copy(ROOT / "devices" / "cpu.toml", folder / "devices")
    shutil.copytree(ROOT / "export" / "reference", folder / "export" / "reference")
    git(folder, "init", "-q", "-b", "main")
    git(folder, "config", "uploadpack.allowAnySHA1InWant", "true")
    for name in ("one", "two"):
        (folder / "note").write_text(name)
        git(folder, "add", "-A")
        git(folder, "commit", "-q", "-m", name)
    return folder


@pytest.fixture
def clone(origin: Path, tmp_path: Path) -> Path:
    """As actions/checkout makes it: the last commit alone."""
    git(tmp_path, "clone", "-q", "--depth=1", origin.as_uri(), "clone")
    return tmp_path / "clone"


def test_a_pull_request_that_changes_no_bundle_passes(origin: Path, clone: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    event = {"github.event.pull_request.base.sha": git(origin, "rev-parse", "HEAD~1")}
    runner = Runner(tmp_path, clone, event, python=sys.executable)
    for name in STEPS:
        done = runner.run(name)
        assert done.returncode == 0, done.stdout + done.stderr
    assert "unchanged, byte for byte" in done.stdout
    assert runner.values["steps.check.outputs.exit-code"] == "0"
    assert Path(runner.values["steps.check.outputs.report"]).is_file()
    assert "| reference | ✅ unchanged |" in runner.summary.read_text()


def test_a_damaged_bundle_fails_and_words_are_no_script(clone: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    with (clone / "export" / "reference" / "model.onnx").open("ab") as stream:
        stream.write(b"x")
    inputs = {"threshold": "2%", "report-only": "true", "bundle": "export/reference", "python": sys.executable}
    runner = Runner(tmp_path, clone, {}, against="export", **inputs)
    assert [runner.run(name).returncode for name in STEPS] == [0, 0, 1]
    assert runner.values["steps.check.outputs.exit-code"] == "1"
    assert "❌ failed" in runner.summary.read_text()
    runner.values["inputs.bundle"] = f'$(touch {tmp_path}/made)"; touch {tmp_path}/made; "'
    assert runner.run("check").returncode == 2
    assert not (tmp_path / "made").exists()


def test_scripts_hold_no_expression_and_are_whole() -> None:
    for step in STEPS.values():
        assert "${{" not in step["run"]
        subprocess.run(["bash", "-n", "-c", step["run"]], check=True)
    used = {
        name
        for step in STEPS.values()
        for text in step["env"].values()
        for name in re.findall(r"inputs\.([\w-]+)", text)
    }
    assert used | {"working-directory"} == set(ACTION["inputs"])
    assert "secret" not in str(ACTION["runs"])
