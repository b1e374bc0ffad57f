"""A check as Markdown for pull requests, and the sentences that it shares with the terminal and JUnit."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from binas_deploy.conditions import unmeasured_text
from binas_deploy.gate.comparison import Comparison
from binas_deploy.gate.judgement import ERROR_RATE, MUST_SEE, Change
from binas_deploy.gate.report import BundleCheck, CheckReport, NotTimed, Outcome
from binas_deploy.gate.stored import Stored

_SIGNS: Final[Mapping[Outcome, str]] = MappingProxyType(
    {
        Outcome.FAILED: "❌",
        Outcome.REGRESSED: "❌",
        Outcome.INCONCLUSIVE: "❔",
        Outcome.NOT_COMPARED: "➖",
        Outcome.ACCEPTED: "☑️",
        Outcome.IMPROVED: "✅",
        Outcome.UNCHANGED: "✅",
        Outcome.FINE: "✅",
    }
)


def effect_text(bundle: BundleCheck) -> str:
    """The change in percent with its interval, such as ``+3.1 % (+2.2 to +4.0)``; '-' where nothing was timed."""
    timing = bundle.timing
    if isinstance(timing, NotTimed):
        return "-"
    if isinstance(timing, Stored):
        half = timing.half_width
        return f"{timing.percent:+.1f} % ({timing.percent - half:+.1f} to {timing.percent + half:+.1f})"
    effect = timing.judgement.effect
    return f"{effect.percent:+.1f} % ({effect.low:+.1f} to {effect.high:+.1f})"


def latencies_text(bundle: BundleCheck) -> tuple[str, str]:
    """Base and head, ``0.4361 ms``."""
    timing = bundle.timing
    if isinstance(timing, NotTimed):
        return "-", "-"
    return f"{timing.base_ns / 1e6:.4g} ms", f"{timing.head_ns / 1e6:.4g} ms"


def reasons(bundle: BundleCheck) -> list[str]:
    """What a person should know of a bundle, beside its figures."""
    found = [bundle.fault]
    if bundle.numerics is not None and bundle.numerics.unchecked:
        found.append(f"outputs not checked: {bundle.numerics.unchecked}")
    timing = bundle.timing
    if isinstance(timing, NotTimed):
        found.append(timing.why)
    elif timing.simulated:
        found.append(f"the latencies are {unmeasured_text(timing.head.conditions.identity)}, so nothing is shown")
    else:
        found += _of_stored(timing) if isinstance(timing, Stored) else _of_pairs(bundle, timing)
    return [text for text in found if text]


def rule_text(report: CheckReport) -> str:
    """How it was decided."""
    count = report.comparisons
    if not count:
        return ""
    split = f", split evenly over {count} bundles" if count > 1 else ""
    if any(isinstance(bundle.timing, Stored) for bundle in report.bundles):
        return f"relative to anchors measured on both machines; threshold {100 * report.threshold:g} %"
    return (
        f"{report.pairs} pairs of fresh processes a round, signed-rank test, threshold {100 * report.threshold:g} %, "
        f"confirmed by a second round; false alarms in at most {100 * ERROR_RATE:g} % of checks{split}"
    )


def verdict_text(report: CheckReport) -> str:
    """In a few words, such as ``REGRESSED (exit code 1)``."""
    only = ", report only: latency does not decide" if report.report_only else ""
    return f"{report.outcome.value.upper()} (exit code {report.exit_code}{only})"


def check_markdown(report: CheckReport) -> str:
    """A summary for a pull request: verdict, table, what to know, conditions."""
    lines = [
        f"### {_SIGNS[report.outcome]} Latency check: {report.outcome.value}",
        "",
        f"Against {_plain(report.against)}.",
        "",
    ]
    lines += ["| Bundle | Verdict | Base | Head | Change (95 %) |", "|---|---|---|---|---|"]
    for bundle in report.bundles:
        cells = (
            bundle.name,
            f"{_SIGNS[bundle.outcome]} {bundle.outcome.value}",
            *latencies_text(bundle),
            effect_text(bundle),
        )
        lines.append("| " + " | ".join(map(_plain, cells)) + " |")
    notes = [f"- **{_plain(bundle.name)}**: {_plain(text)}" for bundle in report.bundles for text in reasons(bundle)]
    removed = [f"- **{_plain(name)}** is in the base alone." for name in report.removed]
    conditions = [f"- {_plain(text)}" for text in (*conditions_lines(report), rule_text(report)) if text]
    lines += ["", *notes, *removed, "", "<details><summary>Conditions</summary>", "", *conditions, ""]
    lines += [f"- Exit code {report.exit_code}, {report.seconds:.0f} s", "", "</details>", ""]
    return "\n".join(lines)


def conditions_lines(report: CheckReport) -> list[str]:
    """Device and environments, once each."""
    found: dict[str, None] = {}
    for bundle in report.bundles:
        timing = bundle.timing
        if isinstance(timing, NotTimed):
            continue
        identity = timing.head.conditions.identity
        threads = f"{identity['threads']} thread" + ("" if identity["threads"] == "1" else "s")
        device = f"{identity['device']}: {identity['device_model']}"
        found[f"{device}, {threads}, {identity['precision']}, batch {identity['batch']}, {identity['cadence']}"] = None
        for name, side in (("base", timing.base), ("head", timing.head)):
            found[f"{name}: {side.runtime}" + (f", Python {side.python}" if side.python else "")] = None
    return list(found)


def _of_pairs(bundle: BundleCheck, timing: Comparison) -> list[str]:
    judged, threshold = timing.judgement, 100 * timing.rule.threshold
    found = []
    if bundle.cause is not None and judged.change is Change.SLOWER:
        found.append(f"where: {bundle.cause.text}")
    if judged.change is Change.INCONCLUSIVE:
        found.append(
            f"this machine is too noisy now: only a change of {judged.effect.detectable:.1f} % or more would have been "
            f"seen, and {MUST_SEE * threshold:g} % has to be ({MUST_SEE:g} times the threshold). Close other programs, "
            "or raise --pairs or --threshold."
        )
    elif judged.rounds == 2 and not judged.confirmed:
        found.append("the first round suspected a change, the second did not confirm it")
    elif judged.change is Change.NONE:
        found.append(f"a change of {judged.effect.detectable:.1f} % or more would have been seen")
    if bundle.outcome is Outcome.ACCEPTED and bundle.accepted is not None:
        found.append(f"accepted on {bundle.accepted.created[:10]}: {bundle.accepted.reason}")
    if timing.since and bundle.cause is None:  # which says it too
        found.append(f"the sides differ: {timing.since}")
    return found


def _of_stored(timing: Stored) -> list[str]:
    machine = timing.machine
    how = (
        f"against a latency {timing.base.what}, not run here: only relative to {machine.anchors} networks measured "
        f"then and now, by which this machine takes {machine.scale:.3f} times as long"
    )
    found = [how]
    if timing.change is Change.INCONCLUSIVE:
        found.append(
            f"the machines agree too little: only a change of {timing.detectable:.1f} % or more would be seen. Run the "
            "base here, or raise --threshold."
        )
    return found


def _plain(text: str) -> str:
    """Without what Markdown or HTML would take as its own: names and reasons are anyone's."""
    for sign in "\\`*_[]<>|":
        text = text.replace(sign, f"\\{sign}" if sign not in "<>" else {"<": "&lt;", ">": "&gt;"}[sign])
    return " ".join(text.split())
