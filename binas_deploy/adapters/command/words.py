"""Commands as lists of words with placeholders.

A placeholder such as ``{model}`` is filled in word by word, so a value is never split, joined or read again.
``{{model}}`` stands for the text ``{model}``; braces around anything but a plain name are themselves.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from binas_deploy.errors import InputError

_FIELD: Final = re.compile(r"\{(\{\w+\})\}|\{(\w+)\}")


@dataclass(frozen=True)
class Words:
    """A program and its arguments, as ``option`` of a device's file has them.

    Raises:
        InputError: no program, a character that no program can be given, or a placeholder that is not of ``known``.
    """

    option: str
    words: tuple[str, ...]
    known: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.words or not self.words[0] or self.words[0].startswith("-"):
            raise InputError(f"options.{self.option}: the first word is the program, found {list(self.words[:1])}.")
        if any("\0" in word for word in self.words):
            raise InputError(f"options.{self.option}: a word holds a NUL character.")
        unknown = sorted(self._used - set(self.known))
        if unknown:
            raise InputError(
                f"options.{self.option}: {{{unknown[0]}}} is not known here. Known: {_braced(self.known)}; write "
                f"{{{{{unknown[0]}}}}} for the text itself."
            )

    def uses(self, name: str) -> bool:
        """Whether the placeholder stands in any of the words."""
        return name in self._used

    def filled(self, values: Mapping[str, str]) -> list[str]:
        """The words with the values in their places."""
        return [_FIELD.sub(lambda found: found[1] or values[found[2]], word) for word in self.words]

    @property
    def text(self) -> str:
        """The command as one would type it."""
        return shlex.join(self.words)

    @property
    def _used(self) -> set[str]:
        return {found[2] for word in self.words for found in _FIELD.finditer(word) if found[2]}


def require_any(words: Words, names: Sequence[str]) -> None:
    """Refuse a command that uses none of ``names``.

    Raises:
        InputError: it does not.
    """
    if not any(words.uses(name) for name in names):
        raise InputError(f"options.{words.option}: it uses none of {_braced(names)}, so it cannot do what it is for.")


def _braced(names: Collection[str]) -> str:
    return ", ".join(f"{{{name}}}" for name in names)
