"""A check as JUnit XML."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from binas_deploy.gate.report import BundleCheck, CheckReport, NotTimed, Outcome
from binas_deploy.report.check import effect_text, latencies_text, reasons
from binas_deploy.report.junit import Case, junit_xml
from binas_deploy.report.junit import Outcome as JUnitOutcome

_JUNIT: Final[Mapping[Outcome, JUnitOutcome]] = MappingProxyType(
    {
        Outcome.FAILED: "fail",
        Outcome.REGRESSED: "fail",
        Outcome.INCONCLUSIVE: "error",
        Outcome.NOT_COMPARED: "skipped",
        Outcome.UNCHANGED: "skipped",
    }
)


def check_junit(report: CheckReport) -> str:
    """Each bundle as a test case of files and outputs, and one of latency."""
    cases = []
    for bundle in report.bundles:
        why = "; ".join(reasons(bundle))
        sound: JUnitOutcome = "fail" if bundle.fault else "pass"
        if bundle.numerics is not None and bundle.numerics.unchecked:
            sound = "skipped"
        cases.append(Case("files and outputs", bundle.name, sound, bundle.fault or why, ""))
        cases.append(_latency_case(report, bundle, why))
    return junit_xml("binas-deploy check", cases)


def _latency_case(report: CheckReport, bundle: BundleCheck, why: str) -> Case:
    outcome = _JUNIT.get(bundle.latency_outcome, "pass")
    if report.report_only and outcome in ("fail", "error"):
        outcome = "skipped"
    base, head = latencies_text(bundle)
    said = f"{bundle.latency_outcome.value}: {effect_text(bundle)}, {base} to {head}"
    seconds = 0.0 if isinstance(bundle.timing, NotTimed) else bundle.timing.seconds
    return Case("latency", bundle.name, outcome, "; ".join(filter(None, (said, why))), said, seconds)
