"""The document of a verification: its fields as they stand in the file, and the way to the parts of a report.

Format history of ``binas-deploy/verification``:

1. The first: parity of each format, latency in several processes with all raw samples, accuracy, what was asked
   besides (a sustained run, a sweep), the conditions they were found under, and the verdict. Parity and accuracy are
   either what was found or the reason why they were not.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from binas_deploy.bundle.latency_document import (
    Amount,
    LatencyDocument,
    Number,
    ParityDocument,
    ParityNotMeasuredDocument,
    Text,
    VerdictName,
)
from binas_deploy.bundle.soak import SoakDocument
from binas_deploy.bundle.sweep import PointDocument
from binas_deploy.bundle.verification_parts import Accuracy, AccuracyNotMeasured, SetUse
from binas_deploy.conditions import ConditionsDocument
from binas_deploy.estimate import EstimateDocument
from binas_deploy.table.names import TIME_PATTERN

VERIFICATION_KIND: Final = "verification"
VERIFICATION_VERSION: Final = 1


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _Use(_Strict):
    space: Annotated[str, Field(max_length=255)]
    number: Annotated[int, Field(ge=1)]
    networks: Annotated[int, Field(ge=1)]


class _Measured(_Strict):
    verdict: Literal["pass", "fail"]
    top1_percent: Number
    interval: Annotated[list[Number], Field(min_length=2, max_length=2)]
    correct: Annotated[int, Field(ge=0)]
    images: Annotated[int, Field(ge=1)]
    data: Text
    use: _Use | None
    predicted: EstimateDocument
    difference: Number
    allowed: Amount

    def accuracy(self) -> Accuracy:
        use = SetUse(**self.use.model_dump()) if self.use else None
        return Accuracy(self.correct, self.images, self.data, self.predicted.estimate(), use)


class _NotMeasured(_Strict):
    verdict: Literal["not measured"]
    reason: str
    asked: bool

    def accuracy(self) -> AccuracyNotMeasured:
        return AccuracyNotMeasured(self.reason, self.asked)


class VerificationDocument(_Strict):
    """The whole document."""

    format: str
    version: int
    digest: str
    bundle: Annotated[str, Field(max_length=255)]
    manifest_digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    program_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    created: Annotated[str, Field(pattern=TIME_PATTERN)]
    simulated: bool
    verdict: VerdictName
    exit_code: Annotated[int, Field(ge=0, le=255)]
    reasons: list[str]
    parity: Annotated[ParityDocument | ParityNotMeasuredDocument, Field(discriminator="verdict")]
    formats: list[ParityDocument]
    latency: LatencyDocument
    accuracy: Annotated[_Measured | _NotMeasured, Field(discriminator="verdict")]
    soak: SoakDocument | None
    sweep: list[PointDocument]
    conditions: ConditionsDocument
    seed: Annotated[int, Field(ge=0)]


def accuracy_json(accuracy: Accuracy | AccuracyNotMeasured) -> dict[str, Any]:
    """The document form, with what is derived."""
    if isinstance(accuracy, AccuracyNotMeasured):
        return {"verdict": accuracy.verdict.value, "reason": accuracy.why, "asked": accuracy.asked}
    return {
        "verdict": accuracy.verdict.value,
        "top1_percent": accuracy.top1.value,
        "interval": [accuracy.top1.low, accuracy.top1.high],
        "correct": accuracy.correct,
        "images": accuracy.images,
        "data": accuracy.data,
        "use": dict(vars(accuracy.use)) if accuracy.use else None,
        "predicted": accuracy.predicted.to_json(),
        "difference": accuracy.difference,
        "allowed": accuracy.allowed,
    }
