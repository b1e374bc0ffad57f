"""What torch keeps for the whole process or thread, lent to one device at a time and given back.

Settings such as the precision of products hold for the process, the number of threads for the thread that sets it (and
for those begun later), and torch.compile is not made for several threads. So whoever is in torch holds one lock.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from binas_deploy.adapters.torch.place import Place


class _Threads(threading.local):
    """``before``: the calling thread's number before `sampling` changed it; None where it has not."""

    before: int | None = None


@dataclass
class _Open:
    """How many programs are, and whether any was compiled since there were none."""

    count: int = 0
    compiled: bool = False


_LOCK = threading.RLock()
_threads = _Threads()
_open = _Open()


@contextmanager
def alone() -> Iterator[None]:
    """Alone in torch: what it makes and loads goes through state of the whole process."""
    with _LOCK:
        yield


@contextmanager
def working(place: Place, threads: int) -> Iterator[None]:
    """Alone in torch, inferring, with so many threads and the place's settings; all is as it was afterwards."""
    with _LOCK:
        found = torch.get_num_threads()
        _use(threads)
        try:
            with place.settings(), torch.inference_mode():
                yield
        finally:
            _use(found)


@contextmanager
def sampling(place: Place, threads: int) -> Iterator[None]:
    """As `working`, but the number of threads stays until no program is open.

    oneDNN forgets what it prepared when the number changes, so that the first call after is slower (by a third where it
    was measured); were it changed for each block of samples, every sample of a camera's rhythm would be a first call.
    """
    with _LOCK:
        if torch.get_num_threads() != threads and _threads.before is None:
            _threads.before = torch.get_num_threads()
        _use(threads)
        with place.settings(), torch.inference_mode():
            yield


@contextmanager
def program_open(place: Place, *, compiled: bool) -> Iterator[None]:
    """One program is open meanwhile; after the last one, what torch keeps of them all is freed.

    Not after each: torch forgets everything that it compiled or nothing, and would compile the rest once more while
    they are timed.
    """
    with _LOCK:
        _open.count += 1
        _open.compiled |= compiled
    try:
        yield
    finally:
        with _LOCK:
            _open.count -= 1
            if not _open.count:
                _release(place)


def _release(place: Place) -> None:
    if _open.compiled:
        from torch._inductor.async_compile import shutdown_compile_workers

        torch.compiler.reset()
        shutdown_compile_workers()  # processes that would stay until this one ends
        gc.collect()
    _open.compiled = False
    if _threads.before is not None:
        _use(_threads.before)
        _threads.before = None
    place.release()


def _use(threads: int) -> None:
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
