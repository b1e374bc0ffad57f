"""Starting the processes of a comparison, each fresh, under the interpreter of its side; and reading what they say.

What another environment needs: Python 3.10 or later, the base packages of binas-deploy, and the device's runtime.
binas-deploy itself need not be there: the process gets this copy of it, by path, and nothing else of this environment.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping, Set
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Annotated, Any, Final, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

import binas_deploy
from binas_deploy.devices import DeviceSpec
from binas_deploy.documents import os_reason, shown
from binas_deploy.errors import EXIT_USAGE, BinasError, DeviceError, EnvironmentFault, InputError
from binas_deploy.measure import Timing
from binas_deploy.steady import Samples
from binas_deploy.steps.check_interpreter import Interpreter

MOST_ANSWER: Final = 8 * 2**20
"""Bytes that are read of an answer: a process that says more is ended."""
_BOOT: Final = """\
import importlib, importlib.util, sys
sys.path[:] = [folder for folder in sys.path if folder]
home = sys.argv[1]
spec = importlib.util.spec_from_file_location("binas_deploy", home + "/__init__.py", submodule_search_locations=[home])
sys.modules["binas_deploy"] = package = importlib.util.module_from_spec(spec)
spec.loader.exec_module(package)
sys.exit(importlib.import_module("binas_deploy.steps.check_probe").main())
"""
_NEEDS: Final = (
    "It takes Python 3.10 or later with the packages that binas-deploy needs and the device's runtime; "
    "'pip install binas-deploy' there, with the device's extra, brings them."
)
_SAID: Final = 400

T = TypeVar("T", bound=BaseModel)
_Ns = Annotated[int, Field(ge=1, le=10**18)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Loaded(_Strict):
    """What a process loaded: facts of its device, and of each subject the program's SHA-256."""

    identity: dict[str, str]
    context: dict[str, str]
    simulated: bool
    python: Annotated[str, Field(max_length=64)]
    programs: dict[str, Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]]


class _Turn(_Strict):
    samples: dict[str, Annotated[list[_Ns], Field(min_length=1)]]


@dataclass(frozen=True)
class Payload:
    """A model that a device compiles, exactly the bytes of that SHA-256.

    With a ``format`` it is what the device loads as it stands: ``files`` (path, SHA-256), made of that model.
    """

    path: Path
    sha256: str
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    format: str = ""
    files: tuple[tuple[str, str], ...] = ()

    @property
    def hashes(self) -> tuple[str, ...]:
        """Of all that it is made of."""
        return (self.sha256, self.format, *(sha256 for _, sha256 in self.files))


@dataclass(frozen=True)
class Work:
    """What a process is to load, and how it times each on its turns. ``seconds``: the most that it may live."""

    spec: DeviceSpec
    subjects: Mapping[str, Payload]
    timing: Timing
    seed: int = 0
    seconds: float = 600.0

    def request(self) -> bytes:
        """As the process reads it."""
        subjects = [
            {**asdict(payload), "key": key, "path": str(payload.path)} for key, payload in self.subjects.items()
        ]
        stated = {"device": self.spec.model_dump(mode="json"), "subjects": subjects, "seed": self.seed}
        return json.dumps({**stated, "timing": dict(vars(self.timing))}).encode() + b"\n"


class Running:
    """A process that was told its work: `loaded` waits for it, and each `turn` takes samples."""

    def __init__(self, interpreter: Interpreter, work: Work, process: subprocess.Popen[bytes], errors: IO[bytes]):
        self._interpreter, self._work = interpreter, work
        self._process, self._errors = process, errors
        self._late = False
        self._write(work.request())

    @cached_property
    def loaded(self) -> Loaded:
        """What it has loaded.

        Raises:
            DeviceError: the device failed there, or the process died, took too long or said something else.
            InputError: what was asked is wrong, as that process says.
            EnvironmentFault: it lacks a package.
        """
        found = self._validated(Loaded, self._answer())
        self._require_subjects(found.programs.keys())
        return found

    def turn(self) -> dict[str, Samples]:
        """Samples in ns of each subject, as the device gave them. Raises as `loaded`."""
        self._write(b"\n")
        found = self._validated(_Turn, self._answer()).samples
        self._require_subjects(found.keys())
        return {key: np.array(samples, dtype=np.int64) for key, samples in found.items()}

    def end(self) -> None:
        """Ends the process, with its children."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL) if hasattr(os, "killpg") else self._process.kill()

    def end_late(self) -> None:
        """Ends it because its time is up."""
        self._late = True
        self.end()

    def _write(self, line: bytes) -> None:
        with contextlib.suppress(BrokenPipeError):  # it has died: its status and stderr say why
            stdin = _piped(self._process.stdin)
            stdin.write(line)
            stdin.flush()

    def _answer(self) -> dict[str, Any]:
        line = _piped(self._process.stdout).readline(MOST_ANSWER + 1)
        if len(line) > MOST_ANSWER:
            raise DeviceError(f"a process that measures said more than {MOST_ANSWER // 2**20} MiB; it was ended.")
        found = _parsed(line)
        if found is None and line.endswith(b"\n"):
            raise DeviceError(f"a process of {self._interpreter.python} answered {shown(line)}: that is no answer.")
        if found is None or "error" in found:
            raise self._fault(found)
        return found

    def _fault(self, answer: Mapping[str, Any] | None) -> BinasError:
        """Why there is no answer."""
        python = self._interpreter.python
        if answer is not None:
            where = f" (in a process of {python})" if self._interpreter.other else ""
            kind = InputError if answer.get("exit_code") == EXIT_USAGE else DeviceError
            return kind(str(answer["error"]) + where)
        code = self._process.wait()
        if self._late:
            return DeviceError(
                f"a process that measures took longer than {self._work.seconds:g} s and was ended. "
                "Is the device still there?"
            )
        last = _last_words(self._errors)
        if any(name in last for name in ("ModuleNotFoundError", "ImportError", "SyntaxError")):
            return EnvironmentFault(f"{python} cannot measure: {last}. {_NEEDS}")
        how = f"was ended by signal {-code}" if code < 0 else f"ended with status {code}"
        return DeviceError(f"a process of {python} that measures {how}: {last or 'it said nothing'}")

    def _validated(self, kind: type[T], answer: Mapping[str, Any]) -> T:
        try:
            return kind.model_validate(answer)
        except ValidationError as error:
            first = error.errors()[0]
            raise DeviceError(
                f"a process of {self._interpreter.python} answered {shown(first['input'])}: {first['msg']}"
            ) from error

    def _require_subjects(self, keys: Set[str]) -> None:
        if keys != self._work.subjects.keys():
            raise DeviceError(f"a process of {self._interpreter.python} measured other subjects than it was asked to.")


@contextlib.contextmanager
def started(interpreter: Interpreter, work: Work) -> Iterator[Running]:
    """A fresh process that loads ``work`` at once, and is gone at the end, with its children; after Ctrl-C too.

    Raises:
        EnvironmentFault: it cannot be started.
    """
    words = [interpreter.python, "-c", _BOOT, str(Path(binas_deploy.__file__).resolve().parent)]
    pipe, environment = subprocess.PIPE, interpreter.environment()
    with tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(
                words, stdin=pipe, stdout=pipe, stderr=errors, env=environment, start_new_session=True
            )
        except OSError as error:
            raise EnvironmentFault(f"cannot start {interpreter.python}: {os_reason(error)}.") from error
        with _reaped(process):
            running = Running(interpreter, work, process, errors)
            timer = threading.Timer(work.seconds, running.end_late)
            timer.daemon = True
            timer.start()
            try:
                yield running
            finally:
                timer.cancel()
                running.end()


@contextlib.contextmanager
def _reaped(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Closes the pipes, also where something unsent is in them, and waits for the end."""
    try:
        yield
    finally:
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(BrokenPipeError):
                _piped(pipe).close()
        process.wait()


def _piped(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise DeviceError("a process was started without pipes")  # Popen gives them where they are asked for
    return pipe


def _parsed(said: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(said)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _last_words(errors: IO[bytes]) -> str:
    size = errors.seek(0, os.SEEK_END)
    errors.seek(max(0, size - 4096))
    lines = [line.strip() for line in errors.read().decode("utf-8", "replace").splitlines() if line.strip()]
    return (lines[-1] if lines else "")[-_SAID:]
