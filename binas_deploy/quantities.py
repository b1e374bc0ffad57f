"""Quantities with units in text: ``30ms``, ``2.5MB``, ``12mJ``, ``8M``. Bare numbers are refused, but for counts.

Times are integer nanoseconds, sizes integer bytes, energies integer nanojoules. A count is a number of things and has
no unit; k, M and G are powers of a thousand.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal, DecimalException
from typing import Final

from binas_deploy.errors import InputError

_UNITS: Final[dict[str, tuple[str, int]]] = {
    "ns": ("time", 1),
    "us": ("time", 10**3),
    "ms": ("time", 10**6),
    "s": ("time", 10**9),
    "B": ("size", 1),
    "kB": ("size", 10**3),
    "MB": ("size", 10**6),
    "GB": ("size", 10**9),
    "KiB": ("size", 2**10),
    "MiB": ("size", 2**20),
    "uJ": ("energy", 10**3),
    "mJ": ("energy", 10**6),
    "J": ("energy", 10**9),
    "": ("count", 1),
    "k": ("count", 10**3),
    "M": ("count", 10**6),
    "G": ("count", 10**9),
}
_EXACT: Final = {
    "time": (("s", 10**10, 9), ("ms", 10**5, 6), ("us", 10**3, 3), ("ns", 0, 0)),
    "size": (("GB", 10**9, 9), ("MB", 10**6, 6), ("kB", 10**3, 3), ("B", 0, 0)),
    "energy": (("J", 10**9, 9), ("mJ", 10**5, 6), ("uJ", 0, 3)),
    "count": (("G", 10**9, 9), ("M", 10**6, 6), ("k", 10**3, 3), ("", 0, 0)),
}
"""Of each kind, largest first: unit, from what amount it is used, and its decimal digits."""
_EXAMPLE: Final = {"time": "30ms", "size": "2MB", "energy": "5mJ", "count": "2M"}
_SMALLEST: Final = {"time": "1 ns", "size": "1 B", "energy": "1 nJ", "count": "1"}
_MAX_BASE_UNITS: Final = 10**18
_TEXT = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([A-Za-z\u00b5\u03bc]*)\s*")


@dataclass(frozen=True)
class Quantity:
    """A positive amount in base units: ns for time, bytes for size, nJ for energy, one for a count."""

    kind: str
    amount: int

    @property
    def text(self) -> str:
        """The exact amount, such as ``0.5ms``; fit for a file name. `parse_quantity` is the inverse."""
        unit, _, digits = next(row for row in _EXACT[self.kind] if self.amount >= row[1])
        return f"{Decimal(self.amount).scaleb(-digits).normalize():f}{unit}"

    def __str__(self) -> str:
        return format_quantity(self.amount, self.kind)


def parse_quantity(text: str, kind: str = "time") -> Quantity:
    """Read ``text`` as a positive quantity of ``kind`` ('time', 'size', 'energy' or 'count').

    Raises:
        InputError: no number, no unit where one is needed, unknown unit, another kind of unit, or out of range.
    """
    match = _TEXT.fullmatch(text)
    example = _EXAMPLE[kind]
    if match is None:
        raise InputError(f"{text!r} is not a quantity. Write a number and a unit, such as {example}.")
    number, unit = match.groups()
    if unit[:1] in ("\u00b5", "\u03bc"):  # the micro sign and the Greek letter
        unit = f"u{unit[1:]}"
    if not unit and kind != "count":
        choices = ", ".join(f"{number}{name}" for name in _names(kind))
        raise InputError(f"{text!r} has no unit. Write one of: {choices}.")
    if unit not in _UNITS or _UNITS[unit][0] != kind:
        raise InputError(f"{text!r}: unit {unit!r} is not a unit of {kind}. Use one of: {', '.join(_names(kind))}.")
    amount = _base_units(number, _UNITS[unit][1])
    if amount is None:
        largest = format_quantity(_MAX_BASE_UNITS, kind)
        raise InputError(f"{text!r} is out of range: a {kind} lies between {_SMALLEST[kind]} and {largest}.")
    return Quantity(kind, amount)


def format_quantity(amount: float, kind: str = "time") -> str:
    """The shortest readable text: ``format_quantity(503_200)`` is '0.503 ms'."""
    if kind == "time":
        return f"{amount / 1e6:.3f} ms" if abs(amount) < 10**10 else f"{amount / 1e9:.1f} s"
    if kind == "size":
        return f"{amount / 1e6:.2f} MB" if amount >= 10**5 else f"{amount:.0f} B"
    if kind == "count":
        return f"{amount / 1e6:.2f} M" if amount >= 10**5 else f"{amount:.0f}"
    unit, factor = energy_unit(amount)
    return f"{amount / factor:.3f} {unit}"


def energy_unit(amount: float) -> tuple[str, int]:
    """The unit that an energy in nJ reads best in, and how many nJ that is."""
    unit = "mJ" if amount >= 10**5 else "uJ"
    return unit, _UNITS[unit][1]


def _base_units(number: str, factor: int) -> int | None:
    try:
        base = Decimal(number) * factor
    except DecimalException:  # an exponent beyond what decimals hold
        return None
    return int(base.to_integral_value()) if 1 <= base <= _MAX_BASE_UNITS else None


def _names(kind: str) -> list[str]:
    return [name for name, (unit_kind, _) in _UNITS.items() if name and unit_kind == kind]
