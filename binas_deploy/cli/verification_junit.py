"""A verification as JUnit XML: cases for the files, parity of each format, latency, a sustained run, accuracy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from binas_deploy.bundle.verification import Parity, Verdict
from binas_deploy.cli.verification_report import latency_line, parity_line, slack_text
from binas_deploy.report.junit import Case, Outcome, junit_xml

if TYPE_CHECKING:
    from binas_deploy.bundle.verification import VerificationReport

_OUTCOMES: Final[dict[Verdict, Outcome]] = {
    Verdict.PASS: "pass",
    Verdict.FAIL: "fail",
    Verdict.INCONCLUSIVE: "error",
    Verdict.NOT_MEASURED: "skipped",
}


def verification_junit(report: VerificationReport) -> str:
    """The document as text. What could not be decided is an error, what was not measured is skipped."""
    name = f"verify.{report.bundle}"
    return junit_xml(name, [_files(report, name), *_parities(report, name), *_measured(report, name)])


def _files(report: VerificationReport, name: str) -> Case:
    """A report exists only where all files were what the manifest states."""
    return Case("files", name, "pass", text=f"program {report.program_sha256}\nmanifest {report.manifest_digest}")


def _parities(report: VerificationReport, name: str) -> list[Case]:
    cases = []
    for found in (report.parity, *report.formats):
        what = found.what if isinstance(found, Parity) else "outputs"
        text = parity_line(found) if isinstance(found, Parity) else ""
        cases.append(Case(f"parity of {what}", name, _OUTCOMES[found.verdict], found.reason, text))
    return cases


def _measured(report: VerificationReport, name: str) -> list[Case]:
    latency, accuracy, soak = report.latency, report.accuracy, report.soak
    outcome: Outcome = "error" if report.simulated and latency.verdict is Verdict.PASS else _OUTCOMES[latency.verdict]
    unmeasured = next((reason for reason in report.reasons if "no clock measured" in reason), "")
    said = latency.reason or (unmeasured if report.simulated else "")
    seconds = float(latency.noise.get("measured_s", "0"))
    found = f"{latency_line(latency)}\n{slack_text(latency)}"
    cases = [Case(f"latency {latency.statistic}", name, outcome, said, found, seconds)]
    if soak is not None:
        cases.append(Case("sustained latency", name, _OUTCOMES[soak.verdict], soak.reason, soak.text, soak.seconds))
    return [*cases, Case("accuracy", name, _OUTCOMES[accuracy.verdict], accuracy.reason)]
