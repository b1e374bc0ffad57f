"""What each decision contributes to accuracy: fitted from evaluated networks.

The model of a network with depth d_s in stage s and option c_sj at position j (from 0), in percentage points::

    ACC = base + sum_s D[s, d_s] + sum_s sum_{j < d_s} D[s, j, c_sj]

Two ways to get the contributions D:

- `conditional_means`, the form of arXiv 2110.12399: D[s,d] = E[Acc | depth_s = d] - E[Acc] and
  D[s,j,c] = E[Acc | option_sj = c, depth_s > j] - E[Acc | depth_s > j]. Exact for any truth of this form when networks
  are drawn per decision, as `SearchSpace.sample` does; other ways of drawing bias it.
- `regression.ridge`, least squares with a structured prior; how networks were drawn does not bias it.

Contributions are not unique: adding a constant to all options of a position and taking it from the depths that
reach it changes nothing. `in_gauge` moves them to the one form with sum_d D[s,d] = 0 and sum_c D[s,j,c] = 0
(uniform over depths and options), in which each says how much better than average its choice is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from binas_deploy.columns import Columns, Floats
from binas_deploy.errors import InputError
from binas_deploy.space import Architecture, SearchSpace

Flags = NDArray[np.bool_]
Numbers = Sequence[float] | Floats


@dataclass(frozen=True, eq=False)
class Contributions:
    """Percentage points: ``base``, ``depth[s]`` (depths of stage s,), ``option[s][j]`` (options there,)."""

    base: float
    depth: tuple[Floats, ...]
    option: tuple[tuple[Floats, ...], ...]

    @classmethod
    def from_flat(cls, columns: Columns, flat: Floats) -> Contributions:
        """Cut a vector in the order of `Columns`."""
        option = tuple(tuple(flat[place].copy() for place in row) for row in columns.option)
        return cls(float(flat[0]), tuple(flat[place].copy() for place in columns.depth), option)

    def flat(self) -> Floats:
        """The inverse of `from_flat`."""
        parts = [part for depth, row in zip(self.depth, self.option, strict=True) for part in (depth, *row)]
        return np.concatenate([np.array([self.base]), *parts])

    def in_gauge(self, columns: Columns) -> Contributions:
        """The same predictions with every group of depths and of options summing to zero."""
        return self.from_flat(columns, columns.gauge @ self.flat())


@dataclass(frozen=True, eq=False)
class Fit:
    """Contributions with their standard errors; ``residual_std`` is held out; ``strength`` of a ridge, else None."""

    contributions: Contributions
    standard_errors: Contributions
    residual_std: float
    residual_method: str
    strength: tuple[float, float] | None


def require_samples(space: SearchSpace, archs: Sequence[Architecture], accuracies: Numbers) -> Floats:
    """The accuracies as an array (networks,).

    Raises:
        InputError: a network outside the space, unequal lengths, under 3 networks, or a value outside 0 to 100.
    """
    values = np.asarray(accuracies, dtype=np.float64)
    if values.shape != (len(archs),):
        raise InputError(f"{len(archs)} networks came with accuracies of shape {values.shape}; give one for each.")
    if len(archs) < 3:
        raise InputError(f"an accuracy model needs at least 3 evaluated networks, found {len(archs)}.")
    if not bool(np.all(np.isfinite(values))) or values.min() < 0 or values.max() > 100:
        raise InputError("accuracies are percentages from 0 to 100; found a value outside, or not a number.")
    for arch in archs:
        space.validate(arch)
    return values


def conditional_means(space: SearchSpace, archs: Sequence[Architecture], accuracies: Numbers) -> Fit:
    """The paper's estimator: a contribution for each decision from the sample means that condition on it.

    A choice that no network made contributes 0, with the standard deviation of all accuracies as its standard
    error. The residual is each network's with its own accuracy left out of every mean.

    Raises:
        InputError: as `require_samples`.
    """
    values, columns = require_samples(space, archs, accuracies), Columns(space)
    chosen = columns.design(archs) > 0
    flat, error = np.zeros(columns.size), np.zeros(columns.size)
    flat[0], error[0] = values.mean(), values.std(ddof=1) / np.sqrt(len(values))
    left_out = (values.sum() - values) / (len(values) - 1)
    for place, among in _decisions(columns, chosen):
        flat[place], error[place], alone = _means(values, chosen[:, place], among)
        left_out += alone
    return Fit(
        Contributions.from_flat(columns, flat),
        Contributions.from_flat(columns, error),
        float(np.sqrt(np.mean((values - left_out) ** 2))),
        f"leave-one-out over {len(values)} networks",
        None,
    )


def _decisions(columns: Columns, chosen: Flags) -> Iterator[tuple[slice, Flags]]:
    """Each decision's entries, and which networks take it (positions that are not reached are not decided)."""
    everyone = np.ones(len(chosen), dtype=bool)
    for s, depths in enumerate(columns.depth):
        yield depths, everyone
        for j, options in enumerate(columns.option[s]):
            yield options, np.any(chosen[:, columns.deep_enough(s, j)], axis=1)


def _means(values: Floats, chosen: Flags, among: Flags) -> tuple[Floats, Floats, Floats]:
    """For one decision: contributions and standard errors (choices,), and what it adds to each network (networks,)
    when that network is left out of the means.

    The variance is that within choices, pooled; a choice's mean is part of the overall mean it is compared with.
    """
    counts, sums = chosen.sum(axis=0).astype(np.float64), values @ chosen
    total, baseline = float(among.sum()), float(values[among].sum())
    seen = counts > 0
    means = np.divide(sums, counts, out=np.zeros_like(sums), where=seen)
    within = float(np.sum((values[among] - (chosen[among] @ means)) ** 2))
    freedom = total - float(seen.sum())
    variance = within / freedom if freedom > 0 else float(values.var(ddof=1))
    contribution = np.where(seen, means - baseline / max(total, 1.0), 0.0)
    share = np.divide((1 - counts / max(total, 1.0)) * variance, counts, out=np.zeros_like(counts), where=seen)
    error = np.where(seen, np.sqrt(share), values.std(ddof=1))
    return contribution, error, _left_out(values, chosen, counts, sums, (total, baseline))


def _left_out(values: Floats, chosen: Flags, counts: Floats, sums: Floats, whole: tuple[float, float]) -> Floats:
    """Each network's contribution here without itself; 0 where nothing else made its choice."""
    count, total_sum = chosen @ counts, chosen @ sums
    others = count > 1
    mean = np.divide(total_sum - values, count - 1, out=np.zeros_like(values), where=others)
    rest = (whole[1] - values) / max(whole[0] - 1, 1.0)
    return np.where(others, mean - rest, 0.0)
