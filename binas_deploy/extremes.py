"""The cheapest and the dearest network of a linear form, exactly: each stage decides for itself."""

from __future__ import annotations

import numpy as np

from binas_deploy.problem import LinearForm
from binas_deploy.space import Architecture

Depths = tuple[tuple[int, ...], ...]


def cheapest(form: LinearForm, depths: Depths) -> Architecture:
    """A network of least cost; of several, the lexicographically smallest. ``depths[s]`` ascending."""
    return _extreme(form, depths, 1)


def dearest(form: LinearForm, depths: Depths) -> Architecture:
    """A network of highest cost; of several, the lexicographically smallest."""
    return _extreme(form, depths, -1)


def _extreme(form: LinearForm, depths: Depths, sign: int) -> Architecture:
    stages = [_stage(form, s, allowed, sign) for s, allowed in enumerate(depths)]
    return Architecture(tuple(len(row) for row in stages), tuple(stages))


def _stage(form: LinearForm, s: int, allowed: tuple[int, ...], sign: int) -> tuple[int, ...]:
    best = [int(np.argmin(sign * terms)) for terms in form.option[s]]
    sums = np.cumsum([0] + [int(terms[c]) for terms, c in zip(form.option[s], best, strict=True)])
    totals = [sign * (int(form.depth[s][index]) + int(sums[depth])) for index, depth in enumerate(allowed)]
    return tuple(best[: allowed[totals.index(min(totals))]])
