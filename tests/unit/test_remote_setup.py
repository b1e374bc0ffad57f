"""The agent's wheel, the script that a device runs, and what is made of its answers."""

from __future__ import annotations

import ast
import io
import json
import subprocess
import sys
import zipfile
from email import message_from_string
from pathlib import Path
from typing import Any

import pytest

from binas_deploy import __version__
from binas_deploy.errors import BinasError, DeviceError, EnvironmentFault
from binas_deploy.remote import on_device, setup
from binas_deploy.remote.setup import set_up
from binas_deploy.remote.ssh import SshTarget
from binas_deploy.remote.wheel import agent_wheel

FOUND = {
    "python": [3, 11, 2], "enough": True, "executable": "/usr/bin/python3", "os": "Board OS", "kernel": "Linux",
    "venv": True, "runtime": False, "folder": "/home/u/agent", "taken": False, "packages": {},
}  # fmt: skip


def test_the_wheel_holds_the_code_and_not_what_was_trained() -> None:
    wheel = agent_wheel()
    with zipfile.ZipFile(io.BytesIO(wheel.content)) as archive:
        names = archive.namelist()
        metadata = message_from_string(archive.read(f"binas_deploy-{wheel.version}.dist-info/METADATA").decode())
        record = archive.read(f"binas_deploy-{wheel.version}.dist-info/RECORD").decode()
    assert {"binas_deploy/remote/agent.py", "binas_deploy/visit.py", "binas_deploy/py.typed"} <= set(names)
    assert not any("zoo" in name or "__pycache__" in name or name.endswith(".safetensors") for name in names)
    assert [line.split(",")[0] for line in record.splitlines()] == names
    assert (metadata["Name"], metadata["Version"]) == ("binas-deploy", wheel.version)
    assert wheel.version.startswith(f"{__version__}+agent.")
    assert any(needed.startswith("numpy") for needed in metadata.get_all("Requires-Dist", []))
    assert "cpu" in metadata.get_all("Provides-Extra", [])
    assert len(wheel.content) < 2_000_000


def test_equal_code_makes_equal_wheels() -> None:
    assert agent_wheel() == agent_wheel()


def test_the_script_is_understood_by_an_old_python() -> None:
    ast.parse(Path(on_device.__file__).read_text(encoding="utf-8"), feature_version=(3, 6))


def script(request: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """What the script answers to a request, run as a device runs it."""
    text = f"{Path(on_device.__file__).read_text(encoding='utf-8')}\nREQUEST = {json.dumps(request)!r}\nmain()\n"
    done = subprocess.run([sys.executable, "-"], input=text, capture_output=True, text=True, check=True, cwd=tmp_path)
    (line,) = [line for line in done.stdout.splitlines() if line.startswith(on_device.MARK)]
    found: dict[str, Any] = json.loads(line.removeprefix(on_device.MARK))
    return found


def test_looking_changes_nothing(tmp_path: Path) -> None:
    request = {"do": "look", "agent": str(tmp_path / "agent"), "package": "json", "packages": ["json", "no.such.thing"]}
    found = script(request, tmp_path)
    assert setup.Found.model_validate(found).python == list(sys.version_info[:3])
    assert (found["runtime"], found["taken"], found["packages"]) == (True, False, {})
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_somebody_else_is_seen(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").touch()
    request = {"do": "look", "agent": str(tmp_path), "package": "json", "packages": []}
    assert script(request, tmp_path)["taken"]
    (tmp_path / "pyvenv.cfg").touch()
    assert not script(request, tmp_path)["taken"]


def answering(monkeypatch: pytest.MonkeyPatch, *answers: dict[str, Any] | bytes, code: int = 0, said: str = "") -> None:
    """In the place of ssh: these answers, one for each command."""
    left = list(answers)

    def run(command: list[str], **settings: Any) -> subprocess.CompletedProcess[bytes]:
        answer = left.pop(0)
        told = answer if isinstance(answer, bytes) else f"motd\n{on_device.MARK}{json.dumps(answer)}\n".encode()
        return subprocess.CompletedProcess(command, code, told, said.encode())

    monkeypatch.setattr(subprocess, "run", run)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"enough": False, "python": [3, 8, 10]}, r"is Python 3\.8\.10; 3\.10 or newer is needed.*--python"),
        ({"venv": False}, r"sudo apt-get install python3\.11-venv"),
        ({"taken": True}, "/home/u/agent holds something else"),
    ],
)
def test_what_a_machine_lacks_is_told(change: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, {**FOUND, **change})
    with pytest.raises(EnvironmentFault, match=message):
        set_up(SshTarget("orin"), "onnxruntime", lambda text: None)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"failed": "pip", "output": "Temporary failure in name resolution"}, "pip there cannot get.*package index"),
        ({"failed": "pip", "output": "error: no space left"}, "pip failed in /home/u/agent: error: no space left"),
        ({"failed": "venv", "output": "ensurepip is not available"}, "venv failed in /home/u/agent"),
    ],
)
def test_why_installing_failed_is_told(answer: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, FOUND, answer)
    with pytest.raises(EnvironmentFault, match=message):
        set_up(SshTarget("orin"), "onnxruntime", lambda text: None)


@pytest.mark.parametrize(
    ("answer", "code", "kind", "message"),
    [
        (b"", 127, EnvironmentFault, "there is no python3. Install Python"),
        (b"welcome", 255, EnvironmentFault, "accepts none of your keys"),
        (b"welcome", 0, DeviceError, "printed 'welcome' instead"),
        (on_device.MARK.encode() + b"{}", 0, DeviceError, "is no answer"),
        (on_device.MARK.encode() + b"[" * 9, 0, DeviceError, "is no answer"),
    ],
)
def test_what_is_no_answer_is_told(
    answer: bytes, code: int, kind: type[BinasError], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(monkeypatch, answer, code=code, said="Permission denied (publickey)." if code == 255 else "")
    with pytest.raises(kind, match=message):
        set_up(SshTarget("orin"), "onnxruntime", lambda text: None)
