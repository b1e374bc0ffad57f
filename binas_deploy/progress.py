"""How long work reports itself. The command line gives a bar with an ETA; a library caller may give nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Advance = Callable[[int], None]


class Progress(Protocol):
    """A place for progress and notes to go."""

    def task(self, label: str, total: int) -> AbstractContextManager[Advance]:
        """A piece of work of ``total`` steps; the function given says how many more are done."""
        ...

    def note(self, text: str) -> None:
        """One line that a person should see."""
        ...


class Silent:
    """A `Progress` that says nothing."""

    @contextmanager
    def task(self, label: str, total: int) -> Iterator[Advance]:
        """Ignore everything."""
        yield lambda _: None

    def note(self, text: str) -> None:
        """Ignore it."""


SILENT = Silent()
