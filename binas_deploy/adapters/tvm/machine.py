"""Where programs run: in this process, or in a server that TVM's RPC tracker knows."""

from __future__ import annotations

import contextlib
import gc
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Final

from binas_deploy.adapters import host
from binas_deploy.adapters.tvm.build import LIBRARY
from binas_deploy.errors import DeviceError, InputError

_SECONDS_TO_ANSWER: Final = 5.0
_SECONDS_TO_BE_FREE: Final = 30.0
_SECONDS_BETWEEN: Final = 0.5
_LOCK: Final = threading.Lock()


class Here:
    """This process. TVM keeps each library that it has loaded until the process ends, so each is loaded once."""

    _loaded: ClassVar[dict[str, Any]] = {}

    def __init__(self, tvm: Any) -> None:
        self._tvm = tvm

    def device(self, kind: int) -> Any:
        """TVM's device of a type, by DLPack's number."""
        return self._tvm.runtime.device(kind, 0)

    def function(self, name: str) -> Any:
        """A function of TVM's registry there, None where it has none of that name."""
        return self._tvm.get_global_func(name, allow_missing=True)

    @contextlib.contextmanager
    def opened(self, payload: bytes, name: str = LIBRARY) -> Iterator[Any]:
        """A program as TVM's module."""
        key = sha256(payload).hexdigest()
        with _LOCK:
            if key not in self._loaded:
                self._loaded[key] = self._load(payload, name)
        yield self._loaded[key]

    def cpu(self) -> str:
        """What CPU that is."""
        return host.cpu_model()

    def _load(self, payload: bytes, name: str) -> Any:
        with TemporaryDirectory(prefix="binas-deploy-", ignore_cleanup_errors=True) as folder:
            path = Path(folder, name)
            path.write_bytes(payload)
            # Mapped at once: a file that is gone leaves nothing behind, whatever ends this process.
            return self._tvm.runtime.load_module(str(path))


class Board:
    """A server of a tracker (``host:port``), of those that registered as ``key``. It serves nobody else meanwhile."""

    _held: ClassVar[dict[tuple[str, str], Board]] = {}

    def __init__(self, tracker: str, key: str) -> None:
        self._key = key
        self._session = _session(tracker, key)

    @classmethod
    def held(cls, tracker: str, key: str) -> Board:
        """The one that this process holds, until it ends or `let_go`: a second session would wait for the first.

        Raises:
            DeviceError: no tracker answers, no server has registered with it as ``key``, or others keep all busy.
        """
        with _LOCK:
            board = cls._held.get((tracker, key))
            if board is None or not board._answers():
                cls._held.pop((tracker, key), None)
                board = cls._held[tracker, key] = cls(tracker, key)
            return board

    @classmethod
    def let_go(cls, tracker: str, key: str) -> None:
        """End the session, for one that a tuning opens."""
        with _LOCK:
            cls._held.pop((tracker, key), None)
        gc.collect()  # TVM ends a session with the last object that refers to it, and some refer to each other

    def _answers(self) -> bool:
        return self.function("runtime.NumThreads") is not None

    def device(self, kind: int) -> Any:
        """TVM's device of a type, by DLPack's number."""
        return self._session.device(kind, 0)

    def function(self, name: str) -> Any:
        """A function of TVM's registry there, None where it has none of that name."""
        with contextlib.suppress(Exception):  # the server's answer to an unknown name is an error of its own
            return self._session.get_function(name)
        return None

    @contextlib.contextmanager
    def opened(self, payload: bytes, name: str = LIBRARY) -> Iterator[Any]:
        """A program as TVM's module: sent there, and removed in the end."""
        remote = f"{uuid.uuid4().hex}-{name}"
        self._session.upload(bytearray(payload), target=remote)
        try:
            yield self._session.load_module(remote)
        finally:
            with contextlib.suppress(Exception):  # a server that is gone took its folder along
                self._session.remove(remote)

    def cpu(self) -> str:
        """What CPU that is, as LLVM names it; a server with the runtime only cannot say."""
        named = self.function("target.llvm_get_system_cpu")
        return f"{self._key} ({named()})" if named else self._key


def address_of(tracker: str) -> tuple[str, int]:
    """``host:port``.

    Raises:
        InputError: of another form.
    """
    name, _, port = tracker.rpartition(":")
    if not name or not port.isdecimal():
        raise InputError(f"tracker = {tracker!r}: write host:port, such as 'farm.local:9190'.")
    return name, int(port)


def _session(tracker: str, key: str) -> Any:
    from tvm import rpc

    address = address_of(tracker)
    try:
        socket.create_connection(address, timeout=_SECONDS_TO_ANSWER).close()  # TVM itself would try for a minute
    except OSError as error:
        raise DeviceError(
            f"no RPC tracker answers at {tracker}: {error}. Start it there, or correct 'tracker'."
        ) from error
    known = rpc.connect_tracker(*address)
    _require_free(known, tracker, key)
    return known.request(key)


def _require_free(known: Any, tracker: str, key: str) -> None:
    """Wait for a while until a server is free: the tracker's own answer would come no sooner, or never."""
    end = time.monotonic() + _SECONDS_TO_BE_FREE
    while not known.summary()["queue_info"].get(key, {}).get("free"):
        keys = sorted(server["key"].removeprefix("server:") for server in known.summary()["server_info"])
        if key not in keys:
            raise DeviceError(
                f"the RPC tracker at {tracker} has no server of key '{key}' (there: {', '.join(keys) or 'none'}). "
                f"Start one: python -m tvm.exec.rpc_server --tracker {tracker} --key {key}"
            )
        if time.monotonic() > end:
            raise DeviceError(f"every server of key '{key}' is busy, as the RPC tracker at {tracker} says. Try later.")
        time.sleep(_SECONDS_BETWEEN)
