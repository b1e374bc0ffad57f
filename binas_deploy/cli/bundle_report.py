"""Bundles, verifications and deployments as people read them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from binas_deploy.block import block_text
from binas_deploy.bundle.manifest import MANIFEST_NAME, VERIFICATION_NAME, Manifest
from binas_deploy.bundle.verification import Accuracy, Parity, Verdict
from binas_deploy.cli.render import facts, table
from binas_deploy.conditions import unmeasured_text
from binas_deploy.quantities import format_quantity

if TYPE_CHECKING:
    from binas_deploy.bundle.verification import Latency, VerificationReport
    from binas_deploy.estimate import Estimate
    from binas_deploy.steps.rounds import Deployment, Round
    from binas_deploy.table.reconcile import Reconciliation

_NORMAL_95: Final = 1.96
_WORDS = {
    Verdict.PASS: "PASS",
    Verdict.FAIL: "FAIL",
    Verdict.INCONCLUSIVE: "INCONCLUSIVE",
    Verdict.NOT_MEASURED: "NOT MEASURED",
}


def bundle_text(bundle: Path) -> str:
    """What was asked, the network, what is predicted of it, and the files.

    Raises:
        InputError: no bundle.
        DocumentError: its manifest is damaged.
    """
    manifest = Manifest.load(bundle)
    predicted, asked = manifest.predicted, manifest.asked
    rows = [
        ("asked", f"{asked.statistic} latency of at most {asked.budget} on {asked.device} ({_conditions(manifest)})"),
        ("network", _size(manifest)),
        *(("", line) for line in _stages(manifest)),
        ("latency", f"{_milliseconds(predicted.latency)} predicted by the table"),
        ("accuracy", f"{_percent(predicted.accuracy)} predicted by the accuracy model"),
        ("", _holdout(predicted.holdout_accuracy)),
        ("formats", ", ".join(f"{name} ({entry.precision})" for name, entry in manifest.formats.items())),
        ("files", f"{bundle}: {_files(manifest)}"),
    ]
    if manifest.simulated:
        rows.append(("note", f"the latency table is {unmeasured_text(manifest.identity)}"))
    return facts(rows)


def verification_text(report: VerificationReport) -> str:
    """Each check with its figures and verdict, what to know about them, and the verdict on all."""
    rows = [
        *_latency_rows(report.latency),
        ("accuracy", _accuracy(report)),
        ("parity", _parity(report)),
        *(("note", reason) for reason in _further(report)),
        ("verdict", f"{_WORDS[report.verdict]} (exit code {report.exit_code})"),
    ]
    return facts(rows)


def deployment_text(deployment: Deployment) -> str:
    """The rounds, the bundle and its verification."""
    header = ("round", "searched for", "predicted", "accuracy", "measured", "95 % interval", "verdict")
    rows = [_round_row(number, row) for number, row in enumerate(deployment.rounds, start=1)]
    parts = [table(header, rows), bundle_text(deployment.bundle), verification_text(deployment.report)]
    last = [("table", deployment.table), ("report", deployment.bundle / VERIFICATION_NAME)]
    notes = [("note", note) for note in deployment.notes]
    return "\n\n".join([*parts, facts([*notes, *last])])


def _milliseconds(estimate: Estimate) -> str:
    """``0.478 ms (0.465 to 0.490, 95 %)``."""
    value, low, high = (f"{number / 1e6:.4g}" for number in (estimate.value, estimate.low, estimate.high))
    return f"{value} ms ({low} to {high}, {100 * estimate.confidence:.0f} %)"


def _percent(estimate: Estimate) -> str:
    """``88.21 % (87.30 to 89.12, 95 %)``."""
    return f"{estimate.value:.2f} % ({estimate.low:.2f} to {estimate.high:.2f}, {100 * estimate.confidence:.0f} %)"


def _conditions(manifest: Manifest) -> str:
    asked = manifest.asked
    threads = f"{asked.threads} thread" + ("" if asked.threads == 1 else "s")
    return f"{threads}, {asked.precision}, batch {asked.batch}, {asked.cadence}"


def _size(manifest: Manifest) -> str:
    space, arch = manifest.space, manifest.architecture
    return f"{space.params(arch) / 1e6:.3f} M parameters, {space.macs(arch) / 1e6:.2f} MMAC, space {space.name}"


def _stages(manifest: Manifest) -> list[str]:
    space = manifest.space
    rows = enumerate(manifest.architecture.options)
    return [" ".join(block_text(space.block(s, j, c)) for j, c in enumerate(row)) for s, row in rows]


def _holdout(estimate: Estimate | None) -> str:
    if estimate is None:
        return "not evaluated on held-out images"
    return f"{_percent(estimate)} on held-out images, this very network"


def _files(manifest: Manifest) -> str:
    sizes = [f"{name} ({format_quantity(entry.bytes, 'size')})" for name, entry in manifest.files.items()]
    return ", ".join([*sizes, MANIFEST_NAME])


def _latency_rows(latency: Latency) -> list[tuple[str, str]]:
    measured = latency.measurement
    budget = f"budget {_ms(latency.budget_ns)}: {_WORDS[latency.verdict]}, headroom {latency.headroom_percent:+.1f} %"
    quantiles = ", ".join(f"{name} {_ms(getattr(measured, name))}" for name in ("median", "p90", "p95", "p99"))
    expected = f"{_ms(latency.predicted_now_ns)} for the machine as it is now ({latency.error_percent:+.1f} %)"
    return [
        ("latency", f"{_ms(latency.value_ns)} measured {latency.statistic}{_interval(latency.interval)}, {budget}"),
        ("", f"{quantiles}; {_how_measured(latency)}"),
        ("", f"{_ms(latency.predicted.value)} predicted by the table, {expected}"),
        ("machine", _machine(latency.machine)),
    ]


def _machine(found: Reconciliation) -> str:
    """``1.020 times the table's latencies and +0.3 us (within 0.9 %, 95 %), by 12 anchors``."""
    within = f"within {100 * _NORMAL_95 * found.relative_sd:.1f} %, 95 %"
    return (
        f"{found.scale:.3f} times the table's latencies and {found.offset_ns / 1e3:+.1f} us ({within}), "
        f"by {found.anchors} anchor{'' if found.anchors == 1 else 's'}"
    )


def _how_measured(latency: Latency) -> str:
    noise = latency.noise
    said = [
        f"{len(latency.measurement)} samples in {latency.rounds} rounds, stopped by {latency.stopped_by}",
        f"speed drift {100 * (float(noise['sentinel_trend']) - 1):+.1f} %" if "sentinel_trend" in noise else "",
        f"{noise['contention_cpus']} CPUs busy with other work" if "contention_cpus" in noise else "",
    ]
    return ", ".join(text for text in said if text)


def _further(report: VerificationReport) -> list[str]:
    """The reasons, without those that stand in the lines on accuracy and parity already."""
    parts = [(report.accuracy, Accuracy), (report.parity, Parity)]
    said = [part.reason for part, measured in parts if not isinstance(part, measured)]
    return [reason for reason in report.reasons if reason not in said]


def _accuracy(report: VerificationReport) -> str:
    found = report.accuracy
    if not isinstance(found, Accuracy):
        return f"{_WORDS[found.verdict]}: {found.why}"
    return (
        f"{_percent(found.top1)} on {found.images} test images of {found.data}, {found.difference:+.2f} points from "
        f"the predicted {found.predicted.value:.2f} % ({found.allowed:.2f} allowed): {_WORDS[found.verdict]}"
    )


def _parity(report: VerificationReport) -> str:
    found = report.parity
    if not isinstance(found, Parity):
        return f"{_WORDS[found.verdict]}: {found.why}"
    relative = "no value" if found.relative is None else f"{found.relative:.1e}"
    return (
        f"outputs differ by {relative} of the largest, over {found.vectors} stored vectors "
        f"({found.tolerance:g} allowed): {_WORDS[found.verdict]}"
    )


def _round_row(number: int, row: Round) -> tuple[object, ...]:
    interval = "-" if row.interval is None else f"{row.interval[0] / 1e6:.4g} to {row.interval[1] / 1e6:.4g} ms"
    times = (_ms(row.effective_ns), _ms(row.predicted_ns), f"{row.accuracy:.2f} %", _ms(row.measured_ns))
    return (number, *times, interval, _WORDS[row.verdict])


def _interval(interval: tuple[int, int] | None) -> str:
    return "" if interval is None else f" ({interval[0] / 1e6:.4g} to {interval[1] / 1e6:.4g}, 95 %)"


def _ms(nanoseconds: float) -> str:
    return f"{nanoseconds / 1e6:.4g} ms"
