"""`Columns`: the decisions of a space as places in a flat vector, so that linear models are plain matrix algebra."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from binas_deploy.block import Block
from binas_deploy.problem import Ints, LinearForm
from binas_deploy.space import Architecture, SearchSpace

Floats = NDArray[np.float64]


class Columns:
    """Where each decision stands in a flat vector: entry 0 is the base, then per stage depths, then options."""

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        self.depth: list[slice] = []
        self.option: list[list[slice]] = []
        self.depths = [stage.depths for stage in space.stages]
        end = 1
        for stage in space.stages:
            self.depth.append(slice(end, end + len(stage.depths)))
            end += len(stage.depths)
            row = []
            for options in stage.options:
                row.append(slice(end, end + len(options)))
                end += len(options)
            self.option.append(row)
        self.size = end

    def design(self, archs: Sequence[Architecture]) -> Floats:
        """One-hot rows, shape (networks, size): base, depths, active options."""
        matrix = np.zeros((len(archs), self.size))
        matrix[:, 0] = 1.0
        for line, arch in zip(matrix, archs, strict=True):
            for s, (depth, row) in enumerate(zip(arch.depths, arch.options, strict=True)):
                line[self.depth[s].start + self.depths[s].index(depth)] = 1.0
                for j, choice in enumerate(row):
                    line[self.option[s][j].start + choice] = 1.0
        return matrix

    def blocks(self) -> Iterator[tuple[int, int, Block]]:
        """(place in the vector, stage, block) of every option."""
        for s, row in enumerate(self.option):
            for j, options in enumerate(row):
                for c in range(options.stop - options.start):
                    yield options.start + c, s, self.space.block(s, j, c)

    def form(self, flat: Ints) -> LinearForm:
        """The linear form whose value at a network is ``design([arch])[0] @ flat``."""
        option = tuple(tuple(flat[place].copy() for place in row) for row in self.option)
        return LinearForm(int(flat[0]), tuple(flat[place].copy() for place in self.depth), option)

    def flat(self, form: LinearForm) -> Ints:
        """The inverse of `form`."""
        parts = [part for depth, row in zip(form.depth, form.option, strict=True) for part in (depth, *row)]
        return np.concatenate([np.array([form.constant]), *parts])

    def deep_enough(self, s: int, j: int) -> slice:
        """Entries of the depths of stage s that have a position j."""
        first = sum(depth <= j for depth in self.depths[s])
        return slice(self.depth[s].start + first, self.depth[s].stop)

    @cached_property
    def gauge(self) -> Floats:
        """The matrix (size, size) that moves a flat vector of contributions into the gauge."""
        moves = np.eye(self.size)
        for s, row in enumerate(self.option):
            for j, options in enumerate(row):
                mean = moves[options].mean(axis=0)
                moves[options] -= mean
                moves[self.deep_enough(s, j)] += mean
            mean = moves[self.depth[s]].mean(axis=0)
            moves[self.depth[s]] -= mean
            moves[0] += mean
        return moves
