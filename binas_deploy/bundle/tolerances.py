"""How far outputs may lie from their reference: one table, by what runs the network and in which precision.

fp32
    1e-4 of the largest reference value. Sums of float32 in another order differ by some 1e-6 of it here (ONNX Runtime
    7e-7, OpenVINO 1e-6, TVM 2e-6, torch compiled 1e-6), a wrong operator by 1e-2 and more: 1e-4 lies between.
fp16
    2e-2: half precision rounds by 2^-11 = 5e-4, which adds up over some fifty layers; it is what the exam of adapters
    asks. A cosine of 0.999 besides, since one large output would hide the others in it.
int8
    The reference is what ONNX's own evaluator makes of the quantised network: whether the runtime computes what was
    exported. Runtimes round sums and scales in another order, and a value on the edge of two of the 256 steps falls to
    either side: 0.016 of the largest output lay between ONNX Runtime 1.32 and that for a trained network here, and up
    to 0.26 between 1.23 and that for random ones, which enlarge it. A wrong scale or zero point brings the cosine
    below 0.9. What int8 costs is told by the accuracy, and by ``sensitivity.json``.

TF32 and bfloat16 inside fp32, where a runtime uses them unasked, are found out by the first row, as they should be.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field

from binas_deploy.errors import InputError

_Share = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]


@dataclass(frozen=True)
class Tolerance:
    """``relative``: most difference, as a share of the largest reference value; ``cosine``: least of any input's
    outputs; ``top1``: least share of inputs that keep their class. None: not judged.

    Raises:
        InputError: it judges nothing.
    """

    relative: float | None = None
    cosine: float | None = None
    top1: float | None = None

    def __post_init__(self) -> None:
        if self.relative is self.cosine is self.top1 is None:
            raise InputError("a tolerance that judges nothing cannot be.")

    @property
    def text(self) -> str:
        """``0.0001 of the largest``, or the like."""
        said = [
            "" if self.relative is None else f"a difference of {self.relative:g} of the largest",
            "" if self.cosine is None else f"a cosine of {self.cosine:g}",
            "" if self.top1 is None else f"{100 * self.top1:g} % of classes kept",
        ]
        return ", ".join(text for text in said if text)

    def to_json(self) -> dict[str, Any]:
        """The document form."""
        return asdict(self)


class ToleranceDocument(BaseModel):
    """The document form."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    relative: _Share | None
    cosine: _Share | None
    top1: _Share | None

    def tolerance(self) -> Tolerance:
        """The value itself."""
        return Tolerance(**self.model_dump())


_ANY: Final = ""
TOLERANCES: Final[Mapping[tuple[str, str], Tolerance]] = MappingProxyType(
    {
        (_ANY, "fp32"): Tolerance(relative=1e-4),
        (_ANY, "fp16"): Tolerance(relative=2e-2, cosine=0.999),
        (_ANY, "int8"): Tolerance(relative=0.2, cosine=0.98),
    }
)
"""By (format, precision); where a format has no row of its own, that of ``''`` holds."""
_COARSE: Final = ("fp32", "fp16", "int8")


def tolerance_of(form: str, precision: str) -> Tolerance:
    """What a format may be off in a precision.

    Raises:
        InputError: no such precision.
    """
    found = TOLERANCES.get((form, precision)) or TOLERANCES.get((_ANY, precision))
    if found is None:
        known = ", ".join(sorted({name for _, name in TOLERANCES}))
        raise InputError(f"precision {precision!r}: there is no tolerance for it. Known: {known}.")
    return found


def coarser(one: str, other: str) -> str:
    """Of two precisions, that which rounds more: it decides how near two formats can come.

    Raises:
        InputError: no such precision.
    """
    for name in (one, other):
        tolerance_of(_ANY, name)
    return max(one, other, key=_COARSE.index)
