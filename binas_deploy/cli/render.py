"""What people see: progress on stderr (a bar with an ETA on a terminal, lines elsewhere) and aligned tables."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TextIO

from binas_deploy.progress import SILENT, Advance, Progress

if TYPE_CHECKING:
    from rich.progress import Progress as RichBar

_LINE_EVERY_S: Final = 10.0
_DAY_S: Final = 86_400


def make_progress(*, quiet: bool, stream: TextIO | None = None) -> Progress:
    """The `Progress` that suits ``stream`` (default: stderr)."""
    if quiet:
        return SILENT
    target = stream or sys.stderr
    return TerminalProgress(target) if target.isatty() else LineProgress(target)


class TerminalProgress:
    """Bars with an ETA, one for each task under way; gone when the last task ends."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console

        self._console = Console(file=stream, highlight=False, markup=False, emoji=False)
        self._bar: RichBar | None = None

    @contextmanager
    def task(self, label: str, total: int) -> Iterator[Advance]:
        """Show a bar of ``total`` steps."""
        outermost = self._bar is None
        bar = self._bar = self._bar or self._start()
        row = bar.add_task(label, total=total)
        try:
            yield lambda steps: bar.advance(row, steps)
        finally:
            bar.remove_task(row)
            if outermost:
                bar.stop()
                self._bar = None

    def note(self, text: str) -> None:
        """Print a line above the bars."""
        self._console.print(text, soft_wrap=True)

    def _start(self) -> RichBar:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("left"),
            TimeRemainingColumn(compact=True),
        )
        bar = Bar(*columns, console=self._console, transient=True)
        bar.start()
        return bar


class LineProgress:
    """For logs: a line when a task has run for ten seconds, every ten seconds after that, and at its end."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock

    @contextmanager
    def task(self, label: str, total: int) -> Iterator[Advance]:
        """Count ``total`` steps."""
        started = last = self._clock()
        done = 0

        def advance(steps: int) -> None:
            nonlocal done, last
            done += steps
            now = self._clock()
            if now - last >= _LINE_EVERY_S:
                last = now
                self.note(f"{label}: {done}/{total}, {_left(now - started, done, total)} left")

        yield advance
        self.note(f"{label}: {done}/{total} in {duration(self._clock() - started)}")

    def note(self, text: str) -> None:
        """Write a line."""
        self._stream.write(text + "\n")
        self._stream.flush()


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Aligned columns as plain text: whole in a pipe, never cut to the width of a terminal."""
    cells = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in cells)


def facts(rows: Sequence[tuple[str, object]]) -> str:
    """``label   value`` lines, aligned."""
    width = max(len(label) for label, _ in rows)
    return "\n".join(f"{label:<{width}}  {value}" for label, value in rows)


def duration(seconds: float) -> str:
    """``47 s``, ``3 min 10 s``, ``2 h 5 min`` or, from two days on, ``12 days``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 2 * _DAY_S:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // _DAY_S} days"


def _left(elapsed: float, done: int, total: int) -> str:
    return duration(elapsed * (total - done) / done) if done else "unknown time"
