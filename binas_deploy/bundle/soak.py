"""A sustained run: latency over time, and whether the end is slower than the beginning.

The run is cut into windows, each with the median of its calls. The windows of the first tenth are compared with those
of the last: by how much these are slower is the median of all pairwise differences of logarithms (Hodges and Lehmann
1963, Annals of Mathematical Statistics 34:598), with the 95 % interval between order statistics of the same differences
(Hollander and Wolfe, Nonparametric Statistical Methods, section 4.3). When it changed is where two constants, one
before and one after, fit the windows best by least squares.

A host that others use changes its speed by itself: what warms up shows in clock, temperature and throttle count, where
those can be read.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from math import ceil, floor, sqrt
from typing import Annotated, Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from binas_deploy.bundle.verification_parts import Verdict
from binas_deploy.errors import InputError

NOTICEABLE: Final = 0.02
"""A change that is worth a word."""
_TENTH: Final = 0.1
_LEAST_WINDOWS: Final = 4
"""In a tenth, for a 95 % interval of the shift between two of them."""
_NORMAL_95: Final = 1.959964

_Nanoseconds = Annotated[int, Field(ge=1, le=10**18)]
_Moment = Annotated[int, Field(ge=0, le=10**18)]


@dataclass(frozen=True)
class Reading:
    """What the host said at ``at_ns`` from the start; None where it does not say."""

    at_ns: int
    clock_mhz: float | None = None
    temperature_c: float | None = None
    throttle_count: float | None = None


@dataclass(frozen=True)
class Soak:
    """``windows``: (start in ns from the beginning, median latency in ns), in order.

    ``first_ns`` and ``last_ns``: the statistic that the budget is about, of the calls in the first and last tenth;
    ``seconds``: how long it was to last.

    Raises:
        InputError: no windows, or not in order.
    """

    seconds: float
    calls: int
    windows: tuple[tuple[int, int], ...]
    first_ns: int
    last_ns: int
    budget_ns: int
    readings: tuple[Reading, ...] = ()

    def __post_init__(self) -> None:
        starts = [start for start, _ in self.windows]
        if not starts or starts != sorted(set(starts)):
            raise InputError("a sustained run needs windows in the order of time.")

    @cached_property
    def change(self) -> tuple[float, float, float] | None:
        """(value, low, high): by what share the end is slower than the beginning; None where it was too short."""
        size = ceil(_TENTH * len(self.windows))
        if size < _LEAST_WINDOWS:
            return None
        shifts = np.sort((self._logs[-size:, None] - self._logs[None, :size]).ravel())
        place = floor(size * size / 2 - _NORMAL_95 * sqrt(size * size * (2 * size + 1) / 12))
        found = (float(np.median(shifts)), float(shifts[place - 1]), float(shifts[-place]))
        value, low, high = (round(float(np.expm1(shift)), 6) for shift in found)
        return value, low, high

    @property
    def slows(self) -> bool:
        """Whether the end is surely slower, and noticeably."""
        return self.change is not None and self.change[1] > 0 and self.change[0] >= NOTICEABLE

    @property
    def changed_at_s(self) -> float:
        """When it changed most, in seconds from the beginning."""
        x, n = self._logs, len(self._logs)
        if n < 2:
            return 0.0
        before = np.arange(1, n)
        sums = np.cumsum(x)
        fitted = sums[:-1] ** 2 / before + (sums[-1] - sums[:-1]) ** 2 / (n - before)
        return round(self.windows[int(np.argmax(fitted)) + 1][0] / 1e9, 3)

    @property
    def text(self) -> str:
        """``steady``, ``slows by 12 % after 23 s``, or why that cannot be told."""
        if self.change is None:
            return f"{self.seconds:g} s were too few calls to tell how latency changes; soak for longer"
        value, low, high = self.change
        share = f"({100 * low:+.1f} to {100 * high:+.1f} %, 95 %)"
        if self.slows:
            return f"slows by {100 * value:.1f} % {share} after {self.changed_at_s:.0f} s"
        if high < 0 and value <= -NOTICEABLE:
            return f"gets faster by {-100 * value:.1f} % {share} after {self.changed_at_s:.0f} s"
        if max(-low, high) < 2 * NOTICEABLE:
            return f"steady: {100 * value:+.1f} % {share} from its first tenth to its last"
        return f"too restless to tell: {100 * value:+.1f} % {share} from its first tenth to its last"

    @property
    def verdict(self) -> Verdict:
        """Whether the budget holds to the end: a run that slows beyond it fails."""
        if self.last_ns <= self.budget_ns:
            return Verdict.PASS
        return Verdict.FAIL if self.slows else Verdict.INCONCLUSIVE

    @property
    def reason(self) -> str:
        """Why not, empty when it passes."""
        if self.verdict is Verdict.PASS:
            return ""
        found, budget = f"{self.last_ns / 1e6:.4f} ms", f"{self.budget_ns / 1e6:.4f} ms"
        return f"sustained: {found} in the last tenth of {self.seconds:g} s is over the budget of {budget}: {self.text}"

    @property
    def host(self) -> str:
        """What the host said at the beginning and at the end; empty where it says nothing."""
        named = (
            ("clock", "clock_mhz", "MHz"),
            ("temperature", "temperature_c", "°C"),
            ("throttled", "throttle_count", "x"),
        )
        said = []
        for name, key, unit in named:
            values = [value for reading in self.readings if (value := getattr(reading, key)) is not None]
            if len(values) > 1:
                said.append(f"{name} {values[0]:.0f} to {values[-1]:.0f} {unit}")
        return ", ".join(said)

    @cached_property
    def _logs(self) -> NDArray[np.float64]:
        return np.log(np.array([median for _, median in self.windows], dtype=np.float64))

    def to_json(self) -> dict[str, Any]:
        """The document form, with what is derived."""
        return {
            "verdict": self.verdict.value,
            "text": self.text,
            "seconds": float(self.seconds),
            "calls": self.calls,
            "budget": self.budget_ns,
            "first": self.first_ns,
            "last": self.last_ns,
            "change": list(self.change) if self.change else None,
            "changed_at_s": self.changed_at_s,
            "windows": [list(window) for window in self.windows],
            "readings": [asdict(reading) for reading in self.readings],
        }


class _Reading(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    at_ns: _Moment
    clock_mhz: float | None
    temperature_c: float | None
    throttle_count: float | None


class SoakDocument(BaseModel):
    """The document form."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    verdict: str
    text: str
    seconds: Annotated[float, Field(gt=0, le=7 * 86_400)]
    calls: Annotated[int, Field(ge=1)]
    budget: _Nanoseconds
    first: _Nanoseconds
    last: _Nanoseconds
    change: list[float] | None
    changed_at_s: float
    windows: Annotated[list[Annotated[list[_Moment], Field(min_length=2, max_length=2)]], Field(min_length=1)]
    readings: list[_Reading]

    def soak(self) -> Soak:
        """The value itself."""
        return Soak(
            seconds=self.seconds,
            calls=self.calls,
            windows=tuple((start, median) for start, median in self.windows),
            first_ns=self.first,
            last_ns=self.last,
            budget_ns=self.budget,
            readings=tuple(Reading(**reading.model_dump()) for reading in self.readings),
        )
