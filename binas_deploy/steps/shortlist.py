"""A shortlist: the best networks for budgets around the one asked, measured before one of them is chosen.

A table's predictions are off by some per cent, differently for each network: of those predicted near a budget some fit
and others do not. So they are measured together, in several fresh processes. What measuring tells of one is not taken
at its word: the one that looks best among several was partly lucky (the winner's curse). With e the share by which the
processes found a network off its prediction, what is common to all networks left out::

    e = d + noise,   d ~ N(0, p^2),   noise ~ N(0, m^2)
    expected latency = predicted * (1 + common + e * p^2 / (p^2 + m^2)),   sd^2 = p^2 m^2 / (p^2 + m^2)

p is what the table states of its own error, m what the processes disagree by about a network, and ``common`` how fast
the machine is now. The choice is then confirmed in processes of its own, by `verify`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Final

import numpy as np

from binas_deploy.bundle.certainty import settled, typical
from binas_deploy.columns import Floats
from binas_deploy.devices import DeviceSpec
from binas_deploy.errors import InfeasibleBudgetError, InputError
from binas_deploy.progress import SILENT, Progress
from binas_deploy.search_result import SearchResult
from binas_deploy.space import Architecture
from binas_deploy.steps.fresh import measured_in_fresh_process
from binas_deploy.table.margin import CONFIDENCE

LENGTH: Final = 12
SLOW_LENGTH: Final = 8
"""Where building a network takes seconds to minutes."""
PROCESSES: Final = 3
LIKELY: Final = 0.9
"""Probability, by what is known before it is verified, that a choice is within the budget."""
_TRIED: Final = 3
"""Budgets searched for each place on the list: neighbours often have the same best network."""
_ROUNDS: Final = 8
_SECONDS: Final = 3.0

Find = Callable[[int], SearchResult]


@dataclass(frozen=True)
class Candidate:
    """A network that may be deployed: ``expected_ns`` of the asked statistic, ``sd`` as a share of it."""

    result: SearchResult
    measured_ns: float
    expected_ns: float
    sd: float

    def bound_ns(self, probability: float) -> float:
        """Below it lies the latency with that probability."""
        return self.expected_ns * (1 + NormalDist().inv_cdf(probability) * self.sd)


def listed(find: Find, limit_ns: int, share: float, length: int = LENGTH) -> tuple[SearchResult, ...]:
    """At most ``length`` different best networks for budgets from ``share`` below ``limit_ns`` to ``share`` above it.

    ``find`` searches for a budget in ns. The network for ``limit_ns`` itself is among them.

    Raises:
        InfeasibleBudgetError: there is none within ``limit_ns``.
    """
    middle = find(limit_ns)
    steps = np.linspace(1 - share, 1 + share, _TRIED * length)
    found = {middle.architecture: middle}
    for budget in steps:
        try:
            result = find(round(limit_ns * budget))
        except InfeasibleBudgetError:
            continue
        found.setdefault(result.architecture, result)
    rows = sorted(found.values(), key=lambda row: row.latency.value)
    kept = {round(place) for place in np.linspace(0, len(rows) - 1, min(length, len(rows)))}
    return tuple(row for place, row in enumerate(rows) if place in kept or row is middle)


def unmeasured(result: SearchResult) -> Candidate:
    """The network of a search, taken at its prediction."""
    return Candidate(result, math.nan, result.latency.value, 0.0)


def measured(
    results: Sequence[SearchResult], spec: DeviceSpec, *, seed: int = 0, progress: Progress = SILENT
) -> list[tuple[float, ...]]:
    """Median latency in ns of each network, in each of `PROCESSES` fresh processes.

    Raises:
        DeviceError: the device failed.
    """
    usual = spec.timing_rule()
    timing = replace(usual, min_rounds=_ROUNDS, max_rounds=max(_ROUNDS, usual.max_rounds), max_seconds=_SECONDS)
    archs, found = [row.architecture for row in results], []
    with progress.task(f"measuring {len(archs)} candidates in {PROCESSES} fresh processes", PROCESSES) as advance:
        for process in range(PROCESSES):
            run = measured_in_fresh_process(results[0].space, spec, archs, timing, seed + process)
            found.append(run.latencies_ns)
            advance(1)
    return found


def weighed(
    results: Sequence[SearchResult], measured_ns: Sequence[Sequence[float]], factor: float = 1.0
) -> tuple[Candidate, ...]:
    """Candidates of ``results``, each measured once in each of several processes: ``measured_ns[process][network]``.

    ``factor``: from what is measured (the median) to the statistic that is predicted.

    Raises:
        InputError: no networks or processes, or latencies that are not positive.
    """
    found = np.array(measured_ns, dtype=np.float64) * factor
    if found.ndim != 2 or found.shape[1] != len(results) or found.size == 0 or found.min() <= 0:
        raise InputError(f"latencies of shape {found.shape} are not those of {len(results)} networks by process.")
    predicted = np.array([row.latency.value for row in results])
    off = found / predicted
    common = float(np.median(off.mean(axis=0)))
    prior = _prediction_sd(results[0])
    noise = _noise(off) / np.sqrt(len(found))
    weight = prior**2 / (prior**2 + noise**2)
    shares = common * (1 + weight * (off.mean(axis=0) / common - 1))
    sd = float(np.sqrt(weight) * noise)
    means = found.mean(axis=0)
    return tuple(
        Candidate(row, float(mean), float(share * value), sd)
        for row, mean, share, value in zip(results, means, shares, predicted, strict=True)
    )


def room_of(measured_ns: Sequence[Sequence[float]], confidence: float) -> float:
    """By what factor a network has to lie below its budget, for `verify` to show with that confidence that it does.

    From how far apart the processes of ``measured_ns`` find the same network, a typical one of them, once the speed of
    each process is divided out: as `verify` does it by anchors, beside which a network is measured there.
    """
    logs = np.log(np.array(measured_ns, dtype=np.float64))
    slowness = np.exp(logs.mean(axis=1) - logs.mean()).tolist()
    networks = [[round(value) for value in row] for row in zip(*measured_ns, strict=True)]
    return float(np.median([settled(row, confidence, slowness) / typical(row) for row in networks]))


def chosen(
    candidates: Sequence[Candidate], limit_ns: float, *, tried: Sequence[Architecture] = (), probability: float = LIKELY
) -> Candidate | None:
    """The most accurate one, not ``tried`` yet, that is within ``limit_ns`` with that probability; None without one."""
    fitting = [
        row for row in candidates if row.bound_ns(probability) <= limit_ns and row.result.architecture not in tried
    ]
    return max(fitting, key=lambda row: (row.result.accuracy.value, -row.expected_ns), default=None)


def _prediction_sd(result: SearchResult) -> float:
    """Of a prediction, as a share, from the interval that the table states."""
    estimate = result.latency
    reach = NormalDist().inv_cdf((1 + (estimate.confidence or CONFIDENCE)) / 2)
    return max(1e-4, (estimate.high - estimate.value) / estimate.value / reach)


def _noise(off: Floats) -> float:
    """Standard deviation by which one process differs from the others about one network, once its speed is known.

    ``off``: (processes, networks). A two-way layout without interaction: rows and columns are taken out, which leaves
    (processes - 1) * (networks - 1) degrees of freedom.
    """
    relative = off / off.mean(axis=1, keepdims=True)
    left = relative - relative.mean(axis=0, keepdims=True)
    freedom = max(1, (off.shape[0] - 1) * (off.shape[1] - 1))
    return max(1e-4, float(np.sqrt((left**2).sum() / freedom)))
