"""Whether one side is slower than the other, by pairs of fresh processes: a suspicion, and its confirmation.

A round is n pairs; its figures are those of n log ratios (head over base). A round *suspects* a change where the
one-sided signed-rank test gives at most `Rule.level` and the estimated effect is beyond the threshold. Only a change
that a second round of new pairs, independent of the first, suspects again is called. A false alarm takes both, so it is
at most as likely as ``level ** 2``, and the effect that is reported is the second round's: nothing was chosen by it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from statistics import NormalDist
from typing import Final

from binas_deploy.columns import Floats
from binas_deploy.errors import InputError
from binas_deploy.gate.signed_rank import interval, location, p_greater

ERROR_RATE: Final = 0.0025
"""Of calling a regression where there is none, at most, over all bundles of a check."""
MUST_SEE: Final = 5.0
"""Times the threshold: where a change of that size could have gone unseen, finding none means nothing."""
POWER: Final = 0.8
"""With which a change 'could be seen', over both rounds."""
_NORMAL: Final = NormalDist()
_DIGITS: Final = 5


class Change(str, Enum):
    """What the rounds show."""

    SLOWER = "slower"
    FASTER = "faster"
    NONE = "no change"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True)
class Rule:
    """``threshold``: the least effect that matters, as a share (0.01: 1 %). ``level``: of the test of one round.

    Raises:
        InputError: not shares between 0 and 1.
    """

    threshold: float
    level: float

    def __post_init__(self) -> None:
        if not (0 < self.threshold < 1 and 0 < self.level < 1):
            raise InputError(f"a threshold of {self.threshold} and a level of {self.level}: both lie between 0 and 1.")

    @classmethod
    def of(cls, threshold: float, comparisons: int = 1) -> Rule:
        """For one of so many comparisons: the error rate is split evenly (Bonferroni), and rounds take its root."""
        return cls(threshold, math.sqrt(ERROR_RATE / max(1, comparisons)))

    @property
    def least_pairs(self) -> int:
        """The fewest pairs with which a round can reach its level: all to one side has probability 2^-n."""
        return math.ceil(-math.log2(self.level))


@dataclass(frozen=True)
class Effect:
    """Of one round: ``percent`` that head is slower (negative: faster) with its 95 % interval, Hodges-Lehmann.

    ``p_slower`` and ``p_faster``: one-sided, signed-rank. ``detectable``: the percent that would be called with a
    probability of 0.8, by how far the pairs scatter.
    """

    percent: float
    low: float
    high: float
    p_slower: float
    p_faster: float
    detectable: float

    def suspects(self, rule: Rule) -> Change:
        """SLOWER, FASTER or NONE by this round alone."""
        percent = 100 * rule.threshold
        if self.p_slower <= rule.level and self.percent > percent:
            return Change.SLOWER
        # As much faster as the threshold is slower: the same factor.
        if self.p_faster <= rule.level and self.percent < -percent / (1 + rule.threshold):
            return Change.FASTER
        return Change.NONE


def effect_of(log_ratios: Floats, rule: Rule) -> Effect:
    """The figures of one round; (n,) natural logarithms of head over base.

    Raises:
        InputError: too few pairs for an interval.
    """
    low, high = interval(log_ratios)
    spread = (high - low) / 2 / _NORMAL.inv_cdf(0.975)
    # Each of two rounds has to see it: its square root is the power of one.
    margin = _NORMAL.inv_cdf(math.sqrt(POWER)) * spread
    beyond = max(-_NORMAL.inv_cdf(rule.level) * spread, math.log1p(rule.threshold))
    return Effect(
        percent=_percent(location(log_ratios)),
        low=_percent(low),
        high=_percent(high),
        p_slower=_rounded(p_greater(log_ratios)),
        p_faster=_rounded(p_greater(-log_ratios)),
        detectable=_percent(beyond + margin),
    )


@dataclass(frozen=True)
class Judgement:
    """What one or two rounds show. ``suspected``: what the first did; ``effect``: of the last round."""

    change: Change
    suspected: Change
    effect: Effect
    rounds: int

    @property
    def confirmed(self) -> bool:
        """Whether a second round found what the first suspected."""
        return self.change in (Change.SLOWER, Change.FASTER)


def needs_confirmation(log_ratios: Floats, rule: Rule) -> bool:
    """Whether a first round suspects a change, so that a second has to be measured."""
    return effect_of(log_ratios, rule).suspects(rule) is not Change.NONE


def judge(rounds: Sequence[Floats], rule: Rule) -> Judgement:
    """From the log ratios of one round, or of two where the first suspects something.

    Raises:
        InputError: neither one nor two rounds, or a suspicion that was not followed up.
    """
    if len(rounds) not in (1, 2):
        raise InputError(f"a comparison has one or two rounds, not {len(rounds)}.")
    effects = [effect_of(ratios, rule) for ratios in rounds]
    suspected, last = effects[0].suspects(rule), effects[-1]
    if suspected is not Change.NONE and len(rounds) == 1:
        raise InputError("a first round that suspects a change is followed by a second.")
    agreed = suspected is not Change.NONE and last.suspects(rule) is suspected
    unseen = last.detectable > 100 * MUST_SEE * rule.threshold
    change = suspected if agreed else Change.INCONCLUSIVE if unseen else Change.NONE
    return Judgement(change, suspected, last, len(rounds))


def _percent(log_ratio: float) -> float:
    return round(100 * math.expm1(log_ratio), _DIGITS)


def _rounded(probability: float) -> float:
    return float(f"{min(probability, 1.0):.{_DIGITS}g}")
