"""A check as people read it on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from binas_deploy.cli.render import duration, facts, table
from binas_deploy.report.check import (
    conditions_lines,
    effect_text,
    latencies_text,
    reasons,
    rule_text,
    verdict_text,
)

if TYPE_CHECKING:
    from binas_deploy.gate.report import BundleCheck, CheckReport


def check_text(report: CheckReport) -> str:
    """A row for each bundle, what to know of each, how it was decided, and the verdict on all."""
    header = ("bundle", "outputs", "base", "head", "change (95 %)", "verdict")
    rows = [_row(bundle) for bundle in report.bundles]
    notes = [(bundle.name, text) for bundle in report.bundles for text in reasons(bundle)]
    notes += [(name, "in the base alone") for name in report.removed]
    last = [
        ("against", report.against),
        *(("measured", line) for line in conditions_lines(report)),
        *([("decided", text)] if (text := rule_text(report)) else []),
        ("took", duration(report.seconds)),
        ("verdict", verdict_text(report)),
    ]
    return "\n\n".join([table(header, rows), *([facts(notes)] if notes else []), facts(last)])


def _row(bundle: BundleCheck) -> tuple[object, ...]:
    return (bundle.name, _outputs(bundle), *latencies_text(bundle), effect_text(bundle), bundle.outcome.value)


def _outputs(bundle: BundleCheck) -> str:
    """The largest difference, relative to the largest output."""
    numerics = bundle.numerics
    if numerics is None:
        return "not run"
    if numerics.unchecked:
        return "not checked"
    return "not finite" if numerics.relative is None else f"{numerics.relative:.1e}"
