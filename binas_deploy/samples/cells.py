"""Cells of a sample file: a network as text, and a latency with its unit (in the cell, the column's name, or given)."""

from __future__ import annotations

import json
import math
from functools import cache
from typing import Any, Final

from binas_deploy.block import parse_block_text
from binas_deploy.errors import InputError
from binas_deploy.quantities import parse_quantity
from binas_deploy.space import LONGEST_TEXT

UNITS: Final = ("ns", "us", "ms", "s")
_UNIT_LETTERS: Final = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ\u00b5\u03bc"


def states_a_network(text: str) -> bool:
    """Whether the text has the form of a network, of whatever space: lists of block strings, or depths and options."""
    if len(text) > LONGEST_TEXT:
        return False
    try:
        parsed = json.loads(text.replace("'", '"'))
    except (ValueError, RecursionError):
        return False
    if isinstance(parsed, dict):
        return isinstance(parsed.get("depths"), list) and isinstance(parsed.get("options"), list)
    return isinstance(parsed, list) and all(isinstance(row, list) and all(map(_is_block, row)) for row in parsed)


def _is_block(item: Any) -> bool:
    try:
        return isinstance(item, str) and bool(parse_block_text(item))
    except InputError:
        return False


@cache
def nanoseconds(unit: str) -> int:
    """How many ns one ``unit`` is.

    Raises:
        InputError: not a unit of time.
    """
    if not unit.isalpha():  # '0ms' would read as ten
        raise InputError(f"{unit!r} is not a unit of time. Use one of: {', '.join(UNITS)}.")
    return parse_quantity(f"1{unit}").amount


def read_latency(cell: str, unit: str, *, fixed: bool) -> tuple[float, str]:
    """(latency in ns, the unit it was written in) of one cell; NaN where there is no number, or no such unit.

    ``unit`` holds for a bare number, "" means that a cell must have its own; where it is ``fixed`` (by the column's
    name) a cell with another unit contradicts it and is not read. Zero and negative numbers are read as they are.

    Raises:
        InputError: a bare number, and no ``unit``.
    """
    text = cell.strip()
    number = text.rstrip(_UNIT_LETTERS).rstrip()
    value = _number(number)
    own = text[len(number) :].strip().replace("\u00b5", "u").replace("\u03bc", "u")
    if math.isnan(value) or (fixed and own not in ("", unit)):
        return math.nan, unit
    if not own and not unit:
        raise InputError(f"latency {text[:40]!r} has no unit")
    return _in_nanoseconds(value, own or unit), own or unit


def _number(text: str) -> float:
    """NaN for anything but a finite decimal number (Python's own reader would take 1_000 too)."""
    try:
        value = float(text) if "_" not in text else math.nan
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan


def _in_nanoseconds(value: float, unit: str) -> float:
    try:
        amount = value * nanoseconds(unit)
    except InputError:  # no such unit: the cell cannot be read, the others may
        return math.nan
    return amount if math.isfinite(amount) else math.nan
