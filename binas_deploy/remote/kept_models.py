"""Models that an agent was given, in a folder by their hash, so that none crosses the link twice."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from typing import Final

from binas_deploy.documents import write_atomic
from binas_deploy.remote.frames import ProtocolError

MOST_BYTES: Final = 2**31
"""Of all together: boards have small disks."""


class KeptModels:
    """Those in ``folder``, at most ``most_bytes`` of them; the ones that were not used for longest go first."""

    def __init__(self, folder: Path, most_bytes: int = MOST_BYTES) -> None:
        self._folder = folder
        self._most_bytes = most_bytes

    def get(self, sha256: str) -> bytes | None:
        """The model of that hash; None where there is none, or one that was damaged (which is removed)."""
        path = self._path(sha256)
        with contextlib.suppress(OSError):
            payload = path.read_bytes()
            if hashlib.sha256(payload).hexdigest() == sha256:
                os.utime(path)
                return payload
            path.unlink()
        return None

    def add(self, sha256: str, payload: bytes) -> None:
        """Keep a model.

        Raises:
            ProtocolError: it is not the one of that hash.
            EnvironmentFault: it cannot be written.
        """
        if hashlib.sha256(payload).hexdigest() != sha256:
            raise ProtocolError(f"a model of {len(payload)} bytes arrived damaged: it does not have the hash told.")
        write_atomic(self._path(sha256), payload)
        self._make_room(keep=self._path(sha256))

    def _path(self, sha256: str) -> Path:
        return self._folder / f"{sha256}.onnx"

    def _make_room(self, keep: Path) -> None:
        # Another agent may remove some at the same time.
        with contextlib.suppress(OSError):
            files = {path: path.stat() for path in self._folder.glob("*.onnx")}
            surplus = sum(stat.st_size for stat in files.values()) - self._most_bytes
            for path, stat in sorted(files.items(), key=lambda item: item[1].st_mtime_ns):
                if surplus <= 0:
                    return
                if path != keep:
                    path.unlink()
                    surplus -= stat.st_size
