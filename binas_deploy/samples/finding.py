"""`Finding`: what is wrong with some rows of a sample file, and what was done with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

Kind = Literal[
    "unreadable",
    "foreign",
    "non-positive",
    "mis-scaled",
    "outlier",
    "drift",
    "duplicate",
    "rounded",
    "non-monotone",
]

_LINES_NAMED: Final = 5


@dataclass(frozen=True)
class Finding:
    """``kind``; the ``lines`` that it concerns (none: all of the file); what was ``found`` and ``done``, in words."""

    kind: Kind
    lines: tuple[int, ...]
    found: str
    done: str

    @property
    def text(self) -> str:
        """One sentence; it names a few lines and says how many there are."""
        where = f" ({lines_text(self.lines)})" if self.lines else ""
        return f"{self.kind}: {self.found}{where}; {self.done}."

    def to_json(self) -> dict[str, Any]:
        """The document form, with every line."""
        return {"kind": self.kind, "lines": list(self.lines), "found": self.found, "done": self.done}


def lines_text(lines: Sequence[int]) -> str:
    """``line 7``, ``lines 7, 9 and 12``, or the first few and how many more there are."""
    named = [str(line) for line in lines[:_LINES_NAMED]]
    more = len(lines) - len(named)
    if more:
        return f"lines {', '.join(named)} and {more} more, {len(lines)} in all"
    if len(named) == 1:
        return f"line {named[0]}"
    return f"lines {', '.join(named[:-1])} and {named[-1]}"


def count_text(count: int, noun: str) -> str:
    """``1 row``, ``3 rows``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
