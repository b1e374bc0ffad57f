"""Wilcoxon's signed-rank test, and the location and interval that go with it (Hodges and Lehmann 1963).

The null distribution is exact, also with ties: it is conditional on the sizes of the differences, whose signs are fair
coins where the order within a pair was drawn at random. Everything is sums and halves in IEEE doubles, the same to the
last bit everywhere: documents state these figures and are checked by finding them again.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from binas_deploy.columns import Floats
from binas_deploy.errors import InputError

LEAST_PAIRS: Final = 6
"""The fewest with a 95 % interval: 2 / 2^6 is below 0.05, 2 / 2^5 is not."""


def p_greater(differences: Floats) -> float:
    """How likely a sum of positive ranks at least this large is if every sign is a fair coin; (n,) differences.

    Differences of 0 say nothing and are left out (Wilcoxon's own rule); 1.0 where none is left.
    """
    kept = differences[differences != 0]
    if not kept.size:
        return 1.0
    doubled = _doubled_ranks(np.abs(kept))
    distribution = _null(doubled)
    return float(math.fsum(distribution[int(doubled[kept > 0].sum()) :]))


def location(differences: Floats) -> float:
    """The Hodges-Lehmann estimate: the median of the averages of all pairs of differences, each with itself too."""
    return _median(_averages(differences))


def interval(differences: Floats, confidence: float = 0.95) -> tuple[float, float]:
    """The interval of the location that inverts the test: two order statistics of the averages.

    Raises:
        InputError: fewer than `LEAST_PAIRS` differences.
    """
    if differences.size < LEAST_PAIRS:
        raise InputError(f"an interval takes at least {LEAST_PAIRS} pairs, there are {differences.size}.")
    averages = _averages(differences)
    below = np.cumsum(_null(2 * np.arange(1, differences.size + 1))[::2])  # below[k] = P(W <= k)
    cut = int(np.searchsorted(below, (1 - confidence) / 2, side="right"))
    cut = max(cut, 1)
    return float(averages[cut - 1]), float(averages[averages.size - cut])


def _doubled_ranks(sizes: Floats) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """Twice the mid-ranks, which are whole numbers also with ties."""
    ordered = np.sort(sizes)
    first, last = np.searchsorted(ordered, sizes, "left"), np.searchsorted(ordered, sizes, "right")
    return (first + last + 1).astype(np.int64)


def _null(doubled: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> Floats:
    """P(sum of a random subset = s), s = 0, 1, ..."""
    found = np.zeros(int(doubled.sum()) + 1)
    found[0] = 1.0
    for rank in doubled:
        shifted = np.zeros_like(found)
        shifted[rank:] = found[: found.size - rank]
        found = 0.5 * (found + shifted)
    return found


def _averages(differences: Floats) -> Floats:
    first, second = np.triu_indices(differences.size)
    return np.sort((differences[first] + differences[second]) / 2)


def _median(ordered: Floats) -> float:
    middle = ordered.size // 2
    return float(ordered[middle] if ordered.size % 2 else (ordered[middle - 1] + ordered[middle]) / 2)
