r"""Ridge regression of accuracy on decisions, with a prior that knows how options are built.

The contributions theta (depths and options, `Columns` order without the base) have a Gaussian prior::

    theta ~ N(0, tau^2 * S(r)),   y = base + Z theta + noise,   noise ~ N(0, strength * tau^2)

    option[s,j,c] = stage effects of its operation, expansion, kernel and SE      variance 1 each
                  + stage effect of the whole option                              variance r
                  + effects of operation, expansion, kernel, SE at position j     variance r each
                  + effect of the whole option at position j                      variance r^2
    depth[s,d]    = a free effect                                                 variance 1

so main effects are shared over a stage and interactions are small (hierarchical ridge). The base
is not penalised. ``strength`` and ``r`` are those of `STRENGTHS` and `RATIOS` with the least squared leave-one-out
error, which has a closed form: (y - fitted) / (1 - leverage). tau^2 is its maximum-likelihood value.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from binas_deploy.accuracy.contributions import Contributions, Fit, Numbers, require_samples
from binas_deploy.block import Option
from binas_deploy.columns import Columns, Floats
from binas_deploy.space import Architecture, SearchSpace

STRENGTHS: Final = (1e-6, 1e-4, 1e-2, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
RATIOS: Final = (0.03, 0.1, 0.3, 1.0)
_NO_DIRECTION: Final = 1e-12


@dataclass(frozen=True)
class _Basis:
    """``root @ root.T`` is S(r), (size - 1, size - 1); centred design times root is ``u * s @ vt``."""

    ratio: float
    root: Floats
    u: Floats
    s: Floats
    vt: Floats


@dataclass(frozen=True)
class _Posterior:
    """Of theta: ``mean`` (size - 1,), ``covariance`` (size - 1, size - 1); ``noise`` variance of one network."""

    mean: Floats
    covariance: Floats
    noise: float


def ridge(space: SearchSpace, archs: Sequence[Architecture], accuracies: Numbers) -> Fit:
    """Contributions in the gauge, with standard errors from the posterior.

    Raises:
        InputError: as `contributions.require_samples`.
    """
    values, columns = require_samples(space, archs, accuracies), Columns(space)
    design = columns.design(archs)[:, 1:]
    centre, deviation = design.mean(axis=0), values - values.mean()
    bases = _bases(_prior(space, columns), design - centre)
    pairs = itertools.product(bases, STRENGTHS)
    basis, strength = min(pairs, key=lambda pair: _left_out_error(pair[0], deviation, pair[1]))
    flat, errors = _in_gauge(columns, centre, values, _posterior(basis, deviation, strength))
    return Fit(
        Contributions.from_flat(columns, flat),
        Contributions.from_flat(columns, errors),
        _left_out_error(basis, deviation, strength),
        f"leave-one-out over {len(values)} networks",
        (strength, basis.ratio),
    )


def _bases(prior: tuple[Floats, Floats, Floats], centred: Floats) -> list[_Basis]:
    """One for each ratio; the symmetric root keeps its size at that of the contributions."""
    found = []
    for ratio in RATIOS:
        values, vectors = np.linalg.eigh(prior[0] + ratio * prior[1] + ratio**2 * prior[2])
        root = vectors * np.sqrt(np.clip(values, 0.0, None))
        u, s, vt = np.linalg.svd(centred @ root, full_matrices=False)
        found.append(_Basis(ratio, root, u, s, vt))
    return found


def _prior(space: SearchSpace, columns: Columns) -> tuple[Floats, Floats, Floats]:
    """S(r) as the terms of r^0, r^1 and r^2, each (size - 1, size - 1)."""
    terms = np.zeros((3, columns.size, columns.size))
    for s, stage in enumerate(space.stages):
        terms[0][columns.depth[s], columns.depth[s]] = np.eye(len(stage.depths))
        for (j, left), (k, right) in itertools.product(enumerate(stage.options), repeat=2):
            place = columns.option[s][j], columns.option[s][k]
            alike, equal = _alike(left, right)
            terms[0][place] = alike
            terms[1][place] = equal + (alike if j == k else 0.0)
            terms[2][place] = equal if j == k else 0.0
    return terms[0][1:, 1:], terms[1][1:, 1:], terms[2][1:, 1:]


def _alike(left: Sequence[Option], right: Sequence[Option]) -> tuple[Floats, Floats]:
    """(left, right): how many of operation, expansion, kernel and SE are shared, and whether all are."""
    shared = [[sum(map(operator.eq, _parts(a), _parts(b))) for b in right] for a in left]
    return np.array(shared, dtype=np.float64), np.array([[float(a == b) for b in right] for a in left])


def _parts(option: Option) -> tuple[Hashable, ...]:
    """What main effects belong to; an expansion of another operation is another expansion."""
    return (option.op, (option.op, option.expansion), (option.op, option.kernel), (option.op, option.se_ratio))


def _left_out_error(basis: _Basis, deviation: Floats, strength: float) -> float:
    """Root mean squared leave-one-out residual, percentage points."""
    shrink = basis.s**2 / (basis.s**2 + strength)
    fitted = basis.u @ (shrink * (basis.u.T @ deviation))
    leverage = 1.0 / len(deviation) + basis.u**2 @ shrink
    residual = (deviation - fitted) / np.maximum(1.0 - leverage, 1e-9)
    return float(np.sqrt(np.mean(residual**2)))


def _posterior(basis: _Basis, deviation: Floats, strength: float) -> _Posterior:
    shrink, along = basis.s**2 / (basis.s**2 + strength), basis.u.T @ deviation
    explained = np.divide(shrink * along, basis.s, out=np.zeros_like(along), where=basis.s > _NO_DIRECTION)
    spread = basis.root @ basis.vt.T
    unexplained = max(float(deviation @ deviation - along @ (shrink * along)), 0.0)
    noise = unexplained / (len(deviation) - 1)
    covariance = noise / strength * (basis.root @ basis.root.T - (spread * shrink) @ spread.T)
    return _Posterior(spread @ explained, covariance, noise)


def _in_gauge(columns: Columns, centre: Floats, values: Floats, posterior: _Posterior) -> tuple[Floats, Floats]:
    """Base and contributions (size,) with their standard errors: base = mean(y) - centre . theta."""
    flat = np.append(values.mean() - centre @ posterior.mean, posterior.mean)
    with_base = np.vstack([-centre, np.eye(columns.size - 1)])
    covariance = with_base @ posterior.covariance @ with_base.T
    covariance[0, 0] += posterior.noise / len(values)
    moved = columns.gauge @ covariance @ columns.gauge.T
    return columns.gauge @ flat, np.sqrt(np.clip(np.diag(moved), 0.0, None))
