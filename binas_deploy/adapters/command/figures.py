"""Latencies as commands print them: one number a line, JSON, or whatever a regular expression finds."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from binas_deploy.documents import shown
from binas_deploy.errors import DeviceError

UNITS_NS: Final = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9}
LEAST_NS: Final = 100
"""No device runs a network in less: the unit is wrong."""
MOST_NS: Final = 3_600 * 10**9
MOST_PER_SECOND: Final = 10.0
"""Seconds of latency for each second that the command took: more, even with calls side by side, is a wrong unit."""
_CHECK_UNIT: Final = "Is 'unit' in the device's file the unit that it prints?"


@dataclass(frozen=True)
class Reading:
    """How to read latencies: ``layout`` is 'lines', 'json' (with a dotted ``key``) or 'regex' (with a ``pattern``)."""

    layout: str
    unit: str
    key: str = ""
    pattern: str = ""

    def latencies(self, text: str, name: str) -> NDArray[np.int64]:
        """All latencies in ``text`` in ns, shape (n,); ``name`` is what printed it.

        Raises:
            DeviceError: there are none, or one cannot be; the message shows it.
        """
        read = {"lines": _lines, "json": _json, "regex": _matches}[self.layout]
        try:
            values = read(text, self)
        except ValueError as error:
            raise DeviceError(f"{name}: {error}") from error
        if not values:
            raise DeviceError(f"{name} printed no latency{_beginning(text)}")
        named = [(value, f"{name}: latency {at} of {len(values)}") for at, value in enumerate(values, 1)]
        return np.array([self._ns(value, which) for value, which in named], dtype=np.int64)

    def _ns(self, value: float, which: str) -> int:
        if not math.isfinite(value) or value <= 0:
            raise DeviceError(f"{which} is {value:g} {self.unit}; latencies are positive and finite. {_CHECK_UNIT}")
        nanoseconds = value * UNITS_NS[self.unit]
        if not LEAST_NS <= nanoseconds <= MOST_NS:
            raise DeviceError(f"{which} is {value:g} {self.unit}, which no call of a network takes. {_CHECK_UNIT}")
        return round(nanoseconds)


def require_plausible(latencies: NDArray[np.int64], seconds: float, name: str) -> None:
    """Refuse latencies that add up to much more than the ``seconds`` that the command ``name`` took.

    Raises:
        DeviceError: they do.
    """
    total = float(latencies.sum()) / 1e9
    if total > MOST_PER_SECOND * seconds:
        raise DeviceError(
            f"{name}: its {len(latencies)} latencies add up to {total:.3g} s, it took {seconds:.3g} s. {_CHECK_UNIT}"
        )


def _lines(text: str, _reading: Reading) -> list[float]:
    return [_number(line, f"line {at}") for at, line in enumerate(text.splitlines(), 1) if line.strip()]


def _matches(text: str, reading: Reading) -> list[float]:
    found = re.findall(reading.pattern, text, flags=re.MULTILINE)
    return [_number(match, f"match {at} of the pattern") for at, match in enumerate(found, 1)]


def _json(text: str, reading: Reading) -> list[float]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it did not print JSON ({error}){_beginning(text)}") from error
    found = _picked(content, reading.key.split(".") if reading.key else [])
    return [_number(value, f"value {at}") for at, value in enumerate(found, 1)]


def _picked(value: Any, keys: Sequence[str]) -> list[Any]:
    """What stands under ``keys``, in every entry of the lists on the way."""
    if isinstance(value, list):
        return [found for entry in value for found in _picked(entry, keys)]
    if not keys:
        return [value]
    if not isinstance(value, dict) or keys[0] not in value:
        raise ValueError(f"its JSON has no {keys[0]!r} in {shown(value)}; 'key' says where latencies stand")
    return _picked(value[keys[0]], keys[1:])


def _number(value: Any, where: str) -> float:
    try:
        if isinstance(value, str | float | int) and not isinstance(value, bool):
            return float(value)
    except (ValueError, OverflowError):
        pass
    raise ValueError(f"{where} is no number: {shown(value)}")


def _beginning(text: str) -> str:
    words = " ".join(text.split())
    return f": {shown(words)}" if words else ", nor anything else."
