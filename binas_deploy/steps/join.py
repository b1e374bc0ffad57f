"""What a verification measured joins the table that predicted it, so that tables improve with use."""

from __future__ import annotations

from math import hypot, sqrt
from pathlib import Path
from typing import Final

import numpy as np

from binas_deploy.bundle.latency import Latency
from binas_deploy.bundle.manifest import Manifest
from binas_deploy.bundle.verification import VerificationReport
from binas_deploy.errors import BinasError
from binas_deploy.measurement import Measurement, Steady
from binas_deploy.steps.tables import TABLES, table_lock
from binas_deploy.table import Anchor, LatencyTable, MeasuringRun, table_path
from binas_deploy.table.growth import ORIGIN, grown, made_of, next_run, refusal

VERIFY: Final = "verify"
KIND: Final = "searched"
"""What is verified was searched for, and tells a table's error like other searched networks."""
_COARSE: Final = 2.0
"""Times a table's own noise: what is known more coarsely would teach it nothing."""


def join(manifest: Manifest, report: VerificationReport, workspace: Path) -> str:
    """Let the network of a verified bundle join the table: a sentence on what became of it, empty without a table.

    Only a table of the workspace grows, and only by a network that was measured beside its anchors, finely enough, in
    its own statistic and rhythm, by a clock.

    Raises:
        EnvironmentFault: another run writes the table, or the disk refuses.
    """
    path = table_path(workspace / TABLES, manifest.asked.device, manifest.space.name, report.conditions)
    if not path.is_file():
        return ""
    with table_lock(path):
        try:
            table = LatencyTable.load(path)
        except BinasError:
            return ""  # whoever needs it is told; a verdict does not
        if reason := _reason(table, manifest, report):
            return f"the network does not join the latency table: {reason}."
        table = grown(table, *_measured(table, manifest, report))
        table.save(path)
    return f"the network joins the latency table, which rests on {len(table.anchors)} of them now."


def _reason(table: LatencyTable, manifest: Manifest, report: VerificationReport) -> str:
    """Why not, empty where it can."""
    latency, identity = report.latency, table.conditions.identity
    if manifest.table.digest not in table.digests:
        return "it was searched with another one"
    if report.simulated:
        return "no clock measured it"
    if latency.machine is None or latency.shown.cadence != identity["cadence"]:
        return "its calls were in another rhythm"
    if latency.statistic != table.statistic:
        return f"the table is of the {table.statistic}, measured was the {latency.statistic}"
    if any(row.arch == manifest.architecture for row in made_of(table)):
        return "it is one of those that the table was made of"
    if (coarse := _relative_sd(latency)) > _COARSE * table.calibration.noise:
        usual = 100 * table.calibration.noise
        return f"it is known to {100 * coarse:.1f} % only, the table's own networks to {usual:.1f} %"
    return refusal(table)


def _relative_sd(latency: Latency) -> float:
    """Of what it took then, from what it takes now: the processes' spread beside the anchors, and what carrying back
    by these leaves open.
    """
    beside, count = latency.spread_beside_anchors_percent, len(latency.processes)
    spread = latency.spread_percent if beside is None else beside
    return hypot(spread / 100 / sqrt(count), latency.machine.relative_sd if latency.machine else 0.0)


def _measured(table: LatencyTable, manifest: Manifest, report: VerificationReport) -> tuple[Anchor, MeasuringRun]:
    latency, number = report.latency, next_run(table)
    samples = latency.measurement.samples_ns
    steady = Steady(latency.value_ns)
    measurement = Measurement(samples, np.full(len(samples), number), steady=steady)
    slowdown = _slowdown(latency)
    host = {**report.conditions.context, **latency.noise, ORIGIN: VERIFY, "bundle": manifest.name}
    anchor = Anchor(manifest.architecture, KIND, measurement, slowdown=slowdown)
    return anchor, MeasuringRun(number, report.created, host)


def _slowdown(latency: Latency) -> float:
    """Of the machine now for this network: with ``now = scale * then + offset``, now / then."""
    machine = latency.machine
    if machine is None:
        return 1.0
    return latency.value_ns * machine.scale / (latency.value_ns - machine.offset_ns)
