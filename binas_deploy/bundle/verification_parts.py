"""What all parts of a verification share, and accuracy as it is found, with its facts and the verdict that follows.

Facts are stored; figures and verdicts are derived from them in one place.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Final

from binas_deploy.errors import InputError
from binas_deploy.estimate import Estimate
from binas_deploy.proportion import wilson

ACCURACY_ALLOWANCE: Final = 1.0
"""Points that a test accuracy may lie from the predicted one, beside the sampling error of both."""


class Verdict(str, Enum):
    """What a check found."""

    PASS = "pass"  # noqa: S105 -- no password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class SetUse:
    """How often a test set has judged networks of ``space`` on this machine.

    This network was the ``number``-th of the ``networks`` that it has judged by now, each counted once.

    Raises:
        InputError: a count that cannot be.
    """

    space: str
    number: int
    networks: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.networks:
            raise InputError(f"network {self.number} of {self.networks} cannot be.")

    @property
    def note(self) -> str:
        """What to say of it; empty for the first network."""
        if self.networks == 1:
            return ""
        return (
            f"accuracy: this is network {self.number} of {self.networks} of space {self.space} that these test images "
            "have judged on this machine; choosing among many by the test set makes the best look better than it is"
        )


@dataclass(frozen=True)
class Accuracy:
    """``correct`` of ``images`` test images of ``data``; ``predicted`` in percent, made without them.

    ``use``: how often these images have judged networks of this space here; None where that could not be counted.

    Raises:
        InputError: no images, or more correct ones than there are.
    """

    correct: int
    images: int
    data: str
    predicted: Estimate
    use: SetUse | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.correct <= self.images or self.images < 1:
            raise InputError(f"accuracy: {self.correct} of {self.images} images cannot be.")

    @cached_property
    def top1(self) -> Estimate:
        """Top-1 in percent with its 95 % Wilson interval."""
        return wilson(self.correct, self.images)

    @property
    def difference(self) -> float:
        """Measured minus predicted, points."""
        return self.top1.value - self.predicted.value

    @property
    def allowed(self) -> float:
        """Points that the two may differ: 1, and the root of the sum of their squared 95 % sampling half-widths."""
        halves = [(estimate.high - estimate.low) / 2 for estimate in (self.top1, self.predicted)]
        return ACCURACY_ALLOWANCE + math.sqrt(sum(half * half for half in halves))

    @property
    def verdict(self) -> Verdict:
        """Only less than was predicted is a failure."""
        return Verdict.FAIL if self.difference < -self.allowed else Verdict.PASS

    @property
    def reason(self) -> str:
        """Why not; or that it is better than predicted, which is worth knowing and no fault."""
        if abs(self.difference) <= self.allowed:
            return ""
        side = "below" if self.difference < 0 else "above"
        return (
            f"accuracy: {self.top1.value:.2f} % on the test set is {abs(self.difference):.2f} points {side} the "
            f"predicted {self.predicted.value:.2f} %, {self.allowed:.2f} are allowed"
        )


@dataclass(frozen=True)
class AccuracyNotMeasured:
    """Why there is no accuracy; ``asked`` is False when none was wanted."""

    why: str
    asked: bool

    @property
    def verdict(self) -> Verdict:
        """Never a pass."""
        return Verdict.NOT_MEASURED

    @property
    def reason(self) -> str:
        """What to say."""
        return f"accuracy: not measured: {self.why}"
