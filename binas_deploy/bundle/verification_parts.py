"""Parity and accuracy as a verification finds them, each with its facts and the verdict that follows.

Facts are stored; figures and verdicts are derived from them in one place.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from binas_deploy.errors import InputError
from binas_deploy.estimate import Estimate
from binas_deploy.proportion import wilson

PARITY_TOLERANCE: Final = 1e-4
"""Most that outputs may differ, relative to the largest reference output."""
ACCURACY_ALLOWANCE: Final = 1.0
"""Points that a test accuracy may lie from the predicted one, beside the sampling error of both."""


class Verdict(str, Enum):
    """What a check found."""

    PASS = "pass"  # noqa: S105 -- no password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Parity:
    """The device's outputs against the stored ones, over ``vectors`` inputs; ``max_abs_ref`` is the largest stored one.

    ``max_abs_diff`` is None when the device gave values that are not finite.
    """

    vectors: int
    max_abs_diff: float | None
    max_abs_ref: float
    tolerance: float = PARITY_TOLERANCE

    @classmethod
    def of(cls, outputs: NDArray[np.float32], reference: NDArray[np.float32]) -> Parity:
        """Compare outputs (n, classes) with the stored ``reference`` of the same shape.

        Raises:
            InputError: the shapes differ.
        """
        if outputs.shape != reference.shape:
            raise InputError(f"outputs of shape {outputs.shape} cannot be compared with {reference.shape}.")
        found, wanted = outputs.astype(np.float64), reference.astype(np.float64)
        finite = bool(np.isfinite(found).all())
        difference = float(np.abs(found - wanted).max(initial=0.0)) if finite else None
        return cls(len(reference), difference, float(np.abs(wanted).max(initial=0.0)))

    @property
    def relative(self) -> float | None:
        """Largest difference over largest reference output; None when that has no value."""
        if self.max_abs_diff is None or (self.max_abs_ref == 0 and self.max_abs_diff > 0):
            return None
        return self.max_abs_diff / self.max_abs_ref if self.max_abs_ref else 0.0

    @property
    def verdict(self) -> Verdict:
        """Comparing nothing fails: it would show nothing."""
        holds = self.vectors > 0 and self.relative is not None and self.relative <= self.tolerance
        return Verdict.PASS if holds else Verdict.FAIL

    @property
    def reason(self) -> str:
        """Why not, empty when it passes."""
        if self.verdict is Verdict.PASS:
            return ""
        if self.vectors == 0:
            return "parity: the bundle has no test vectors, so nothing was compared; export it again"
        if self.relative is None:
            return "parity: the device gave values that are not finite, or any where all stored outputs are zero"
        return (
            f"parity: outputs differ by {self.relative:.2g} of the largest one, at most {self.tolerance:g} is allowed"
        )


@dataclass(frozen=True)
class ParityNotMeasured:
    """Why outputs were not compared: the device gives none."""

    why: str

    @property
    def verdict(self) -> Verdict:
        """Never a pass."""
        return Verdict.NOT_MEASURED

    @property
    def reason(self) -> str:
        """What to say."""
        return f"parity: not checked: {self.why}"


@dataclass(frozen=True)
class Accuracy:
    """``correct`` of ``images`` test images of ``data``; ``predicted`` in percent, made without them.

    Raises:
        InputError: no images, or more correct ones than there are.
    """

    correct: int
    images: int
    data: str
    predicted: Estimate

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
