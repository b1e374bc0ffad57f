"""Running a list of words as one process, with a time limit that holds for all that it starts."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from binas_deploy.documents import os_reason
from binas_deploy.errors import DeviceError

_KEPT_LINES: Final = 3
_KEPT_TEXT: Final = 300


@dataclass(frozen=True)
class Finished:
    """A process that ended: what it said, and the wall-clock ``seconds`` that it took."""

    name: str
    code: int
    stdout: bytes
    stderr: bytes
    seconds: float

    def require_success(self, what: str) -> None:
        """Refuse an exit status other than 0.

        Raises:
            DeviceError: names ``what`` failed, and the end of what it said.
        """
        if self.code:
            how = f"was ended by signal {-self.code}" if self.code < 0 else f"exited with status {self.code}"
            raise DeviceError(f"{what}: {self.name} {how}{self.said}")

    @property
    def said(self) -> str:
        """The last lines of stderr (of stdout where that is empty), to follow other text."""
        return _end_of(self.stderr) or _end_of(self.stdout) or " and said nothing."


def run_process(words: Sequence[str], *, seconds: float, stdin: bytes = b"", name: str = "") -> Finished:
    """Run ``words`` to their end, without a shell; messages call it ``name`` (default: the first word).

    Raises:
        DeviceError: it cannot be started, or takes longer than ``seconds``: then it is killed, with its children.
    """
    name, begin = name or repr(words[0]), time.perf_counter()
    with _started(words, name) as process:
        try:
            stdout, stderr = process.communicate(stdin, timeout=seconds)
        except subprocess.TimeoutExpired as error:
            _end(process)
            raise DeviceError(
                f"{name} took longer than {seconds:g} s and was ended{_end_of(error.stderr or b'')} Raise "
                "'timeout_s' in the device's file if it needs longer."
            ) from error
        except BaseException:  # Ctrl-C as well: the process is in a session of its own and would go on
            _end(process)
            raise
    return Finished(name, process.returncode, stdout, stderr, time.perf_counter() - begin)


def _started(words: Sequence[str], name: str) -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    try:
        return subprocess.Popen(list(words), stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True)
    except OSError as error:
        raise DeviceError(f"cannot start {name}: {os_reason(error)}.") from error


def _end(process: subprocess.Popen[bytes]) -> None:
    # All of its session: a script's own children would otherwise go on, and keep the pipes open.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL) if hasattr(os, "killpg") else process.kill()


def _end_of(output: bytes) -> str:
    lines = [line.strip() for line in output.decode("utf-8", "replace").splitlines() if line.strip()]
    text = " / ".join(lines[-_KEPT_LINES:])
    return f": {text if len(text) <= _KEPT_TEXT else '...' + text[-_KEPT_TEXT:]}" if text else ""
