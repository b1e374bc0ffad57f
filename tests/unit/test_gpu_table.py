"""The script for a GPU machine, as far as it goes in no time: what it carries, what it says without device or time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu_table.py"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    bare = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, check=False, env=bare, timeout=60
    )


def test_help_needs_no_package() -> None:
    done = subprocess.run(
        [sys.executable, "-S", str(SCRIPT), "--help"], capture_output=True, text=True, check=True, timeout=30
    )
    assert "in one command" in done.stdout


def test_wheels_are_those_of_the_other_machine() -> None:
    code = f"import sys; sys.path[:0] = [{str(SCRIPT.parent)!r}]; import gpu_table; "
    code += "from pathlib import Path; print(*gpu_table.download_line(Path('w'), '3.12'))"
    line = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True).stdout
    assert "pip download --only-binary :all: --dest w" in line
    assert "--python-version 3.12" in line
    assert {"pydantic", "cuda-bindings"} <= set(line.split())


def test_a_dry_run_out_of_time_says_so_and_writes_all_steps(tmp_path: Path) -> None:
    asked = ["--device", "cpu", "--device", "nowhere", "--space", "cifar10", "--batch", "1", "--results", str(tmp_path)]
    done = run("--dry-run", "--seconds", "-1", *asked)
    assert done.returncode == 0, done.stderr
    assert "dry run: on the CPU" in done.stdout
    document = json.loads((tmp_path / "gpu_table.json").read_text(encoding="utf-8"))
    assert document["dry_run"] is True
    found = [(row["device"], row["step"], row["skipped"][:20]) for row in document["devices"]]
    assert found == [
        ("cpu", "exam", "not run: no time lef"),
        ("cpu", "table", "not run: no time lef"),
        ("nowhere", "open", "unknown device 'nowh"),
    ]
