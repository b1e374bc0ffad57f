"""Where commands run: on this machine, or on another one behind the system's ``ssh``.

ssh gives a remote shell one line of text. `SshPlace` makes that line from words in one place, each quoted; files go
through the same line (``dd``, ``cat``), since small boards often have no sftp server for ``scp``.
"""

from __future__ import annotations

import contextlib
import shlex
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final, Protocol

from binas_deploy.adapters import host
from binas_deploy.adapters.command.process import Finished, run_process
from binas_deploy.documents import writing
from binas_deploy.errors import DeviceError

FOLDER_PREFIX: Final = "binas-deploy."
_SSH_FAILED: Final = 255
_SSH_OPTIONS: Final = ("BatchMode=yes", "StrictHostKeyChecking=yes", "ServerAliveInterval=15")
_SSH: Final = ("ssh", "-T", *(word for option in _SSH_OPTIONS for word in ("-o", option)), "--")


class Place(Protocol):
    """Runs words, and keeps the files that they need."""

    def run(self, words: Sequence[str], *, seconds: float, stdin: bytes = b"") -> Finished:
        """Run words to their end. Raises DeviceError as `run_process`."""
        ...

    def require(self, program: str) -> None:
        """Refuse a program that is not there, as far as that can be told. Raises DeviceError."""
        ...

    def folder(self) -> AbstractContextManager[str]:
        """A new folder, removed at the end."""
        ...

    def put(self, path: str, payload: bytes) -> None:
        """Write a file."""
        ...

    def get(self, path: str) -> bytes | None:
        """A file's bytes, None where there is no such file."""
        ...

    def affinity(self) -> str:
        """CPUs that commands may use, as text."""
        ...

    def context(self) -> dict[str, str]:
        """What can be read of the machine."""
        ...


class LocalPlace:
    """This machine; new folders are made in ``folder`` ('': where the system keeps temporary files)."""

    def __init__(self, folder: str) -> None:
        self._folder = folder or None

    def run(self, words: Sequence[str], *, seconds: float, stdin: bytes = b"") -> Finished:
        """As `Place`."""
        return run_process(words, seconds=seconds, stdin=stdin)

    def require(self, program: str) -> None:
        """As `Place`."""
        if shutil.which(program) is None:
            raise DeviceError(
                f"the program {program!r} of the device's file is not on this machine's PATH. Install it, or give its "
                "path from /."
            )

    @contextlib.contextmanager
    def folder(self) -> Iterator[str]:
        """As `Place`."""
        with contextlib.ExitStack() as stack:
            with writing(Path(self._folder or tempfile.gettempdir())):
                path = stack.enter_context(tempfile.TemporaryDirectory(prefix=FOLDER_PREFIX, dir=self._folder))
            yield path

    def put(self, path: str, payload: bytes) -> None:
        """As `Place`."""
        with writing(Path(path)):
            Path(path).write_bytes(payload)

    def get(self, path: str) -> bytes | None:
        """As `Place`."""
        try:
            return Path(path).read_bytes()
        except OSError:
            return None

    def affinity(self) -> str:
        """As `Place`."""
        return host.affinity()

    def context(self) -> dict[str, str]:
        """As `Place`."""
        return host.host_context()


class SshPlace:
    """The machine that the user's ssh calls ``host``, in new folders of its ``folder`` ('': /tmp)."""

    def __init__(self, host: str, folder: str, seconds: float) -> None:
        self._host = host
        self._folder = folder.rstrip("/") or "/tmp"  # noqa: S108  `mktemp -d` there makes a folder of our own
        self._seconds = seconds

    def run(self, words: Sequence[str], *, seconds: float, stdin: bytes = b"") -> Finished:
        """As `Place`; also refuses where ssh itself fails."""
        line, name = [*_SSH, self._host, remote_line(words)], f"{words[0]!r} on {self._host}"
        done = run_process(line, seconds=seconds, stdin=stdin, name=name)
        if done.code == _SSH_FAILED:
            raise DeviceError(
                f"ssh {self._host} failed{done.said} Try 'ssh {self._host} true' by hand: it must work without a "
                "password, and the host's key must be known."
            )
        return done

    def require(self, program: str) -> None:
        """The remote shell will tell."""

    @contextlib.contextmanager
    def folder(self) -> Iterator[str]:
        """As `Place`."""
        start = f"{self._folder}/{FOLDER_PREFIX}"
        made = self._answer(["mktemp", "-d", f"{start}XXXXXXXX"], "cannot make a folder")
        if not made.startswith(start) or "/" in made.removeprefix(start) or "\n" in made:
            raise DeviceError(f"{self._host} was asked for a new folder {start}*, and answered {made[:200]!r}.")
        try:
            yield made
        finally:
            # A link that is lost by now has its own error; what is left lies in the device's temporary folder.
            with contextlib.suppress(DeviceError):
                self.run(["rm", "-rf", "--", made], seconds=self._seconds)

    def put(self, path: str, payload: bytes) -> None:
        """As `Place`."""
        self._answer(["dd", f"of={path}", "bs=65536"], f"cannot write {path}", payload)

    def get(self, path: str) -> bytes | None:
        """As `Place`."""
        done = self.run(["cat", "--", path], seconds=self._seconds)
        return done.stdout if done.code == 0 else None

    def affinity(self) -> str:
        """As `Place`."""
        return "not read"

    def context(self) -> dict[str, str]:
        """As `Place`."""
        return {"host": self._host, "os": self._answer(["uname", "-srm"], "cannot say what it is")}

    def _answer(self, words: Sequence[str], what: str, stdin: bytes = b"") -> str:
        done = self.run(words, seconds=self._seconds, stdin=stdin)
        done.require_success(f"{self._host} {what}")
        return done.stdout.decode("utf-8", "replace").strip()


def remote_line(words: Sequence[str]) -> str:
    """The line that makes a POSIX shell run exactly these words.

    ``exec`` so that the first is a program whatever it looks like: no keyword of the shell, no assignment.
    """
    return f"exec {shlex.join(words)}"
