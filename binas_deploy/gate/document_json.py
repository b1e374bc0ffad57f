"""From a report of a check to the content of its document, with what is derived; `document` is the way back."""

from __future__ import annotations

from typing import Any

from binas_deploy.gate.cause import Cause
from binas_deploy.gate.comparison import Comparison, Side
from binas_deploy.gate.report import BundleCheck, CheckReport, NotTimed, Timing
from binas_deploy.gate.stored import Stored


def report_json(report: CheckReport) -> dict[str, Any]:
    """The content of the document, with what is derived."""
    return {
        "created": report.created,
        "against": report.against,
        "outcome": report.outcome.value,
        "exit_code": report.exit_code,
        "threshold": report.threshold,
        "pairs": report.pairs,
        "report_only": report.report_only,
        "seed": report.seed,
        "seconds": report.seconds,
        "removed": list(report.removed),
        "bundles": [_bundle_json(bundle) for bundle in report.bundles],
    }


def _bundle_json(bundle: BundleCheck) -> dict[str, Any]:
    return {
        "name": bundle.name,
        "manifest_digest": bundle.manifest_digest,
        "outcome": bundle.outcome.value,
        "fault": bundle.fault,
        "numerics": bundle.numerics and dict(vars(bundle.numerics)),
        "latency": _timing_json(bundle.timing),
        "cause": bundle.cause and _cause_json(bundle.cause),
        "accepted": bundle.accepted and bundle.accepted.to_json(),
    }


def _timing_json(timing: Timing) -> dict[str, Any]:
    if isinstance(timing, NotTimed):
        return dict(vars(timing))
    shared = {
        "base_ns": timing.base_ns,
        "head_ns": timing.head_ns,
        "rule": dict(vars(timing.rule)),
        "base": _side_json(timing.base),
        "head": _side_json(timing.head),
        "seconds": timing.seconds,
    }
    if isinstance(timing, Stored):
        return {**_stored_json(timing), **shared}
    return {**_comparison_json(timing), **shared}


def _comparison_json(timing: Comparison) -> dict[str, Any]:
    return {
        "kind": "pairs",
        "change": timing.change.value,
        "suspected": timing.judgement.suspected.value,
        "effect": dict(vars(timing.judgement.effect)),
        "rounds": [
            [{"base_ns": list(pair.base_ns), "head_ns": list(pair.head_ns)} for pair in pairs]
            for pairs in timing.rounds
        ],
    }


def _stored_json(timing: Stored) -> dict[str, Any]:
    return {
        "kind": "relative to anchors",
        "change": timing.change.value,
        "percent": timing.percent,
        "half_width": timing.half_width,
        "detectable": timing.detectable,
        "base_then_ns": timing.base_then_ns,
        "anchors": [dict(vars(anchor)) for anchor in timing.anchors],
        "noise": timing.noise,
    }


def _side_json(side: Side) -> dict[str, Any]:
    return {
        "what": side.what,
        "manifest_digest": side.manifest_digest,
        "program": side.program,
        "python": side.python,
        "simulated": side.simulated,
        "conditions": side.conditions.to_json(),
    }


def _cause_json(cause: Cause) -> dict[str, Any]:
    parts = [
        {
            "stage": part.stage,
            "what": part.what,
            "percent": part.percent,
            "lost_ns": part.lost_ns,
            "base_ns": list(part.base_ns),
            "head_ns": list(part.head_ns),
        }
        for part in cause.parts
    ]
    return {"text": cause.text, "since": cause.since, "untold": cause.untold, "parts": parts}
