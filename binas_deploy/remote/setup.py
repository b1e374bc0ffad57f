"""`devices setup`: the agent on another machine, in an environment of its own. Doing it again changes nothing."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from binas_deploy.adapters.base import DeviceFacts, Option
from binas_deploy.adapters.registry import ADAPTERS, Adapter, find_adapter
from binas_deploy.errors import BinasError, DeviceError, EnvironmentFault
from binas_deploy.remote.device import RemoteDevice
from binas_deploy.remote.on_device import LEAST_PYTHON, MARK
from binas_deploy.remote.plain import PlainText, plain
from binas_deploy.remote.ssh import SshTarget, no_ssh
from binas_deploy.remote.wheel import Wheel, agent_wheel

_SCRIPT: Final = Path(__file__).with_name("on_device.py")
_LOOK_SECONDS: Final = 60
_INSTALL_SECONDS: Final = 3600
_MOST_ANSWER: Final = 2**20
_NO_NETWORK: Final = (
    "name resolution",
    "establish a new connection",
    "Network is unreachable",
    "timed out",
    "No matching distribution found",
    "Connection refused",
)


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Found(_Answer):
    """What is on the device before anything is done; ``taken``: something else is in the agent's folder."""

    python: Annotated[list[int], Field(min_length=3, max_length=3)]
    enough: bool
    executable: PlainText
    os: PlainText
    kernel: PlainText
    venv: bool
    runtime: bool
    folder: PlainText
    taken: bool
    packages: dict[PlainText, PlainText]

    @property
    def python_version(self) -> str:
        """Such as '3.11.2'."""
        return ".".join(str(part) for part in self.python)


class _Installed(_Answer):
    packages: dict[PlainText, PlainText] = Field(default_factory=dict)
    failed: str = ""
    output: str = ""


_A = TypeVar("_A", bound=_Answer)


@dataclass(frozen=True)
class Setup:
    """A device whose agent answers. ``before`` is the version that was there, empty where there was none.

    ``facts`` are those of the adapter's device there, None with the ``fault`` that kept it from saying them.
    """

    found: Found
    version: str
    before: str
    packages: Mapping[str, str]
    facts: DeviceFacts | None
    fault: str

    @property
    def changed(self) -> bool:
        """Whether anything was installed."""
        return self.version != self.before


def set_up(
    target: SshTarget,
    adapter: str,
    note: Callable[[str], None],
    *,
    threads: int = 1,
    options: Mapping[str, Option] | None = None,
) -> Setup:
    """Install or upgrade the agent with what the adapter needs, and let it say what it finds.

    ``note`` is told what is going on; ``threads`` and ``options`` are those of the device that is asked for its facts.

    Raises:
        InputError: no such adapter.
        EnvironmentFault: no ssh here, a key to be accepted, or what the machine there lacks, with what to do.
        DeviceError: it cannot be reached, or what came is no answer.
    """
    needed, wheel = find_adapter(adapter), agent_wheel()
    found = _look(target, needed)
    _require(target, found)
    packages = dict(found.packages)
    before = packages.get("binas-deploy", "")
    if before != wheel.version or needed.package not in packages:
        note(f"installing the agent in {found.folder} on {target.label}; it may take some minutes")
        packages = _install(target, needed, found, wheel)
    facts, fault = _facts(RemoteDevice(target, adapter, threads, options or {}))
    return Setup(found, wheel.version, before, packages, facts, fault)


def _look(target: SshTarget, adapter: Adapter) -> Found:
    request = {"do": "look", "agent": target.agent, "package": adapter.package, "packages": _packages(adapter)}
    return _answer(target, Found, _asked(target, request, _LOOK_SECONDS))


def _install(target: SshTarget, adapter: Adapter, found: Found, wheel: Wheel) -> dict[str, str]:
    request = {
        "do": "install",
        "agent": target.agent,
        # A runtime that came with the machine, as TensorRT does on a Jetson, is used as it is.
        "system": found.runtime,
        "extra": "" if found.runtime else adapter.extra,
        "packages": _packages(adapter),
        "wheel": wheel.name,
        "content": base64.b64encode(wheel.content).decode(),
    }
    answer = _answer(target, _Installed, _asked(target, request, _INSTALL_SECONDS))
    if answer.failed:
        raise _install_fault(target, found, answer)
    return answer.packages


def _packages(adapter: Adapter) -> list[str]:
    return sorted({known.package for known in ADAPTERS.values()} | {adapter.package})


def _require(target: SshTarget, found: Found) -> None:
    if not found.enough:
        least = ".".join(str(part) for part in LEAST_PYTHON)
        raise EnvironmentFault(
            f"{target.label}: {found.executable} is Python {found.python_version}; {least} or newer is needed. Install "
            'one there and name it: --python python3.11, or python = "python3.11" under [ssh] in the device\'s file.'
        )
    if found.taken:
        raise EnvironmentFault(
            f"{target.label}: {found.folder} holds something else. Choose another folder: --agent, or agent = under "
            "[ssh] in the device's file."
        )
    if not found.venv and "binas-deploy" not in found.packages:
        raise EnvironmentFault(
            f"{target.label}: {found.executable} cannot make environments (its module venv or ensurepip is missing). "
            "On Debian and Ubuntu, install it there with: "
            f"sudo apt-get install python{found.python[0]}.{found.python[1]}-venv"
        )


def _install_fault(target: SshTarget, found: Found, answer: _Installed) -> BinasError:
    said = " ".join(plain(answer.output).split())[-500:]
    if answer.failed == "pip" and any(sign in answer.output for sign in _NO_NETWORK):
        return EnvironmentFault(
            f"{target.label}: pip there cannot get what the agent needs: {said} Give the machine access to a package "
            "index (a network, or index-url and proxy in its pip.conf), and run this again."
        )
    return EnvironmentFault(f"{target.label}: {answer.failed} failed in {found.folder}: {said}")


def _facts(device: RemoteDevice) -> tuple[DeviceFacts | None, str]:
    """By the agent itself, over the link that measuring takes; the runtime may refuse though the agent is well."""
    try:
        return device.facts(), ""
    except BinasError as error:
        return None, str(error)


def _asked(target: SshTarget, request: Mapping[str, Any], seconds: int) -> subprocess.CompletedProcess[bytes]:
    text = f"{_SCRIPT.read_text(encoding='utf-8')}\n\nREQUEST = {json.dumps(request)!r}\nmain()\n"
    command = target.command(target.python, "-")
    try:
        return subprocess.run(command, input=text.encode(), capture_output=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired as error:
        raise DeviceError(f"{target.label}: no answer came in {seconds} s.") from error
    except OSError as error:
        raise no_ssh() from error


def _answer(target: SshTarget, kind: type[_A], done: subprocess.CompletedProcess[bytes]) -> _A:
    lines = done.stdout[-_MOST_ANSWER:].decode("utf-8", "replace").splitlines()
    told = [line.removeprefix(MARK) for line in lines if line.startswith(MARK)]
    if not told:
        raise _no_answer(target, done, "\n".join(lines))
    try:
        return kind.model_validate_json(told[-1])
    except ValidationError as error:
        raise DeviceError(f"{target.label}: what came is no answer: {plain(told[-1])[:200]!r}.") from error


def _no_answer(target: SshTarget, done: subprocess.CompletedProcess[bytes], printed: str) -> BinasError:
    if done.returncode in (126, 127):
        return EnvironmentFault(
            f"{target.label}: there is no {target.python}. Install Python 3.10 or newer there, or name the one that "
            "is: --python, or python = under [ssh] in the device's file."
        )
    return target.fault(done.returncode, done.stderr.decode("utf-8", "replace"), printed)
