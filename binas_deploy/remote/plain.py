"""Text that another machine sent, as it may be shown on a terminal here."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import AfterValidator

_MOST_TEXT: Final = 2000


def plain(text: str) -> str:
    """Without control characters, which could change what is on the terminal, and cut short."""
    shown = "".join(char if char.isprintable() or char == "\n" else " " for char in text)
    return shown if len(shown) <= _MOST_TEXT else f"{shown[:_MOST_TEXT]}..."


PlainText = Annotated[str, AfterValidator(plain)]
"""Of a message."""
