"""Latency and parity of a verification: their fields as they stand in the file, and the way to and from the values."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from binas_deploy.bundle.certainty import MOST_PROCESSES
from binas_deploy.bundle.cold_start import ColdStartDocument
from binas_deploy.bundle.latency import AnchorMedians, Latency, ProcessLatency
from binas_deploy.bundle.manifest_document import Noise
from binas_deploy.bundle.parity import Divergence, Parity, ParityNotMeasured
from binas_deploy.bundle.shown import STATISTIC_PATTERN, Shown
from binas_deploy.bundle.tolerances import ToleranceDocument
from binas_deploy.estimate import EstimateDocument
from binas_deploy.measurement import Measurement, MeasurementDocument
from binas_deploy.table.names import NAME_PATTERN

_TEXT: Final = 1000
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Text = Annotated[str, Field(max_length=_TEXT)]
VerdictName = Literal["pass", "fail", "inconclusive", "not measured"]
_Time = Annotated[float, Field(ge=1, le=1e18)]
_Whole = Annotated[int, Field(ge=1, le=10**18)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _Divergence(_Strict):
    node: Text
    operator: Text
    block: Text
    text: Text
    relative: Amount | None
    against: Text
    compiled: Annotated[int, Field(ge=0)]


class ParityDocument(_Strict):
    """Outputs against a reference."""

    verdict: Literal["pass", "fail"]
    format: Text
    precision: Text
    against: Text
    output: Text
    vectors: Annotated[int, Field(ge=0)]
    max_abs_diff: Amount | None
    max_abs_ref: Amount
    relative: Amount | None
    cosine: Annotated[float, Field(ge=-1, le=1)] | None
    top1: Share | None
    tolerance: ToleranceDocument
    divergence: _Divergence | None

    def parity(self) -> Parity:
        """The value itself."""
        return Parity(
            vectors=self.vectors,
            max_abs_diff=self.max_abs_diff,
            max_abs_ref=self.max_abs_ref,
            cosine=self.cosine,
            top1=self.top1,
            tolerance=self.tolerance.tolerance(),
            form=self.format,
            precision=self.precision,
            against=self.against,
            output=self.output,
            divergence=Divergence(**self.divergence.model_dump()) if self.divergence else None,
        )


class ParityNotMeasuredDocument(_Strict):
    """Why there is no parity."""

    verdict: Literal["not measured"]
    reason: str

    def parity(self) -> ParityNotMeasured:
        """The value itself."""
        return ParityNotMeasured(self.reason)


class _Anchor(_Strict):
    kind: Annotated[str, Field(pattern=NAME_PATTERN)]
    then_ns: _Time
    now_ns: _Time


class _Machine(_Strict):
    scale: Number
    offset_ns: Number
    relative_sd: Amount
    anchors: Annotated[int, Field(ge=1)]


class _Process(_Strict):
    value_ns: _Whole
    rounds: Annotated[int, Field(ge=1)]
    cold: ColdStartDocument | None
    slowness: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None

    def process(self) -> ProcessLatency:
        cold = self.cold.cold_start() if self.cold else None
        return ProcessLatency(self.value_ns, self.rounds, cold, self.slowness)


class LatencyDocument(_Strict):
    """Latency in several processes; all times in ns."""

    verdict: VerdictName
    unit: Literal["ns"]
    budget: _Whole
    statistic: Annotated[str, Field(pattern=f"^({STATISTIC_PATTERN})$")]
    cadence: Text
    confidence: Annotated[float, Field(gt=0.5, lt=1)]
    value: _Whole
    interval: Annotated[list[int], Field(min_length=2, max_length=2)] | None
    slack_percent: Number
    sure_slack_percent: Number | None
    headroom_percent: Number
    median: _Time
    p90: _Time
    p95: _Time
    p99: _Time
    samples: Annotated[int, Field(ge=1)]
    rounds: Annotated[int, Field(ge=1)]
    replication: Literal["process", "session", "run"]
    stopped_by: Literal["decided", "processes", "seconds"]
    processes: Annotated[list[_Process], Field(min_length=1, max_length=MOST_PROCESSES)]
    cold: ColdStartDocument | None
    predicted: EstimateDocument | None
    predicted_now: Number | None
    error_percent: Number | None
    machine: _Machine | None
    noise: dict[str, str]
    anchor_noise: Noise
    anchors: list[_Anchor]
    measurement: MeasurementDocument

    def latency(self) -> Latency:
        """The value itself."""
        return Latency(
            measurement=Measurement.from_document(self.measurement),
            budget_ns=self.budget,
            predicted=self.predicted.estimate() if self.predicted else None,
            anchors=tuple(AnchorMedians(**row.model_dump()) for row in self.anchors),
            processes=tuple(row.process() for row in self.processes),
            stopped_by=self.stopped_by,
            noise=self.noise,
            anchor_noise=self.anchor_noise,
            shown=Shown(self.statistic, self.cadence, self.confidence),
            replication=self.replication,
        )


def parity_json(parity: Parity | ParityNotMeasured) -> dict[str, Any]:
    """The document form, with what is derived."""
    if isinstance(parity, ParityNotMeasured):
        return {"verdict": parity.verdict.value, "reason": parity.why}
    return {
        "verdict": parity.verdict.value,
        "format": parity.form,
        "precision": parity.precision,
        "against": parity.against,
        "output": parity.output,
        "vectors": parity.vectors,
        "max_abs_diff": parity.max_abs_diff,
        "max_abs_ref": parity.max_abs_ref,
        "relative": parity.relative,
        "cosine": parity.cosine,
        "top1": parity.top1,
        "tolerance": parity.tolerance.to_json(),
        "divergence": dict(vars(parity.divergence)) if parity.divergence else None,
    }


def latency_json(latency: Latency) -> dict[str, Any]:
    """The document form, with what is derived; all times in ns."""
    measured = latency.measurement
    return {
        "verdict": latency.verdict.value,
        "unit": "ns",
        "budget": latency.budget_ns,
        "statistic": latency.statistic,
        "cadence": latency.shown.cadence,
        "confidence": latency.shown.confidence,
        "value": latency.value_ns,
        "interval": latency.interval and list(latency.interval),
        "slack_percent": latency.slack_percent,
        "sure_slack_percent": latency.sure_slack_percent,
        "headroom_percent": latency.headroom_percent,
        "median": measured.median,
        "p90": measured.p90,
        "p95": measured.p95,
        "p99": measured.p99,
        "samples": len(measured),
        "rounds": latency.rounds,
        "replication": latency.replication,
        "stopped_by": latency.stopped_by,
        "processes": [_process_json(process) for process in latency.processes],
        "cold": latency.cold and latency.cold.to_json(),
        "predicted": latency.predicted and latency.predicted.to_json(),
        "predicted_now": latency.predicted_now_ns,
        "error_percent": latency.error_percent,
        "machine": dict(vars(latency.machine)) if latency.machine else None,
        "noise": dict(latency.noise),
        "anchor_noise": latency.anchor_noise,
        "anchors": [dict(vars(anchor)) for anchor in latency.anchors],
        "measurement": measured.to_json(),
    }


def _process_json(process: ProcessLatency) -> dict[str, Any]:
    return {**vars(process), "cold": process.cold and process.cold.to_json()}
