"""Bundles and deployments as people read them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from binas_deploy.block import block_text
from binas_deploy.bundle.manifest import MANIFEST_NAME, VERIFICATION_NAME, Manifest
from binas_deploy.cli.render import facts, table
from binas_deploy.cli.verification_report import WORDS, ms, percent, verification_text
from binas_deploy.conditions import unmeasured_text
from binas_deploy.quantities import format_quantity

if TYPE_CHECKING:
    from binas_deploy.estimate import Estimate
    from binas_deploy.steps.rounds import Deployment, Round


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
        ("accuracy", f"{percent(predicted.accuracy)} predicted by the accuracy model"),
        ("", _holdout(predicted.holdout_accuracy)),
        ("formats", ", ".join(f"{name} ({entry.precision})" for name, entry in manifest.formats.items())),
        ("files", f"{bundle}: {_files(manifest)}"),
    ]
    if manifest.simulated:
        rows.append(("note", f"the latency table is {unmeasured_text(manifest.identity)}"))
    return facts(rows)


def deployment_text(deployment: Deployment) -> str:
    """The rounds, the bundle and its verification."""
    header = ("round", "searched for", "predicted", "expected", "accuracy", "measured", "bounds", "verdict")
    rows = [_round_row(number, row) for number, row in enumerate(deployment.rounds, start=1)]
    parts = [table(header, rows), bundle_text(deployment.bundle), verification_text(deployment.report)]
    last = [("table", deployment.table), ("report", deployment.bundle / VERIFICATION_NAME)]
    notes = [("note", note) for note in deployment.notes]
    return "\n\n".join([*parts, facts([*notes, *last])])


def _milliseconds(estimate: Estimate) -> str:
    """``0.478 ms (0.465 to 0.490, 95 %)``."""
    value, low, high = (f"{number / 1e6:.4g}" for number in (estimate.value, estimate.low, estimate.high))
    return f"{value} ms ({low} to {high}, {100 * estimate.confidence:.0f} %)"


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
    return f"{percent(estimate)} on held-out images, this very network"


def _files(manifest: Manifest) -> str:
    sizes = [f"{name} ({format_quantity(entry.bytes, 'size')})" for name, entry in manifest.files.items()]
    return ", ".join([*sizes, MANIFEST_NAME])


def _round_row(number: int, row: Round) -> tuple[object, ...]:
    interval = "-" if row.interval is None else f"{row.interval[0] / 1e6:.4g} to {row.interval[1] / 1e6:.4g} ms"
    searched = (ms(row.effective_ns), ms(row.predicted_ns), ms(row.expected_ns))
    return (number, *searched, f"{row.accuracy:.2f} %", ms(row.measured_ns), interval, WORDS[row.verdict])
