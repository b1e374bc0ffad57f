"""Drift: whether the device changed its speed while the samples were taken, as their order in the file shows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from binas_deploy.samples.finding import Finding
from binas_deploy.samples.points import Floats, Indices, Line, Points, robust_sd

_SIGNIFICANT: Final = 0.01
_TREND: Final = 0.02
_STRAY: Final = 0.005
_SHORTEST_RUN: Final = 3
_FEWEST: Final = 8
_BOUND: Final = 3.0
_WORK: Final = 2_000_000


@dataclass(frozen=True, eq=False)
class Series:
    """Visits in the order taken, run after run: ``run`` (n,) ascending; ``values``, ``log_macs`` (n,) about run means;
    ``time`` (n,) from -0.5 at the start of a run to 0.5 at its end.
    """

    run: NDArray[np.int64]
    time: Floats
    values: Floats
    log_macs: Floats

    @cached_property
    def neighbours(self) -> NDArray[np.bool_]:
        """(n - 1,) whether a visit and the next are of one run."""
        return np.asarray(self.run[1:] == self.run[:-1])


@dataclass(frozen=True)
class Shape:
    """How values go in time: lag-1 ``autocorrelation``, their rise over a run (``trend``); p-values by permutation."""

    autocorrelation: float
    autocorrelation_p: float
    trend: float
    trend_p: float


def drift_findings(points: Points, line: Line) -> tuple[Finding, ...]:
    """One if the residuals of neighbouring rows of a run go together, or rise or fall by over 2 % over a run.

    Both are tested against random orders of each run (one-sided and two-sided, p < .01). An autocorrelation whose
    common part is under 0.5 % (sqrt(r) times the sd) does no harm and is not told.
    """
    series = series_of(points, line.residuals(points))
    if len(series.run) < _FEWEST:
        return ()
    shape = shape_of(series.values, series)
    common = math.sqrt(max(shape.autocorrelation, 0.0)) * float(np.std(series.values))
    strays = shape.autocorrelation_p < _SIGNIFICANT and common > _STRAY
    trend = math.expm1(shape.trend)
    if not strays and not (shape.trend_p < _SIGNIFICANT and abs(trend) > _TREND):
        return ()
    found = (
        f"the speed changed while measuring: residuals in file order have a lag-1 autocorrelation of "
        f"{shape.autocorrelation:.2f} (p = {shape.autocorrelation_p:.2g}) and a trend of {100 * trend:+.1f} % "
        f"from start to end (p = {shape.trend_p:.2g}){_ordered_text(series)}"
    )
    advice = "kept; measure in random order, interleaved in rounds, with one network repeated throughout as the anchor"
    return (Finding("drift", (), found, advice),)


def _ordered_text(series: Series) -> str:
    """A file that is sorted by its networks shows the misfit of the line as if it were drift."""
    if shape_of(series.log_macs, series).autocorrelation_p >= _SIGNIFICANT:
        return ""
    return ", but the file is also ordered by the size of its networks, which may be the reason"


def series_of(points: Points, residuals: Floats) -> Series:
    """Residuals by run, in file order; rows of one network that follow each other are one visit; tiny runs left out."""
    names = [points.rows.runs[i] for i in points.index]
    ids = {name: number for number, name in enumerate(dict.fromkeys(names))}
    order = np.argsort([ids[name] for name in names], kind="stable")
    starts = _visits(points, [names[i] for i in order], order)
    run = np.array([ids[names[i]] for i in order[starts]], dtype=np.int64)
    lengths = np.bincount(run, minlength=len(ids))
    long = lengths[run] >= _SHORTEST_RUN
    run = run[long]
    values, log_macs = (_visit_means(x[order], starts)[long] for x in (residuals, points.log_macs))
    time = np.concatenate([np.linspace(-0.5, 0.5, n) for n in lengths if n >= _SHORTEST_RUN] or [np.zeros(0)])
    return Series(run, time, _about_run_means(values, run), _about_run_means(log_macs, run))


def _visits(points: Points, names: list[str], order: Indices) -> Indices:
    """Where, in ``order``, another network or another run begins."""
    pairs = [(name, points.archs[i]) for name, i in zip(names, order, strict=True)]
    return np.flatnonzero([place == 0 or pair != pairs[place - 1] for place, pair in enumerate(pairs)])


def _visit_means(values: Floats, starts: Indices) -> Floats:
    means: Floats = np.add.reduceat(values, starts) / np.diff(np.append(starts, len(values)))
    return means


def _about_run_means(values: Floats, run: NDArray[np.int64]) -> Floats:
    counts = np.maximum(np.bincount(run), 1)
    return np.asarray(values - (np.bincount(run, weights=values) / counts)[run])


def shape_of(values: Floats, series: Series) -> Shape:
    """Autocorrelation and trend of ``values`` (n,), which lie about run means; p-values from `_p_values`."""
    autocorrelation, trend = _statistics(values, series)
    autocorrelation_p, trend_p = _p_values(values, series)
    return Shape(autocorrelation, autocorrelation_p, trend, trend_p)


def _p_values(values: Floats, series: Series) -> tuple[float, float]:
    """Of autocorrelation (one-sided) and trend (two-sided), against random orders within each run.

    Values are bounded to 3 robust sd first: a single wild row must not pass for drift, wherever it stands. There are
    999 orders (fixed seed), fewer but at least 199 for long files.
    """
    middle, reach = float(np.median(values)), _BOUND * robust_sd(values)
    bounded = _about_run_means(np.clip(values, middle - reach, middle + reach), series.run)
    seen = _statistics(bounded, series)
    rng, count = np.random.default_rng(0), max(199, min(999, _WORK // len(values)))
    extreme = np.ones(2)
    for _ in range(count):
        other = _statistics(bounded[np.argsort(series.run + rng.random(len(values)))], series)
        extreme += (other[0] >= seen[0], abs(other[1]) >= abs(seen[1]))
    return float(extreme[0]) / (count + 1), float(extreme[1]) / (count + 1)


def _statistics(values: Floats, series: Series) -> tuple[float, float]:
    """(lag-1 autocorrelation within runs, least-squares rise over a run)."""
    power, time = float(values @ values), series.time
    together = float((values[1:] * values[:-1])[series.neighbours].sum())
    return (together / power if power else 0.0), float(time @ values) / float(time @ time)
