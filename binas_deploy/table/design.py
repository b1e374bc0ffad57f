"""Which network to measure next: the one that makes predictions surer by most for each second that it costs.

With C the covariance of the coefficients as it is, r_i the row of candidate i, t those of the networks that predictions
are wanted of, and noise^2 the variance of one measurement, measuring i takes from the mean variance of the predictions

    gain_i = mean over t of (t C r_i)^2 / (r_i C r_i + noise^2)

and leaves ``C - C r_i r_i' C / (r_i C r_i + noise^2)``: neither depends on what is measured, so a whole list can be
chosen beforehand. It is chosen greedily, by gain for each second (A-optimal design), which need not be the best list.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from binas_deploy.columns import Floats
from binas_deploy.errors import InputError

_NOTHING: Final = 1e-15


@dataclass(frozen=True, eq=False)
class Candidates:
    """``rows`` (n, terms) as `calibration` weighs them; ``seconds`` (n,): what measuring each costs."""

    rows: Floats
    seconds: Floats


def most_informative(covariance: Floats, candidates: Candidates, wanted: Floats, noise: float, count: int) -> list[int]:
    """Indexes of ``count`` candidates, the best first; fewer where no more tell anything.

    ``covariance`` (terms, terms): of the coefficients; ``wanted`` (m, terms): rows of the networks to predict.

    Raises:
        InputError: shapes that do not fit, or costs or noise that are not positive.
    """
    rows, seconds = candidates.rows, candidates.seconds
    terms = len(covariance)
    if rows.shape != (len(seconds), terms) or wanted.ndim != 2 or wanted.shape[1] != terms:
        raise InputError(f"candidates {rows.shape}, costs {seconds.shape}, wanted {wanted.shape}: for {terms} terms.")
    if not (noise > 0 and (seconds > 0).all()):
        raise InputError("costs and noise must be positive.")
    known, found = covariance.copy(), list[int]()
    while len(found) < min(count, len(rows)):
        spread = rows @ known
        total = np.einsum("ij,ij->i", spread, rows) + noise**2
        gains = np.mean((wanted @ spread.T) ** 2, axis=0) / total / seconds
        gains[found] = 0.0
        best = int(np.argmax(gains))
        if gains[best] <= _NOTHING:
            break
        found.append(best)
        known -= np.outer(spread[best], spread[best]) / total[best]
    return found
