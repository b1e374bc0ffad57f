"""The processes of a comparison, when they do not do as they should."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from binas_deploy.devices import DeviceSpec
from binas_deploy.errors import DeviceError, EnvironmentFault, InputError
from binas_deploy.measure import Timing
from binas_deploy.steps import check_process
from binas_deploy.steps.check_interpreter import Interpreter
from binas_deploy.steps.check_process import Payload, Work, started

SPEC = DeviceSpec(name="cpu", adapter="onnxruntime")
TIMING = Timing(warmup_ms=0.0, samples_per_visit=4, visit_ms=1.0)
LOADED = (
    '{"identity": {}, "context": {}, "simulated": false, "python": "3.11", "programs": {"network": "' + "0" * 64 + '"}}'
)


def work(path: Path, seconds: float = 60.0, sha256: str = "0" * 64) -> Work:
    return Work(SPEC, {"network": Payload(path, sha256, (1, 3), (1, 5))}, TIMING, seconds=seconds)


def script(folder: Path, text: str) -> Interpreter:
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return Interpreter.at(path)


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        (
            "echo \"ModuleNotFoundError: No module named 'numpy'\" >&2; exit 1",
            EnvironmentFault,
            "No module named 'numpy'",
        ),
        ("exit 3", DeviceError, "ended with status 3: it said nothing"),
        ("kill -9 $$", DeviceError, "was ended by signal 9"),
        ("read line; echo hello; cat", DeviceError, "that is no answer"),
        ("read line; echo '[]'; exit 4", DeviceError, "that is no answer"),
        ("read line; printf '{'; exit 4", DeviceError, "status 4"),
        ("read line; echo '{}'; cat", DeviceError, "answered"),
        (f"read line; echo '{LOADED.replace('network', 'other')}'; cat", DeviceError, "other subjects"),
        (
            'read line; echo \'{"error": "no such device", "exit_code": 3}\'',
            DeviceError,
            "no such device .in a process",
        ),
        ('read line; echo \'{"error": "unknown adapter", "exit_code": 2}\'', InputError, "unknown adapter"),
    ],
)
def test_what_goes_wrong_there_is_told(tmp_path: Path, text: str, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message), started(script(tmp_path, text), work(tmp_path / "x", 2)) as running:
        _ = running.loaded


def test_one_that_talks_for_ever_or_never_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_process, "MOST_ANSWER", 1000)
    with (
        pytest.raises(DeviceError, match="said more than"),
        started(script(tmp_path, "tr '\\0' x < /dev/zero"), work(tmp_path / "x")) as running,
    ):
        _ = running.loaded
    with (
        pytest.raises(DeviceError, match=r"took longer than 0\.3 s"),
        started(script(tmp_path, "sleep 60"), work(tmp_path / "x", 0.3)) as running,
    ):
        _ = running.loaded


def test_samples_are_checked(tmp_path: Path) -> None:
    text = f"read line; echo '{LOADED}'; read line; echo '{{\"samples\": {{\"network\": [0]}}}}'; cat"
    with started(script(tmp_path, text), work(tmp_path / "x")) as running:
        assert running.loaded.python == "3.11"
        with pytest.raises(DeviceError, match="answered 0"):
            running.turn()
    good = script(tmp_path, text.replace("[0]", "[5, 7]"))
    with started(good, work(tmp_path / "x")) as running:
        _ = running.loaded
        np.testing.assert_array_equal(running.turn()["network"], [5, 7])


def test_interpreters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    mine = Interpreter.at(None)
    assert (mine.python, mine.environment()["PYTHONPATH"]) == (sys.executable, "/somewhere")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    other = Interpreter.at(tmp_path)  # the folder of an environment
    assert other.python == str(tmp_path / "bin" / "python")
    assert "PYTHONPATH" not in other.environment()
    for nothing in (tmp_path / "missing", tmp_path / "bin"):
        with pytest.raises(InputError, match="is no Python"):
            Interpreter.at(nothing)
    with pytest.raises(EnvironmentFault, match="cannot start"), started(Interpreter("/nowhere"), work(tmp_path)):
        pass


def test_a_file_that_changed_meanwhile_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    path = tmp_path / "model.onnx"
    path.write_bytes(b"something else")
    with pytest.raises(DeviceError, match="changed while"), started(Interpreter.at(None), work(path)) as running:
        _ = running.loaded
