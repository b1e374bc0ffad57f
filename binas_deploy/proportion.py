"""Intervals of a proportion, such as an accuracy on n images, and of a difference between two on the same images."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from binas_deploy.errors import NotMeasuredError
from binas_deploy.estimate import Estimate

_NORMAL_95 = 1.959964


def wilson(successes: int, trials: int) -> Estimate:
    """``successes`` of ``trials`` in percent with its 95 % score interval (Wilson 1927, JASA 22:209).

    Raises:
        NotMeasuredError: no trials.
    """
    if trials < 1:
        raise NotMeasuredError("an accuracy needs at least one image; none was evaluated.")
    share, z2 = successes / trials, _NORMAL_95**2
    centre = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = _NORMAL_95 / (1 + z2 / trials) * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials**2))
    low, high = max(0.0, centre - half), min(1.0, centre + half)
    return Estimate(100 * share, 100 * min(low, share), 100 * max(high, share), "%", 0.95, f"Wilson, n = {trials}")


def paired_difference(before: NDArray[np.bool_], after: NDArray[np.bool_]) -> Estimate:
    """Points that the share of True falls from ``before`` to ``after``, two answers to the same questions, with 95 %.

    The value is as counted. Its interval is Wald's with half an observation added to each of the four cells (Agresti
    and Min 2005, Statistics in Medicine 24:729): it holds for a few disagreements too, where McNemar's does not.

    Raises:
        NotMeasuredError: no questions.
    """
    if len(before) < 1 or before.shape != after.shape:
        raise NotMeasuredError("a difference of accuracies needs the same images for both, and at least one.")
    lost, won, n = int(np.sum(before & ~after)), int(np.sum(after & ~before)), len(before)
    more, less, total = lost + 0.5, won + 0.5, n + 2
    centre = (more - less) / total
    half = _NORMAL_95 * math.sqrt(more + less - (more - less) ** 2 / total) / total
    value = (lost - won) / n
    low, high = max(-1.0, min(centre - half, value)), min(1.0, max(centre + half, value))
    return Estimate(100 * value, 100 * low, 100 * high, "%", 0.95, f"Agresti-Min, paired, n = {n}")
