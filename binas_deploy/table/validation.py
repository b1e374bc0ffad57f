"""How well a table predicts networks that it has not seen, beside how well one can measure them at all.

Each network is measured in two fresh processes, for what differs between processes differs between a prediction and a
deployment too. In each, a few of the table's own networks carry it over to the machine as it is then (`reconcile`).

    error       = predicted / measured - 1 in one process, averaged over the two
    noise floor = mean over networks of |log(first / second) - their median|, the same networks measured twice
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from binas_deploy.columns import Floats
from binas_deploy.errors import NotMeasuredError

LEAST_NETWORKS: Final = 3
_CLOSE: Final = 0.10


@dataclass(frozen=True, eq=False)
class Predictions:
    """Of n networks in one process: ``predicted``, ``low``, ``high`` and ``measured`` in ns, each (n,)."""

    predicted: Floats
    low: Floats
    high: Floats
    measured: Floats


@dataclass(frozen=True)
class ErrorFigures:
    """Of networks of one kind, in percent but for ``kendall_tau``, None where it is not defined.

    ``bias_percent``: the mean error, above zero where predictions are too slow; ``coverage_percent``: how many
    measured latencies lie within their interval; ``within_10_percent``: how many predictions are within 10 %.
    """

    networks: int
    mape_percent: float
    bias_percent: float
    worst_percent: float
    coverage_percent: float
    within_10_percent: float
    kendall_tau: float | None


@dataclass(frozen=True)
class Validation:
    """``kinds``: figures of random and of searched networks; ``noise_floor_percent``: of measuring itself.

    ``machine``: how many times slower the machine was than when the table was made, in each process.
    """

    kinds: Mapping[str, ErrorFigures]
    noise_floor_percent: float
    machine: tuple[float, ...]

    @property
    def error_over_floor(self) -> dict[str, float]:
        """The mean error of each kind in units of the noise floor."""
        return {kind: found.mape_percent / self.noise_floor_percent for kind, found in self.kinds.items()}

    def to_json(self) -> dict[str, Any]:
        """The document form."""
        return {
            **{kind: asdict(found) for kind, found in self.kinds.items()},
            "noise_floor_percent": self.noise_floor_percent,
            "error_over_floor": self.error_over_floor,
            "machine": list(self.machine),
        }


def figures(runs: Sequence[Predictions], chosen: Sequence[int]) -> ErrorFigures:
    """Over the ``chosen`` networks (indexes) of all runs.

    Raises:
        NotMeasuredError: fewer than 3.
    """
    from scipy.stats import kendalltau  # here: importing a table needs no SciPy

    if len(chosen) < LEAST_NETWORKS:
        raise NotMeasuredError(
            f"a table is validated on at least {LEAST_NETWORKS} networks of a kind, not {len(chosen)}."
        )
    index = np.array(chosen)
    errors = np.concatenate([run.predicted[index] / run.measured[index] - 1 for run in runs])
    inside = [(run.low[index] <= run.measured[index]) & (run.measured[index] <= run.high[index]) for run in runs]
    tau = float(kendalltau(runs[0].predicted[index], np.mean([run.measured[index] for run in runs], axis=0)).statistic)
    return ErrorFigures(
        networks=len(chosen),
        mape_percent=_percent(np.abs(errors).mean()),
        bias_percent=_percent(errors.mean()),
        worst_percent=_percent(np.abs(errors).max()),
        coverage_percent=_percent(np.concatenate(inside).mean()),
        within_10_percent=_percent((np.abs(errors) <= _CLOSE).mean()),
        kendall_tau=tau if np.isfinite(tau) else None,
    )


def noise_floor_percent(first_ns: Floats, second_ns: Floats) -> float:
    """Of the same networks measured in two processes, each (n,)."""
    logs = np.log(first_ns / second_ns)
    return _percent(np.abs(logs - np.median(logs)).mean())


def _percent(share: Any) -> float:
    return round(float(100 * share), 4)
