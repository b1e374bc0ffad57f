"""`Measurement`: raw latency samples in integer nanoseconds. Every statistic is derived, none is stored alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from binas_deploy.documents import validation_message
from binas_deploy.errors import DocumentError, InputError, NotMeasuredError

SAMPLES_KEPT: Final = 256
"""How many samples of one measurement a document keeps."""
_LONGEST_NS: Final = 10**18

_Positive = Annotated[int, Field(ge=1, le=_LONGEST_NS)]
_Index = Annotated[int, Field(ge=0, le=10**9)]


class MeasurementDocument(BaseModel):
    """The document form: ``runs`` is run-length coded, pairs (measuring-run id, how many samples in a row).

    ``steady_ns``: the location with the host's ups and downs divided out, and the ends of its 95 % interval if known.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    samples_ns: Annotated[list[Annotated[int, Field(ge=1, le=_LONGEST_NS)]], Field(min_length=1)]
    runs: Annotated[list[Annotated[list[_Index], Field(min_length=2, max_length=2)]], Field(min_length=1)]
    total: Annotated[int, Field(ge=1, le=_LONGEST_NS)]
    steady_ns: Annotated[list[_Positive], Field(min_length=1, max_length=3)] | None = None

    @model_validator(mode="after")
    def _fit_together(self) -> MeasurementDocument:
        covered, kept = sum(count for _, count in self.runs), len(self.samples_ns)
        if covered != kept:
            raise ValueError(f"runs cover {covered} samples, samples_ns has {kept}")
        if self.total < kept:
            raise ValueError(f"total {self.total} is less than the {kept} samples that are there")
        if self.steady_ns is not None and not _holds_its_value(self.steady_ns):
            raise ValueError(f"steady_ns {self.steady_ns} is not a value alone or within the ends of its interval")
        return self


@dataclass(frozen=True)
class Steady:
    """Where a subject lies, the host's ups and downs divided out (`steady`): ns, and its 95 % interval if known.

    Raises:
        InputError: not positive, or an interval that does not hold the value.
    """

    ns: int
    low: int | None = None
    high: int | None = None

    def __post_init__(self) -> None:
        low, high = (self.ns if end is None else end for end in (self.low, self.high))
        if not 1 <= low <= self.ns <= high or (self.low is None) != (self.high is None):
            raise InputError(f"a steady latency of {self.ns} ns between {self.low} and {self.high} cannot be.")

    def to_json(self) -> list[int]:
        """The document form: the value, and the ends of the interval where they are known."""
        return [self.ns] if self.low is None or self.high is None else [self.ns, self.low, self.high]


@dataclass(frozen=True, eq=False)
class Measurement:
    """``samples_ns``: (n,) int64 in the order taken; ``runs``: (n,) id of the measuring run of each sample.

    ``total`` is how many samples were taken, more than n after `thinned` (0 here means n). The arrays are
    copied and made read-only.

    Raises:
        InputError: no samples, not integers, not positive, or shapes that do not fit.
    """

    samples_ns: NDArray[np.int64]
    runs: NDArray[np.int64]
    total: int = 0
    steady: Steady | None = None

    def __post_init__(self) -> None:
        samples = _integers(self.samples_ns, "samples_ns", least=1)
        runs = _integers(self.runs, "runs", least=0)
        if samples.shape != runs.shape:
            raise InputError(f"runs: {runs.size} entries for {samples.size} samples; give one for each.")
        total = self.total or samples.size
        if total < samples.size:
            raise InputError(f"total: {total} is less than the {samples.size} samples that are there.")
        for name, value in (("samples_ns", samples), ("runs", runs), ("total", total)):
            object.__setattr__(self, name, value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Measurement):
            return NotImplemented
        same = np.array_equal(self.samples_ns, other.samples_ns) and np.array_equal(self.runs, other.runs)
        return same and (self.total, self.steady) == (other.total, other.steady)

    def __len__(self) -> int:
        return int(self.samples_ns.size)

    def quantile(self, q: float) -> float:
        """The q-quantile in ns, linear between neighbouring order statistics.

        Raises:
            InputError: ``q`` outside [0, 1].
        """
        if not 0 <= q <= 1:
            raise InputError(f"a quantile lies between 0 and 1, not at {q}.")
        place = q * (len(self) - 1)
        below = math.floor(place)
        low, high = self._sorted[below], self._sorted[min(below + 1, len(self) - 1)]
        return float(low) + float(high - low) * (place - below)

    @cached_property
    def location(self) -> float:
        """Where the measurement lies, for comparing subjects: steady where that is known, else the median, in ns."""
        return float(self.steady.ns) if self.steady else self.median

    @property
    def location_interval(self) -> tuple[int, int] | None:
        """95 % interval of the location in ns; None where it is not known."""
        if self.steady is None:
            return self.known_interval(0.5)
        return None if self.steady.low is None or self.steady.high is None else (self.steady.low, self.steady.high)

    @property
    def median(self) -> float:
        """The 50 % quantile in ns."""
        return self.quantile(0.5)

    @property
    def p90(self) -> float:
        """The 90 % quantile in ns."""
        return self.quantile(0.9)

    @property
    def p95(self) -> float:
        """The 95 % quantile in ns."""
        return self.quantile(0.95)

    @property
    def p99(self) -> float:
        """The 99 % quantile in ns."""
        return self.quantile(0.99)

    def interval(self, q: float, confidence: float = 0.95) -> tuple[int, int]:
        """A two-sided interval for the q-quantile in ns: two order statistics, equal tails, no distribution assumed.

        With K ~ Binomial(n, q) the l-th smallest sample exceeds the quantile with probability P(K < l), the
        u-th falls short of it with P(K >= u); l is the largest and u the smallest with both at most
        (1 - confidence) / 2. Samples are taken as independent; the kept ones count, not ``total``.

        Raises:
            NotMeasuredError: too few samples for such an interval; the message says how many it takes.
            InputError: ``q`` or ``confidence`` outside (0, 1).
        """
        needed = samples_needed(q, confidence)
        n, tail = len(self), (1 - confidence) / 2
        if n < needed:
            raise NotMeasuredError(
                f"a two-sided {100 * confidence:g} % interval for the {100 * q:g} % quantile needs {needed} samples, "
                f"there are {n}. Measure more, or ask for a smaller confidence."
            )
        below = np.concatenate([[0.0], np.cumsum(_binomial(n, q))])  # below[k] = P(K < k)
        lower = int(np.searchsorted(below, tail, side="right")) - 1
        upper = int(np.searchsorted(below, 1 - tail, side="left"))
        return int(self._sorted[max(lower, 1) - 1]), int(self._sorted[min(upper, n) - 1])

    def known_interval(self, q: float, confidence: float = 0.95) -> tuple[int, int] | None:
        """`interval`, or None where there are too few samples for one."""
        return self.interval(q, confidence) if len(self) >= samples_needed(q, confidence) else None

    def thinned(self, keep: int = SAMPLES_KEPT) -> Measurement:
        """At most ``keep`` samples, evenly spread over the order taken; ``total`` stays.

        Raises:
            InputError: ``keep`` below 1.
        """
        if keep < 1:
            raise InputError(f"cannot thin to {keep} samples; keep at least 1.")
        if len(self) <= keep:
            return self
        chosen = (2 * np.arange(keep, dtype=np.int64) + 1) * len(self) // (2 * keep)
        return Measurement(self.samples_ns[chosen], self.runs[chosen], self.total, self.steady)

    def to_json(self) -> dict[str, Any]:
        """The document form, see `MeasurementDocument`."""
        runs = [[run, len(list(group))] for run, group in groupby(self.runs.tolist())]
        steady = {"steady_ns": self.steady.to_json()} if self.steady else {}
        return {"samples_ns": self.samples_ns.tolist(), "runs": runs, "total": self.total, **steady}

    @classmethod
    def from_json(cls, value: Any, path: Path = Path("measurement")) -> Measurement:
        """The inverse of `to_json`; ``path`` is named in errors.

        Raises:
            DocumentError: malformed; the message names field, value and what is allowed.
        """
        try:
            return cls.from_document(MeasurementDocument.model_validate(value))
        except ValidationError as error:
            raise DocumentError(validation_message(path, error)) from error

    @classmethod
    def from_document(cls, document: MeasurementDocument) -> Measurement:
        """From the validated document form."""
        ids, counts = np.array(document.runs, dtype=np.int64).T
        steady = Steady(*document.steady_ns) if document.steady_ns else None
        return cls(np.array(document.samples_ns, dtype=np.int64), np.repeat(ids, counts), document.total, steady)

    @cached_property
    def _sorted(self) -> NDArray[np.int64]:
        return np.sort(self.samples_ns)


def _holds_its_value(steady_ns: list[int]) -> bool:
    """[value], or [value, low, high] with the value between."""
    return len(steady_ns) == 1 or (len(steady_ns) == 3 and steady_ns[1] <= steady_ns[0] <= steady_ns[2])


def samples_needed(q: float, confidence: float = 0.95) -> int:
    """The fewest samples with a two-sided order-statistic interval for the q-quantile: 6 for the median at 95 %.

    The smallest n with max(q, 1 - q)^n <= (1 - confidence) / 2.

    Raises:
        InputError: ``q`` or ``confidence`` outside (0, 1).
    """
    if not (0 < q < 1 and 0 < confidence < 1):
        raise InputError(f"quantile {q} and confidence {confidence} must both lie strictly between 0 and 1.")
    extreme, tail = max(q, 1 - q), (1 - confidence) / 2
    return max(1, math.ceil(math.log(tail) / math.log(extreme)))


def _binomial(n: int, q: float) -> NDArray[np.float64]:
    """P(K = k) for k = 0..n, K ~ Binomial(n, q); by logarithms, so that large n does not underflow midway."""
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    k = np.arange(n + 1)
    powers: NDArray[np.float64] = np.exp(logs[n] - logs - logs[::-1] + k * math.log(q) + (n - k) * math.log1p(-q))
    return powers


def _integers(values: Any, name: str, least: int) -> NDArray[np.int64]:
    array = np.asarray(values)
    if array.ndim != 1 or array.size == 0:
        raise InputError(f"{name}: expected a non-empty row of integers, found shape {array.shape}.")
    if not np.issubdtype(array.dtype, np.integer):
        raise InputError(f"{name}: expected integers, found {array.dtype}.")
    if array.min() < least or array.max() > _LONGEST_NS:
        raise InputError(f"{name}: values lie from {least} to {_LONGEST_NS}, found {array.min()} to {array.max()}.")
    copy = array.astype(np.int64)
    copy.setflags(write=False)
    return copy
