"""A Bayesian linear model whose coefficients come in groups, each with a spread of its own.

    target = rows @ w + noise * e,    w_i ~ N(0, spread[group of i]^2),    e ~ N(0, 1)

The spreads and the noise are those of largest evidence (type-II maximum likelihood; Bishop, Pattern Recognition and
Machine Learning, section 3.5; Gaussian-process form with one linear kernel a group), each held by a log-normal prior
around its expected value, so that a dozen rows do not make up their own mind. With K = R S R' + noise^2 I::

    mean = S R' K^-1 target,    covariance = S - S R' K^-1 R S
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from binas_deploy.columns import Floats

LOG_SD: Final = 1.0
"""How far a spread may be from its expected value, as the standard deviation of its logarithm."""
NOISE: Final = 0.008
NOISE_LOG_SD: Final = 0.5
_NOISE: Final = "noise"
_FARTHEST: Final = 6.0
"""Standard deviations of its prior that a spread can be away."""


@dataclass(frozen=True, eq=False)
class Posterior:
    """Of the coefficients: ``mean`` (terms,), ``covariance`` (terms, terms)."""

    mean: Floats
    covariance: Floats

    def variance(self, rows: Floats) -> Floats:
        """Of rows @ w, without noise, (n,)."""
        found: Floats = np.einsum("ij,jk,ik->i", rows, self.covariance, rows)
        return found


def spreads(rows: Floats, target: Floats, groups: Sequence[str], expected: Mapping[str, float]) -> dict[str, float]:
    """The spread of each group, and under "noise" that of the rows, of largest evidence."""
    from scipy.optimize import minimize  # here: loading a table and predicting need no SciPy

    names = tuple(dict.fromkeys(groups))
    kernels = [rows[:, _of(groups, name)] @ rows[:, _of(groups, name)].T for name in names]
    kernels.append(np.eye(len(target)))
    start = np.log(np.array([*(expected[name] for name in names), NOISE]))
    width = np.array([LOG_SD] * len(names) + [NOISE_LOG_SD])
    # Nobody believes in more; a line search that tries it would end in numbers that no float holds.
    bounds = np.column_stack([start - _FARTHEST * width, start + _FARTHEST * width])
    found = minimize(_loss, start, args=(kernels, target, start, width), jac=True, method="L-BFGS-B", bounds=bounds)
    return dict(zip((*names, _NOISE), np.exp(found.x).tolist(), strict=True))


def posterior(rows: Floats, target: Floats, groups: Sequence[str], given: Mapping[str, float]) -> Posterior:
    """What the rows say of the coefficients, with the spreads and the noise of `spreads`."""
    prior = np.array([given[name] ** 2 for name in groups])
    weighted = rows * prior
    kernel = weighted @ rows.T + given[_NOISE] ** 2 * np.eye(len(target))
    gain = np.linalg.solve(kernel, weighted).T
    return Posterior(gain @ target, np.diag(prior) - gain @ weighted)


def _of(groups: Sequence[str], name: str) -> list[int]:
    return [index for index, group in enumerate(groups) if group == name]


def _loss(
    logs: Floats, kernels: Sequence[Floats], target: Floats, centre: Floats, width: Floats
) -> tuple[float, Floats]:
    """Minus the log evidence and the log prior, up to constants, and its gradient by the logarithms."""
    squares = np.exp(2 * logs)
    total = sum((square * kernel for square, kernel in zip(squares, kernels, strict=True)), np.zeros_like(kernels[0]))
    inverse = np.linalg.inv(total)
    alpha = inverse @ target
    off = (logs - centre) / width
    loss = 0.5 * (target @ alpha + np.linalg.slogdet(total)[1] + off @ off)
    slopes = [float(np.sum(inverse * kernel) - alpha @ kernel @ alpha) for kernel in kernels]
    return float(loss), squares * np.array(slopes) + off / width
