"""The document of a verification: its fields as they stand in the file, and the way to the parts of a report.

Format history of ``binas-deploy/verification``:

1. The first: parity, latency with all raw samples, accuracy, the conditions they were found under, and the verdict.
   Parity and accuracy are either what was found or the reason why they were not.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from binas_deploy.bundle.latency import AnchorMedians, Latency
from binas_deploy.bundle.manifest_document import Noise
from binas_deploy.bundle.verification_parts import Accuracy, AccuracyNotMeasured, Parity, ParityNotMeasured
from binas_deploy.conditions import ConditionsDocument
from binas_deploy.estimate import EstimateDocument
from binas_deploy.measurement import Measurement, MeasurementDocument
from binas_deploy.table.names import NAME_PATTERN, TIME_PATTERN

VERIFICATION_KIND: Final = "verification"
VERIFICATION_VERSION: Final = 1

_Number = Annotated[float, Field(allow_inf_nan=False)]
_Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Time = Annotated[float, Field(ge=1, le=1e18)]
_Verdict = Literal["pass", "fail", "inconclusive", "not measured"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _Parity(_Strict):
    verdict: Literal["pass", "fail"]
    vectors: Annotated[int, Field(ge=0)]
    max_abs_diff: _Amount | None
    max_abs_ref: _Amount
    relative: _Amount | None
    tolerance: Annotated[float, Field(gt=0, allow_inf_nan=False)]

    def parity(self) -> Parity:
        return Parity(self.vectors, self.max_abs_diff, self.max_abs_ref, self.tolerance)


class _ParityNotMeasured(_Strict):
    verdict: Literal["not measured"]
    reason: str

    def parity(self) -> ParityNotMeasured:
        return ParityNotMeasured(self.reason)


class _Anchor(_Strict):
    kind: Annotated[str, Field(pattern=NAME_PATTERN)]
    then_ns: _Time
    now_ns: _Time


class _Machine(_Strict):
    scale: _Number
    offset_ns: _Number
    relative_sd: _Amount
    anchors: Annotated[int, Field(ge=1)]


class _Latency(_Strict):
    verdict: _Verdict
    unit: Literal["ns"]
    budget: Annotated[int, Field(ge=1, le=10**18)]
    statistic: Literal["p25", "median", "p90", "p95", "p99"]
    value: _Time
    interval: Annotated[list[int], Field(min_length=2, max_length=2)] | None
    median: _Time
    p90: _Time
    p95: _Time
    p99: _Time
    samples: Annotated[int, Field(ge=1)]
    rounds: Annotated[int, Field(ge=1)]
    predicted: EstimateDocument
    machine: _Machine
    predicted_now: _Number
    error_percent: _Number
    headroom_percent: _Number
    stopped_by: Annotated[str, Field(max_length=64)]
    noise: dict[str, str]
    anchor_noise: Noise
    anchors: Annotated[list[_Anchor], Field(min_length=1)]
    measurement: MeasurementDocument

    def latency(self) -> Latency:
        return Latency(
            measurement=Measurement.from_document(self.measurement),
            budget_ns=self.budget,
            predicted=self.predicted.estimate(),
            anchors=tuple(AnchorMedians(**row.model_dump()) for row in self.anchors),
            rounds=self.rounds,
            stopped_by=self.stopped_by,
            noise=self.noise,
            anchor_noise=self.anchor_noise,
            statistic=self.statistic,
        )


class _Measured(_Strict):
    verdict: Literal["pass", "fail"]
    top1_percent: _Number
    interval: Annotated[list[_Number], Field(min_length=2, max_length=2)]
    correct: Annotated[int, Field(ge=0)]
    images: Annotated[int, Field(ge=1)]
    data: Annotated[str, Field(max_length=1000)]
    predicted: EstimateDocument
    difference: _Number
    allowed: _Amount

    def accuracy(self) -> Accuracy:
        return Accuracy(self.correct, self.images, self.data, self.predicted.estimate())


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
    verdict: _Verdict
    exit_code: Annotated[int, Field(ge=0, le=255)]
    reasons: list[str]
    parity: Annotated[_Parity | _ParityNotMeasured, Field(discriminator="verdict")]
    latency: _Latency
    accuracy: Annotated[_Measured | _NotMeasured, Field(discriminator="verdict")]
    conditions: ConditionsDocument
    seed: Annotated[int, Field(ge=0)]


def parity_json(parity: Parity | ParityNotMeasured) -> dict[str, Any]:
    """The document form, with what is derived."""
    if isinstance(parity, ParityNotMeasured):
        return {"verdict": parity.verdict.value, "reason": parity.why}
    return {
        "verdict": parity.verdict.value,
        "vectors": parity.vectors,
        "max_abs_diff": parity.max_abs_diff,
        "max_abs_ref": parity.max_abs_ref,
        "relative": parity.relative,
        "tolerance": parity.tolerance,
    }


def latency_json(latency: Latency) -> dict[str, Any]:
    """The document form, with what is derived; all times in ns."""
    measured = latency.measurement
    return {
        "verdict": latency.verdict.value,
        "unit": "ns",
        "budget": latency.budget_ns,
        "statistic": latency.statistic,
        "value": latency.value_ns,
        "interval": latency.interval and list(latency.interval),
        "median": measured.median,
        "p90": measured.p90,
        "p95": measured.p95,
        "p99": measured.p99,
        "samples": len(measured),
        "rounds": latency.rounds,
        "predicted": latency.predicted.to_json(),
        "machine": dict(vars(latency.machine)),
        "predicted_now": latency.predicted_now_ns,
        "error_percent": latency.error_percent,
        "headroom_percent": latency.headroom_percent,
        "stopped_by": latency.stopped_by,
        "noise": dict(latency.noise),
        "anchor_noise": latency.anchor_noise,
        "anchors": [dict(vars(anchor)) for anchor in latency.anchors],
        "measurement": measured.to_json(),
    }


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
        "predicted": accuracy.predicted.to_json(),
        "difference": accuracy.difference,
        "allowed": accuracy.allowed,
    }
