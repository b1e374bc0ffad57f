"""Verifications as people read them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from binas_deploy.bundle.latency import REPLICATIONS
from binas_deploy.bundle.verification import Accuracy, Parity, ParityNotMeasured, Verdict
from binas_deploy.cli.render import facts, table
from binas_deploy.quantities import format_quantity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from binas_deploy.bundle.verification import ColdStart, Latency, Point, Soak, VerificationReport
    from binas_deploy.estimate import Estimate
    from binas_deploy.table.reconcile import Reconciliation

_NORMAL_95: Final = 1.96
WORDS: Final = {
    Verdict.PASS: "PASS",
    Verdict.FAIL: "FAIL",
    Verdict.INCONCLUSIVE: "INCONCLUSIVE",
    Verdict.NOT_MEASURED: "NOT MEASURED",
}
_STOPPED: Final = {
    "decided": "enough to decide",
    "processes": "the most that are measured",
    "seconds": "all that the time allowed",
}


def verification_text(report: VerificationReport) -> str:
    """Each check with its figures and verdict, what to know about them, and the verdict on all."""
    rows = [
        *_latency_rows(report.latency),
        *_cold_rows(report.latency.cold),
        *_soak_rows(report.soak),
        ("accuracy", _accuracy(report)),
        ("parity", _parity(report.parity)),
        *(("", _parity(parity)) for parity in report.formats),
        *(("note", reason) for reason in _further(report)),
        ("verdict", f"{WORDS[report.verdict]} (exit code {report.exit_code})"),
    ]
    return "\n\n".join(part for part in (sweep_text(report.sweep), facts(rows)) if part)


def sweep_text(points: Sequence[Point]) -> str:
    """A row for each batch size and number of callers; '' without any."""
    if not points:
        return ""
    rows = [
        (point.batch, point.concurrency, f"{point.inputs_per_second:.1f}", ms(point.median_ns), ms(point.p95_ns))
        for point in points
    ]
    return table(("batch", "callers", "inputs/s", "median", "p95"), rows)


def percent(estimate: Estimate) -> str:
    """``88.21 % (87.30 to 89.12, 95 %)``."""
    return f"{estimate.value:.2f} % ({estimate.low:.2f} to {estimate.high:.2f}, {100 * estimate.confidence:.0f} %)"


def ms(nanoseconds: float) -> str:
    """``0.4699 ms``."""
    return f"{nanoseconds / 1e6:.4g} ms"


def latency_line(latency: Latency) -> str:
    """The figure with its bounds, the budget and the verdict."""
    budget = f"budget {ms(latency.budget_ns)}: {WORDS[latency.verdict]}, headroom {latency.headroom_percent:+.1f} %"
    rhythm = "" if latency.shown.cadence == "back-to-back" else f" {latency.shown.cadence}"
    return f"{ms(latency.value_ns)} measured {latency.statistic}{rhythm}{_bounds(latency)}, {budget}"


def slack_text(latency: Latency) -> str:
    """How much slower this machine could get before the budget breaks."""
    slack, sure = latency.slack_percent, latency.sure_slack_percent
    if slack < 0:
        return f"would hold if this machine were {-100 * slack / (100 + slack):.1f} % faster"
    surely = f", at least {sure:.1f} % with {_percentage(latency)} confidence" if sure is not None and sure > 0 else ""
    return f"holds until this machine is {slack:.1f} % slower{surely}"


def _latency_rows(latency: Latency) -> list[tuple[str, str]]:
    measured = latency.measurement
    quantiles = ", ".join(f"{name} {ms(getattr(measured, name))}" for name in ("median", "p90", "p95", "p99"))
    return [
        ("latency", latency_line(latency)),
        ("", slack_text(latency)),
        ("", f"{quantiles} of all calls; {_how_measured(latency)}"),
        ("", _predicted(latency)),
        *([("machine", _machine(latency.machine))] if latency.machine else []),
    ]


def _bounds(latency: Latency) -> str:
    if latency.interval is None:
        return ""
    low, high = (f"{bound / 1e6:.4g}" for bound in latency.interval)
    return f" (bounds {low} and {high}, {_percentage(latency)} each)"


def _percentage(latency: Latency) -> str:
    return f"{100 * latency.shown.confidence:g} %"


def _predicted(latency: Latency) -> str:
    if latency.predicted is None:
        return f"the table predicts another statistic or rhythm than {latency.statistic} {latency.shown.cadence}"
    now, error = latency.predicted_now_ns, latency.error_percent
    expected = "" if now is None else f", {ms(now)} for the machine as it is now ({error:+.1f} %)"
    return f"{ms(latency.predicted.value)} predicted by the table{expected}"


def _machine(found: Reconciliation) -> str:
    """``1.020 times the table's latencies and +0.3 us (within 0.9 %, 95 %), by 12 anchors``."""
    within = f"within {100 * _NORMAL_95 * found.relative_sd:.1f} %, 95 %"
    return (
        f"{found.scale:.3f} times the table's latencies and {found.offset_ns / 1e3:+.1f} us ({within}), "
        f"by {found.anchors} anchor{'' if found.anchors == 1 else 's'}"
    )


def _how_measured(latency: Latency) -> str:
    count, noise = len(latency.processes), latency.noise
    said = [
        f"{len(latency.measurement)} samples in {count} {REPLICATIONS[latency.replication]}",
        _apart(latency),
        f"over the budget in {latency.over_budget} of them" if 0 < latency.over_budget < count else "",
        _STOPPED[latency.stopped_by],
        f"{noise['contention_cpus']} CPUs busy with other work" if "contention_cpus" in noise else "",
    ]
    return ", ".join(text for text in said if text)


def _apart(latency: Latency) -> str:
    beside = latency.spread_beside_anchors_percent
    said = f"{latency.spread_percent:.1f} % apart"
    return said if beside is None else f"{said} ({beside:.1f} % beside the anchors)"


def _cold_rows(cold: ColdStart | None) -> list[tuple[str, str]]:
    if cold is None:
        return []
    size = format_quantity(cold.peak_bytes, "size")
    return [
        (
            "cold",
            (
                f"{ms(cold.answer_ns)} from loading to the first result ({ms(cold.load_ns)} to load), after "
                f"{ms(cold.import_ns)} to import the runtime; memory {size} at most, "
                f"{format_quantity(cold.network_bytes, 'size')} of it by the network"
            ),
        )
    ]


def _soak_rows(soak: Soak | None) -> list[tuple[str, str]]:
    if soak is None:
        return []
    found = f"{soak.text}; {ms(soak.last_ns)} in the last tenth against {ms(soak.first_ns)} in the first"
    about = [f"{soak.calls} calls in {soak.seconds:g} s", soak.host]
    return [("soak", f"{found}: {WORDS[soak.verdict]}"), ("", ", ".join(text for text in about if text))]


def _further(report: VerificationReport) -> list[str]:
    """The reasons, without those that stand in the lines on accuracy and parity already."""
    parts = [(report.accuracy, Accuracy), (report.parity, Parity)]
    said = [part.reason for part, measured in parts if not isinstance(part, measured)]
    return [reason for reason in report.reasons if reason not in said]


def _accuracy(report: VerificationReport) -> str:
    found = report.accuracy
    if not isinstance(found, Accuracy):
        return f"{WORDS[found.verdict]}: {found.why}"
    return (
        f"{percent(found.top1)} on {found.images} test images of {found.data}, {found.difference:+.2f} points from "
        f"the predicted {found.predicted.value:.2f} % ({found.allowed:.2f} allowed): {WORDS[found.verdict]}"
    )


def _parity(found: Parity | ParityNotMeasured) -> str:
    if isinstance(found, Parity):
        return f"{parity_line(found)}: {WORDS[found.verdict]}"
    return f"{WORDS[found.verdict]}: {found.why}"


def parity_line(found: Parity) -> str:
    """What was compared and how far apart it is."""
    if found.relative is None or found.cosine is None or found.top1 is None:
        figures = "nothing that can be compared"
    else:
        figures = (
            f"outputs differ by {found.relative:.1e} of the largest, cosine {found.cosine:.6f}, "
            f"{100 * found.top1:.0f} % of classes kept"
        )
    compared = f"over {found.vectors} stored vectors ({found.tolerance.text} allowed)"
    return f"{found.what}, {found.precision}: {figures}, {compared}"
