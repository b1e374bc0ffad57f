"""How far off a table is for a network that it has not seen, told from networks that were held out.

Errors are measured / predicted - 1, kept by how the networks were chosen: searched ones are harder than random ones,
since a search prefers what a table underrates. Each kind gives a margin of its own and the widest holds:

- with n errors and ``k = ceil((n + 1) * confidence) <= n``, the k-th smallest (split conformal; Vovk et al.,
  Algorithmic Learning in a Random World, 2005): valid for exchangeable networks whatever their distribution. At 95 %
  that takes 19 networks;
- with fewer, Student's t with n - 1 degrees of freedom times the root mean square and sqrt(1 + 1 / n), and it says so.

Networks designed to tell effects apart are unlike any that is deployed. They are held out only where there is nothing
else, and are then called 'mixed'.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from types import MappingProxyType
from typing import Final

import numpy as np

from binas_deploy.columns import Floats
from binas_deploy.errors import InputError, NotMeasuredError

CONFIDENCE: Final = 0.95
LEAST_ERRORS: Final = 3
"""Of one kind; fewer say nothing about spread."""
DESIGNED: Final = ("designed", "smallest", "largest")
_MIXED: Final = "mixed"


@dataclass(frozen=True)
class Bound:
    """``share``: of the predicted latency; ``method``: how it was found, from which networks."""

    share: float
    method: str


@dataclass(frozen=True)
class Margin:
    """``errors``: of held-out networks by kind, as shares; ``run``: standard deviation of a factor common to all.

    The second is added in quadrature, as for a table that a few anchors carry over to another measuring run.

    Raises:
        NotMeasuredError: no kind has at least 3.
    """

    errors: Mapping[str, tuple[float, ...]]
    run: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "errors", MappingProxyType(dict(self.errors)))
        most = max(map(len, self.errors.values()), default=0)
        if most < LEAST_ERRORS:
            raise NotMeasuredError(
                f"the error of a latency table is told from at least {LEAST_ERRORS} held-out networks of one kind, "
                f"there are {most}. Measure more whole networks."
            )

    @classmethod
    def of(cls, kinds: Sequence[str], errors: Sequence[float | None]) -> Margin:
        """From networks by their ``kinds``; None where one was not held out.

        Raises:
            NotMeasuredError: too few.
        """
        told = [(kind, error) for kind, error in zip(kinds, errors, strict=True) if error is not None]
        mixed = any(kind in DESIGNED for kind, _ in told)
        found: dict[str, list[float]] = {}
        for kind, error in told:
            found.setdefault(_MIXED if mixed else kind, []).append(error)
        return cls({kind: tuple(row) for kind, row in found.items()})

    def two_sided(self, confidence: float = CONFIDENCE) -> Bound:
        """How far the latency of a new network lies from the predicted one, to either side.

        Raises:
            InputError: ``confidence`` outside (0, 1).
        """
        _require(confidence)
        return self._widest(lambda errors: np.abs(errors), confidence, (1 + confidence) / 2)

    def upper(self, confidence: float = CONFIDENCE) -> Bound:
        """How far it lies above the predicted one; below zero where predictions are too slow.

        Raises:
            InputError: ``confidence`` outside (0, 1).
        """
        _require(confidence)
        return self._widest(lambda errors: errors, confidence, confidence)

    def _widest(self, score: Callable[[Floats], Floats], confidence: float, probability: float) -> Bound:
        told = {kind: np.array(errors) for kind, errors in self.errors.items() if len(errors) >= LEAST_ERRORS}
        bounds = [_bound(kind, score(errors), confidence, probability) for kind, errors in told.items()]
        widest = max(bounds, key=lambda bound: bound.share)
        if not self.run:
            return widest
        common = NormalDist().inv_cdf(probability) * self.run
        return Bound(math.hypot(widest.share, common) if widest.share > 0 else widest.share + common, widest.method)


def to_hold_out(kinds: Sequence[str]) -> list[int]:
    """Indexes of the networks that tell the error: all but designed ones, or all where that leaves too few."""
    chosen = [index for index, kind in enumerate(kinds) if kind not in DESIGNED]
    most = max(Counter(kinds[index] for index in chosen).values(), default=0)
    return chosen if most >= LEAST_ERRORS else list(range(len(kinds)))


def _bound(kind: str, scores: Floats, confidence: float, probability: float) -> Bound:
    """Conformal where there are enough scores, else by Student's t at that cumulative ``probability``."""
    n = len(scores)
    rank = math.ceil((n + 1) * confidence)
    if rank <= n:
        return Bound(float(np.sort(scores)[rank - 1]), f"conformal, {n} {kind}")
    spread = float(np.sqrt(np.mean(scores**2) * (1 + 1 / n)))
    return Bound(_t_quantile(n - 1, probability) * spread, f"t, {n} {kind}")


def _t_quantile(degrees: int, probability: float) -> float:
    from scipy.special import stdtrit  # here: a table of enough networks needs no SciPy

    return float(stdtrit(degrees, probability))


def _require(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise InputError(f"a confidence lies between 0 and 1, not at {confidence}; 0.95 is usual.")
