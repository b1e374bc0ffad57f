from __future__ import annotations

import io
from collections.abc import Callable

import pytest

from binas_deploy.cli.render import LineProgress, TerminalProgress, duration, facts, make_progress, table
from binas_deploy.progress import SILENT


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def clock(*times: float) -> Callable[[], float]:
    return iter(times).__next__


def test_the_stream_decides_the_kind() -> None:
    assert make_progress(quiet=True, stream=Terminal()) is SILENT
    assert isinstance(make_progress(quiet=False, stream=Terminal()), TerminalProgress)
    assert isinstance(make_progress(quiet=False, stream=io.StringIO()), LineProgress)


def test_a_log_gets_a_line_every_ten_seconds_and_one_at_the_end() -> None:
    stream = io.StringIO()
    progress = LineProgress(stream, clock(0, 4, 12, 15, 30, 31))
    with progress.task("measuring", 40) as advance:
        for _ in range(4):
            advance(10)
    assert stream.getvalue().splitlines() == [
        "measuring: 20/40, 12 s left",
        "measuring: 40/40, 0 s left",
        "measuring: 40/40 in 31 s",
    ]


def test_a_task_that_fails_does_not_claim_its_end() -> None:
    stream = io.StringIO()
    with pytest.raises(KeyboardInterrupt), LineProgress(stream).task("measuring", 4):
        raise KeyboardInterrupt
    assert stream.getvalue() == ""


def test_a_terminal_gets_bars_that_nest_and_notes_as_they_are() -> None:
    stream = Terminal()
    progress = TerminalProgress(stream)
    with progress.task("outer [1]", 2) as outer:
        with progress.task("inner", 3) as inner:
            inner(3)
        progress.note("kept as [bold]notes[/bold].json :smile:")
        outer(2)
    assert "outer [1]" in stream.getvalue()
    assert "kept as [bold]notes[/bold].json :smile:" in stream.getvalue()
    with progress.task("again", 1) as again:
        again(1)
    assert "again" in stream.getvalue()


def test_tables_align_and_end_without_spaces() -> None:
    assert table(("name", "n"), [("a", 1), ("long name", 20)]) == "name       n\na          1\nlong name  20"


def test_facts_align() -> None:
    assert facts([("a", 1), ("long", "x")]) == "a     1\nlong  x"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (190, "3 min 10 s"),
        (7500, "2 h 5 min"),
        (172_799, "47 h 59 min"),
        (1.1e6, "12 days"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
