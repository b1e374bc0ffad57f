"""One connection: a process whose stdin and stdout lead to an agent. It is not made again when it breaks."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import select
import subprocess
import threading
import time
from collections.abc import Sequence
from typing import IO, Final, Protocol, TypeVar

from binas_deploy import __version__
from binas_deploy.errors import BinasError, DeviceError, EnvironmentFault, LinkLostError
from binas_deploy.remote.faults import error_of
from binas_deploy.remote.frames import PROTOCOL, ProtocolError, Stream, TruncatedError
from binas_deploy.remote.messages import Failed, Hello, Message, Reply, Welcome, reply_of
from binas_deploy.remote.plain import plain

_R = TypeVar("_R", bound=Message)
_LOG: Final = logging.getLogger(__name__)
_GREETED: Final = re.compile(rb"binas-deploy agent, protocol (\d{1,9})\n")
_MOST_STRAY: Final = 2**16
_KEPT_STDERR: Final = 2**13
_GREETING_SECONDS: Final = 60.0
_ENDING_SECONDS: Final = 5.0


class Way(Protocol):
    """How an agent is reached."""

    @property
    def label(self) -> str:
        """What messages call the machine."""
        ...

    @property
    def name(self) -> str:
        """What commands call it."""
        ...

    def agent_command(self) -> Sequence[str]:
        """The arguments of the process that leads there."""
        ...

    def fault(self, code: int | None, said: str, stray: str = "") -> BinasError:
        """Why that process ended before the agent answered, by its exit code, stderr and stdout."""
        ...


class Connection:
    """An agent that has greeted; closing it ends the process.

    Raises:
        EnvironmentFault: the program is not here, or the user has something to set right.
        DeviceError: the agent does not answer, or speaks another protocol. Its subclass `Unreachable`: it may later.
    """

    def __init__(self, way: Way) -> None:
        self.way = way
        self._process = _started(way)
        self._stderr = _Tail(_pipe(self._process.stderr))
        self._incoming = _pipe(self._process.stdout).fileno()
        outgoing = _pipe(self._process.stdin).fileno()
        self._stream = Stream(self._read, lambda data: _write_all(outgoing, data))
        self._give_up: float | None = time.monotonic() + _GREETING_SECONDS
        self.alive = True
        self.agent_version = ""
        try:
            self._agree()
        except BaseException:
            self._process.kill()
            self.close()
            raise
        self._give_up = None  # from now on an answer takes as long as it takes; ssh itself notices a dead link

    def ask(self, request: Message, kind: type[_R], body: bytes = b"") -> tuple[_R, bytes]:
        """The reply to a request, of the one kind that is expected.

        Raises:
            LinkLostError: the link broke; what became of the request is not known.
            ProtocolError: the reply is none, or another one.
            BinasError: what the agent answers that went wrong.
        """
        reply, found = self._exchange(request, body)
        if isinstance(reply, kind):
            return reply, found
        raise self._broken(f"'{getattr(reply, 'type', '?')}' is no answer to '{getattr(request, 'type', '?')}'")

    def ask_any(self, request: Message, body: bytes = b"") -> tuple[Reply, bytes]:
        """The same where several kinds of reply are in order. Raises as `ask`."""
        return self._exchange(request, body)

    def close(self) -> None:
        """End the process; what the agent had loaded is freed by itself."""
        self.alive = False
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                _pipe(stream).close()
        try:
            self._process.wait(_ENDING_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._stderr.close()

    def _exchange(self, request: Message, body: bytes) -> tuple[Reply, bytes]:
        frame = request.frame(body)
        whole = False
        try:
            self._stream.send(frame)
            found = self._stream.receive()
            reply = reply_of(found) if found is not None else None
            whole = reply is not None
        except (OSError, TruncatedError) as error:
            raise self._lost() from error
        except ProtocolError as error:
            raise self._broken(str(error)) from error
        finally:
            if not whole:  # also where Ctrl-C came between: the next reply would be taken for another's
                self.close()
        if found is None or reply is None:
            raise self._lost()
        if isinstance(reply, Failed):
            raise error_of(reply, self.way.label)
        return reply, found.body

    def _read(self, count: int) -> bytes:
        if self._give_up is not None:
            left = max(0.0, self._give_up - time.monotonic())
            if not select.select([self._incoming], [], [], left)[0]:
                raise _SilentError
        return os.read(self._incoming, count)

    def _agree(self) -> None:
        protocol = self._await_greeting()
        if protocol != PROTOCOL:
            raise DeviceError(
                f"{self.way.label}: its agent speaks protocol {protocol}, this tool {PROTOCOL}. Make them equal with: "
                f"binas-deploy devices setup {self.way.name}"
            )
        try:
            welcome, _ = self.ask(Hello(protocol=PROTOCOL, version=__version__), Welcome)
        except _SilentError as error:
            raise self._silent(b"") from error
        self.agent_version = welcome.version

    def _await_greeting(self) -> int:
        """The agent's protocol. Whatever a login shell printed before the greeting is told and skipped."""
        found = b""
        while not (greeted := _GREETED.search(found)):
            try:
                piece = self._read(_MOST_STRAY)
            except _SilentError as error:
                raise self._silent(found) from error
            found += piece
            if not piece:
                raise self._ended(found)
            if len(found) > _MOST_STRAY:
                raise self._silent(found)
        if greeted.end() != len(found):
            raise self._broken("it goes on before it was asked anything")
        if stray := found[: greeted.start()].decode("utf-8", "replace").strip():
            _LOG.warning(
                "%s prints on stdout before the agent speaks, which was skipped: %r. Silence its shell's start-up "
                "files for shells that are not interactive.",
                self.way.label,
                plain(stray)[:200],
            )
        return int(greeted[1])

    def _silent(self, found: bytes) -> DeviceError:
        stray = found.decode("utf-8", "replace").strip()
        printed = f" It printed {plain(stray)[:200]!r} instead." if stray else ""
        return DeviceError(f"{self.way.label}: no agent has answered in {_GREETING_SECONDS:.0f} s.{printed}")

    def _ended(self, found: bytes) -> BinasError:
        stray = found.decode("utf-8", "replace").strip()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_ENDING_SECONDS)
        return self.way.fault(self._process.returncode, self._stderr.text(), stray)

    def _lost(self) -> LinkLostError:
        self.close()
        said = " ".join(plain(self._stderr.text()).split())[-300:]
        return LinkLostError(f"the link to {self.way.label} broke{f': {said}' if said else ''}.")

    def _broken(self, what: str) -> ProtocolError:
        self.close()
        return ProtocolError(f"{self.way.label} does not keep to the protocol: {what} The connection was ended.")


class _SilentError(Exception):
    """Nothing came in time."""


class _Tail:
    """The last of what a stream says, read by a thread of its own so that the other side never waits."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._kept = b""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def text(self) -> str:
        """What was said last; all of it where the stream has ended."""
        self._thread.join(1.0)
        return self._kept.decode("utf-8", "replace")

    def close(self) -> None:
        """Stop reading."""
        self._thread.join(1.0)
        if not self._thread.is_alive():
            self._stream.close()

    def _read(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            while piece := os.read(self._stream.fileno(), _KEPT_STDERR):
                self._kept = (self._kept + piece)[-_KEPT_STDERR:]


def _started(way: Way) -> subprocess.Popen[bytes]:
    command = list(way.agent_command())
    pipe = subprocess.PIPE
    try:
        # A session of its own: Ctrl-C is for this process, which ends the connection in order.
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0, start_new_session=True)
    except OSError as error:
        raise EnvironmentFault(f"the program '{command[0]}' cannot be started: {error.strerror}.") from error


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise EnvironmentFault("a pipe to a process is missing.")
    return stream


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
