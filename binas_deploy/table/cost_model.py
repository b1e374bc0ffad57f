"""`CostModel`: what a table says under one question: which statistic, in which state of the machine."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from binas_deploy.columns import Columns
from binas_deploy.estimate import Estimate
from binas_deploy.problem import Ints, LinearForm
from binas_deploy.space import Architecture, SearchSpace
from binas_deploy.table.margin import CONFIDENCE, Margin

if TYPE_CHECKING:
    from binas_deploy.table.reconcile import Reconciliation

AS_MEASURED = "as the table was made"
AS_NOW = "as the machine is now"


@dataclass(frozen=True, eq=False)
class CostModel:
    """Latency in integer ns (or energy in ``unit`` nJ) as a linear form over the decisions of ``space``, and how far
    off it is.

    ``costs``: (columns.size,) in the order of `Columns`; ``statistic``: what of a network it predicts; ``state``: of
    the machine. Prediction and the solvers read the same integers.
    """

    space: SearchSpace
    costs: Ints
    statistic: str
    margin: Margin
    state: str = AS_MEASURED
    unit: str = "ns"

    @cached_property
    def form(self) -> LinearForm:
        """For the solvers."""
        return Columns(self.space).form(self.costs)

    def predict(self, arch: Architecture, confidence: float = CONFIDENCE) -> Estimate:
        """Latency of a network in ns (or energy in nJ).

        Raises:
            InputError: the network is not in the space, or a confidence outside (0, 1).
        """
        value = self.form.of(self.space.validate(arch), tuple(stage.depths for stage in self.space.stages))
        bound = self.margin.two_sided(confidence)
        off = bound.share * value
        method = f"{self.statistic}, {self.state}; {bound.method}"
        return Estimate(value, max(0.0, value - off), value + off, self.unit, confidence, method)

    def most_predicted(self, limit_ns: int, confidence: float) -> int:
        """The largest prediction whose upper bound is within ``limit_ns``: what a search that holds the bound aims at.

        Raises:
            InputError: a confidence outside (0, 1).
        """
        return int(limit_ns / (1 + self.margin.upper(confidence).share))

    def now(self, found: Reconciliation) -> CostModel:
        """The same in another measuring run, to which a few anchors carry it over."""
        costs = np.rint(self.costs * found.scale).astype(np.int64)
        costs[0] += round(found.offset_ns)
        return replace(self, costs=costs, margin=replace(self.margin, run=found.relative_sd), state=AS_NOW)
