"""One process at a time: the others wait, and say so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from binas_deploy.documents import writing
from binas_deploy.errors import EnvironmentFault
from binas_deploy.progress import SILENT, Progress

_SECONDS: Final = 3600.0


@contextmanager
def alone(lock: Path, doing: str, progress: Progress = SILENT, *, seconds: float = _SECONDS) -> Iterator[None]:
    """Hold the file ``lock`` while inside; the operating system frees it if the process is killed.

    Raises:
        EnvironmentFault: the lock cannot be made, or another process holds it for over ``seconds``.
    """
    with writing(lock):
        lock.parent.mkdir(parents=True, exist_ok=True)
    holder = FileLock(lock)
    if not _taken(holder, lock, 0):
        progress.note(f"Another process is {doing}; waiting for it.")
        if not _taken(holder, lock, seconds):
            raise EnvironmentFault(
                f"{lock} has been held by another process, {doing}, for {seconds:.0f} s. "
                "End that process and run the same command again."
            )
    try:
        yield
    finally:
        holder.release()


def _taken(holder: FileLock, lock: Path, seconds: float) -> bool:
    with writing(lock):
        try:
            holder.acquire(timeout=seconds)
        except Timeout:
            return False
    return True
