"""The selection problem: arrays in, arrays out. It knows no devices, networks or units of accuracy.

Choose a depth for each stage and an option for each active position. With x[s,j,c] = 1 when option c is
taken at position j of stage s and j < depth_s, both the value and every cost are linear (the bilinear program of
arXiv 2110.12399)::

    form(arch) = constant + sum_s depth[s][index of depth_s] + sum_s sum_{j < depth_s} option[s][j][c_sj]

All numbers are integers: costs in the resource's base unit (ns, bytes), values in units of 1e-9 of a
percentage point. So sums are exact and ties are real.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from binas_deploy.space import Architecture

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class LinearForm:
    """``depth[s]``: shape (depths of stage s,); ``option[s][j]``: shape (options at that position,); int64."""

    constant: int
    depth: tuple[Ints, ...]
    option: tuple[tuple[Ints, ...], ...]

    def of(self, arch: Architecture, depths: tuple[tuple[int, ...], ...]) -> int:
        """Its value at a network; ``depths[s]`` are the allowed depths of stage s."""
        total = self.constant
        for s, (depth, row) in enumerate(zip(arch.depths, arch.options, strict=True)):
            total += int(self.depth[s][depths[s].index(depth)])
            total += sum(int(self.option[s][j][c]) for j, c in enumerate(row))
        return total

    def plus(self, other: LinearForm, times: int) -> LinearForm:
        """``self + times * other``, of the same decisions."""

        def row(mine: tuple[Ints, ...], theirs: tuple[Ints, ...]) -> tuple[Ints, ...]:
            return tuple(left + times * right for left, right in zip(mine, theirs, strict=True))

        options = tuple(row(*stages) for stages in zip(self.option, other.option, strict=True))
        return LinearForm(self.constant + times * other.constant, row(self.depth, other.depth), options)


@dataclass(frozen=True)
class Resource:
    """A cost that may not exceed ``limit`` (same base unit)."""

    name: str
    cost: LinearForm
    limit: int


@dataclass(frozen=True)
class SelectionProblem:
    """Maximise ``value`` subject to every resource; ``depths[s]`` ascending."""

    depths: tuple[tuple[int, ...], ...]
    value: LinearForm
    resources: tuple[Resource, ...]


class Status(str, Enum):
    """What a solver proved."""

    OPTIMAL = "optimal"
    FEASIBLE = "feasible"
    INFEASIBLE = "infeasible"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Limits:
    """When a solver gives up."""

    seconds: float = 60.0


@dataclass(frozen=True)
class Solution:
    """``bound``: no network is worth more than this (None when unknown); ``architecture`` None unless found."""

    status: Status
    architecture: Architecture | None
    value: int | None
    bound: int | None
