"""A comparison with a latency that was stored on another machine, by networks that were measured on both.

Milliseconds of two machines say nothing about each other, but ratios do, as far as the machines agree on them. The
anchors of the base's verification say what the base would take here (`reconcile`), and how far off that may be.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist

from binas_deploy.bundle.latency import AnchorMedians
from binas_deploy.gate.comparison import Side
from binas_deploy.gate.judgement import MUST_SEE, Change, Rule
from binas_deploy.table.reconcile import Reconciliation, reconcile

_NORMAL = NormalDist()


@dataclass(frozen=True)
class Stored:
    """Medians in ns: ``base_then_ns`` as stored with ``anchors`` (then), ``head_ns`` beside them now.

    ``noise``: relative standard deviation of one anchor; ``base`` says where the stored one is from.
    """

    base: Side
    head: Side
    rule: Rule
    base_then_ns: float
    head_ns: float
    anchors: tuple[AnchorMedians, ...]
    noise: float
    seconds: float

    @cached_property
    def machine(self) -> Reconciliation:
        """From that machine to this one. Raises InputError without anchors."""
        rows = self.anchors
        return reconcile([row.then_ns for row in rows], [row.now_ns for row in rows], noise=self.noise)

    @property
    def base_ns(self) -> float:
        """What the base is expected to take here."""
        return self.machine.now_ns(self.base_then_ns)

    @property
    def percent(self) -> float:
        """How much slower head is than that."""
        return 100 * (self.head_ns / self.base_ns - 1)

    @property
    def half_width(self) -> float:
        """Of its 95 % interval, percent: the machines' disagreement, and the noise of the two networks themselves."""
        sd = math.sqrt(self.machine.relative_sd**2 + 2 * self.noise**2)
        return 100 * _NORMAL.inv_cdf(0.975) * sd * self.head_ns / self.base_ns

    @property
    def detectable(self) -> float:
        """Percent that would be called with a probability of 0.8."""
        sd = self.half_width / _NORMAL.inv_cdf(0.975)
        return max(self._sure * sd, 100 * self.rule.threshold) + _NORMAL.inv_cdf(0.8) * sd

    @property
    def change(self) -> Change:
        """One round alone, so at the level of two."""
        if self.simulated or self.detectable > 100 * MUST_SEE * self.rule.threshold:
            return Change.INCONCLUSIVE
        beyond = abs(self.percent) > max(
            100 * self.rule.threshold, self._sure * self.half_width / _NORMAL.inv_cdf(0.975)
        )
        if not beyond:
            return Change.NONE
        return Change.SLOWER if self.percent > 0 else Change.FASTER

    @property
    def simulated(self) -> bool:
        """Whether no clock measured one of the sides."""
        return self.base.simulated or self.head.simulated

    @property
    def _sure(self) -> float:
        """Standard deviations: as improbable as two rounds at the rule's level."""
        return -_NORMAL.inv_cdf(self.rule.level**2)
