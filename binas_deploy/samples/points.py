"""The rows of a sample file that are in use: latency against work, and one line through them that few rows can move."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from binas_deploy.samples.file import SampleRows
from binas_deploy.space import Architecture, SearchSpace

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
Mask = NDArray[np.bool_]

_GROUPS: Final = 400
_NEAR: Final = 1.5 * math.log(10)
_NORMAL_MAD: Final = 1.4826  # sd of a normal distribution over its median absolute deviation


@dataclass(frozen=True, eq=False)
class Points:
    """Rows in use, in file order: ``index`` (n,) of each in ``rows``, natural logs of its MACs and ns, (n,) each."""

    rows: SampleRows
    index: Indices
    archs: tuple[Architecture, ...]
    log_macs: Floats
    log_ns: Floats

    @classmethod
    def of(cls, space: SearchSpace, rows: SampleRows, index: Indices) -> Points:
        """The rows at ``index``; each holds a network of ``space`` and a positive latency."""
        macs: Callable[[Architecture], int] = cache(space.macs)
        archs = tuple(arch for i in index if (arch := rows.archs[i]) is not None)
        log_macs = np.log(np.array([macs(arch) for arch in archs], dtype=np.float64))
        return cls(rows, index, archs, log_macs, np.log(rows.latency_ns[index]))

    def __len__(self) -> int:
        return len(self.index)

    @property
    def latency_ns(self) -> Floats:
        """(n,) in ns, as read."""
        return self.rows.latency_ns[self.index]

    def keep(self, mask: Mask) -> Points:
        """Those where ``mask`` (n,) holds."""
        archs = tuple(arch for arch, kept in zip(self.archs, mask, strict=True) if kept)
        return replace(
            self, index=self.index[mask], archs=archs, log_macs=self.log_macs[mask], log_ns=self.log_ns[mask]
        )

    def lines(self, mask: Mask) -> tuple[int, ...]:
        """Lines of the file where ``mask`` (n,) holds, ascending."""
        return tuple(int(line) for line in self.rows.lines[self.index[mask]])


@dataclass(frozen=True)
class Line:
    """``log_ns = intercept + slope * log_macs``."""

    slope: float
    intercept: float

    def residuals(self, points: Points) -> Floats:
        """(n,): natural log of measured over expected."""
        return np.asarray(points.log_ns - self.intercept - self.slope * points.log_macs)


def main_line(points: Points) -> Line:
    """The line through the rows within a factor of 30 of the median ns per MAC: other units stay out of it."""
    ratio = points.log_ns - points.log_macs
    centre = np.quantile(ratio, 0.5, method="lower")  # a row's own, so that two equal camps do not meet midway
    near = np.abs(ratio - centre) < _NEAR
    return robust_line(points.log_macs[near], points.log_ns[near])


def robust_line(x: Floats, y: Floats) -> Line:
    """The median of all pairwise slopes, and the median intercept (Theil 1950; Sen 1968, JASA 63:1379).

    Of more than 400 points, the medians of 400 equal groups along x stand for them. The order does not matter.
    """
    groups = np.array_split(np.lexsort((y, x)), min(len(x), _GROUPS))
    middle_x, middle_y = (np.array([np.median(values[group]) for group in groups]) for values in (x, y))
    left, right = np.triu_indices(len(groups), 1)
    run, rise = middle_x[right] - middle_x[left], middle_y[right] - middle_y[left]
    apart = run > 1e-9
    slope = float(np.median(rise[apart] / run[apart])) if apart.any() else 0.0
    return Line(slope, float(np.median(y - slope * x)))


def robust_sd(residuals: Floats) -> float:
    """The sd of the bulk: 1.4826 times the median absolute deviation."""
    return _NORMAL_MAD * float(np.median(np.abs(residuals - np.median(residuals))))
