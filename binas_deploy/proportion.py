"""Intervals of a proportion, such as an accuracy on n images."""

from __future__ import annotations

import math

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
