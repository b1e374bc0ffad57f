"""Parity: outputs against a reference, with the figures, the verdict, and the node where they part.

Facts are stored; figures and verdicts are derived from them in one place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Final

import numpy as np
from numpy.typing import NDArray

from binas_deploy.bundle.tolerances import Tolerance, coarser, tolerance_of
from binas_deploy.bundle.verification_parts import Verdict
from binas_deploy.errors import InputError
from binas_deploy.model import OUTPUT_NAME

STORED: Final = "the stored outputs"


@dataclass(frozen=True)
class Divergence:
    """Where a device parts from the reference: the first node whose inputs agree and whose output does not.

    ``block``: the place of that node in the network, such as ``stages.2.1``, and ``text`` its block string ('' for what
    has none); ``relative``: how far its output is off, of its largest value (None: it is not finite). Where no node
    parts them, ``node`` is ''. ``against``: what gave the reference; ``compiled``: how many cut networks were.
    """

    node: str
    operator: str
    block: str
    text: str
    relative: float | None
    against: str
    compiled: int

    @property
    def reason(self) -> str:
        """In words."""
        if not self.node:
            return (
                f"the device agrees with {self.against} at every node that was looked at, so it computes the model as "
                "it stands: the model itself is not what gave the stored outputs; export the bundle again"
            )
        off = "is not finite" if self.relative is None else f"is off by {self.relative:.2g} of its largest value"
        named = f" ({self.text})" if self.text else ""
        return (
            f"it begins at node {self.node}, {self.operator}, in {self.block or 'the network'}{named}: what goes in "
            f"agrees with {self.against}, what comes out {off}"
        )


@dataclass(frozen=True)
class Parity:
    """Outputs of ``form`` in ``precision`` against those of ``against``, over ``vectors`` inputs.

    ``max_abs_diff`` over all; ``max_abs_ref``: the largest of the reference; ``cosine``: the least of any input's
    outputs with its reference; ``top1``: the share of inputs with the same largest output. The device's figures are
    None where it gave values that are not finite, or where nothing was compared.
    """

    vectors: int
    max_abs_diff: float | None
    max_abs_ref: float
    cosine: float | None
    top1: float | None
    tolerance: Tolerance
    form: str = "onnx"
    precision: str = "fp32"
    against: str = STORED
    output: str = OUTPUT_NAME
    divergence: Divergence | None = None

    @classmethod
    def of(
        cls,
        outputs: NDArray[np.float32],
        reference: NDArray[np.float32],
        *,
        form: str = "onnx",
        precision: str = "fp32",
        against: str = STORED,
    ) -> Parity:
        """Compare outputs (n, classes) with the ``reference`` of the same shape.

        Raises:
            InputError: the shapes differ, or a precision without a tolerance.
        """
        if outputs.shape != reference.shape:
            raise InputError(f"outputs of shape {outputs.shape} cannot be compared with {reference.shape}.")
        found, wanted = outputs.astype(np.float64), reference.astype(np.float64)
        told = bool(np.isfinite(found).all() and np.isfinite(wanted).all()) and len(found) > 0
        return cls(
            vectors=len(reference),
            max_abs_diff=float(np.abs(found - wanted).max(initial=0.0)) if told else None,
            max_abs_ref=float(np.abs(wanted[np.isfinite(wanted)]).max(initial=0.0)),
            cosine=_least_cosine(found, wanted) if told else None,
            top1=float(np.mean(found.argmax(axis=1) == wanted.argmax(axis=1))) if told else None,
            tolerance=tolerance_of(form, precision),
            form=form,
            precision=precision,
            against=against,
        )

    @property
    def relative(self) -> float | None:
        """Largest difference over largest reference output; None when that has no value."""
        if self.max_abs_diff is None or (self.max_abs_ref == 0 and self.max_abs_diff > 0):
            return None
        return self.max_abs_diff / self.max_abs_ref if self.max_abs_ref else 0.0

    @property
    def what(self) -> str:
        """``onnx`` against the stored outputs, or ``openvino against onnx``."""
        return self.form if self.against == STORED else f"{self.form} against {self.against}"

    @property
    def verdict(self) -> Verdict:
        """Comparing nothing fails: it would show nothing."""
        compared = self.vectors > 0 and self.relative is not None
        return Verdict.PASS if compared and not self._misses else Verdict.FAIL

    @property
    def reason(self) -> str:
        """Why not, empty when it passes."""
        if self.verdict is Verdict.PASS:
            return ""
        if self.vectors == 0:
            return f"parity of {self.what}: no test vectors, so nothing was compared; export the bundle again"
        if self.relative is None:
            said = "it gave values that are not finite, or any where all of the reference are zero"
        else:
            said = "; ".join(self._misses)
        where = f". {_capital(self.divergence.reason)}" if self.divergence else ""
        return f"parity of {self.what}: {said}{where}"

    @property
    def _misses(self) -> list[str]:
        allowed = self.tolerance
        found = []
        if allowed.relative is not None and self.relative is not None and self.relative > allowed.relative:
            found.append(
                f"outputs differ by {self.relative:.2g} of the largest one, at most {allowed.relative:g} is allowed"
            )
        if allowed.cosine is not None and self.cosine is not None and self.cosine < allowed.cosine:
            found.append(f"an output's cosine with its reference is {self.cosine:.4f}, at least {allowed.cosine:g}")
        if allowed.top1 is not None and self.top1 is not None and self.top1 < allowed.top1:
            found.append(f"{100 * self.top1:.0f} % keep their class, at least {100 * allowed.top1:g} %")
        return found

    def located(self, divergence: Divergence | None) -> Parity:
        """The same, with the node where they part."""
        return replace(self, divergence=divergence)


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


@dataclass(frozen=True, eq=False)
class FormatOutputs:
    """What one format of a bundle gave for the stored inputs: (n, classes)."""

    form: str
    precision: str
    outputs: NDArray[np.float32]


def against_stored(found: Sequence[FormatOutputs], stored: NDArray[np.float32]) -> tuple[Parity, ...]:
    """Each format against the outputs that the bundle stores (n, classes)."""
    return tuple(Parity.of(row.outputs, stored, form=row.form, precision=row.precision) for row in found)


def between(found: Sequence[FormatOutputs]) -> tuple[Parity, ...]:
    """Every two formats with each other, by the tolerance of the one that rounds more; empty for a single one.

    The later of the two is judged, the earlier is its reference.
    """
    return tuple(
        Parity.of(
            other.outputs,
            first.outputs,
            form=other.form,
            precision=coarser(first.precision, other.precision),
            against=first.form,
        )
        for first, other in combinations(found, 2)
    )


def _least_cosine(found: NDArray[np.float64], wanted: NDArray[np.float64]) -> float:
    """Of any row; two rows of zeros are alike, one alone is unlike anything."""
    products = (found * wanted).sum(axis=1)
    lengths = np.sqrt((found**2).sum(axis=1) * (wanted**2).sum(axis=1))
    alike = (found == wanted).all(axis=1)
    cosines = np.where(alike, 1.0, products / np.where(lengths > 0, lengths, 1.0))
    return float(np.clip(cosines, -1.0, 1.0).min())


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
