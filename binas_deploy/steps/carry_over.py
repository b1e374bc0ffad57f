"""A stored table meets the machine as it is now: a few of its networks, measured again."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from binas_deploy.devices import DeviceSpec, open_device
from binas_deploy.measure import Timing
from binas_deploy.progress import SILENT, Progress
from binas_deploy.quality import BUSY_CPUS, SAME_CLOCK, Quality, finite_number
from binas_deploy.steps.fresh import measured_networks
from binas_deploy.table import Anchor, LatencyTable
from binas_deploy.table.parts import spread
from binas_deploy.table.reconcile import Reconciliation, reconcile

LEAST_ANCHORS: Final = 8
MOST_ANCHORS: Final = 24
"""Of the table's own networks: few enough for some seconds."""
AIM: Final = 0.005
"""Standard deviation, as a share, that carrying over is to leave in common to all networks."""
LARGE: Final = 0.07
"""A change of speed that is worth a word."""
_ROUNDS: Final = 12
_SECONDS: Final = 5.0
_CLOCK: Final = "clock_mhz"


@dataclass(frozen=True)
class CarriedOver:
    """``found``: how the table's latencies are to be read now; ``slowdown``: what that comes to for a typical network.

    ``note``: why they changed so much, empty if they did not.
    """

    found: Reconciliation
    slowdown: float
    note: str


def carry_over(table: LatencyTable, spec: DeviceSpec, *, seed: int = 0, progress: Progress = SILENT) -> CarriedOver:
    """Measure a few of the table's networks on the device, and reconcile.

    Raises:
        DeviceError: the device failed.
    """
    chosen = chosen_anchors(table)
    archs = [anchor.arch for anchor in chosen]
    with progress.task(f"measuring {len(archs)} networks of the table again", 1) as advance:
        measured = measured_networks(table.space, spec, archs, _timing(spec.timing_rule()), seed)
        advance(1)
    found = reconciled(table, chosen, measured.latencies_ns)
    context, slowdown = open_device(spec).facts().context, found.slowdown(typical_ns(chosen))
    return CarriedOver(found, slowdown, explanation(slowdown, measured.quality, table.conditions.context, context))


def chosen_anchors(table: LatencyTable) -> tuple[Anchor, ...]:
    """As many as it takes to carry the table over to within `AIM` where both runs are as noisy as the table's was."""
    needed = math.ceil(2 * (table.calibration.noise / AIM) ** 2)
    return spread(table.anchors, min(max(needed, LEAST_ANCHORS), MOST_ANCHORS))


def reconciled(table: LatencyTable, chosen: Sequence[Anchor], now_ns: Sequence[float]) -> Reconciliation:
    """From the table to now, by these networks of it and their latencies now."""
    then = [anchor.location for anchor in chosen]
    return reconcile(then, now_ns, noise=table.calibration.noise)


def typical_ns(anchors: Sequence[Anchor]) -> float:
    """The latency of one of them in the middle, when the table was made."""
    return float(np.median([anchor.location for anchor in anchors]))


def explanation(slowdown: float, quality: Quality, then: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Why the machine is so much slower or faster than when the table was made; empty when it is about the same."""
    if abs(slowdown - 1) <= LARGE:
        return ""
    speed = f"{slowdown:.2f} times as slow" if slowdown > 1 else f"{1 / slowdown:.2f} times as fast"
    return f"the machine is {speed} as when the table was made: {_cause(slowdown, quality, then, now)}"


def _cause(slowdown: float, quality: Quality, then: Mapping[str, str], now: Mapping[str, str]) -> str:
    if slowdown > 1 and quality.contention is not None and quality.contention > BUSY_CPUS:
        return f"other processes keep {quality.contention:.1f} CPUs busy"
    before, after = (finite_number(context.get(_CLOCK)) for context in (then, now))
    if before and after and abs(after / before - 1) > SAME_CLOCK:
        return f"its clock was at {before:.0f} MHz then and is at {after:.0f} MHz now (throttled, or set otherwise)"
    return "nothing that can be read here explains it; shared hosts change their speed by themselves"


def _timing(usual: Timing) -> Timing:
    """Not over in a moment even for small networks: it would tell the speed of that moment."""
    return replace(usual, min_rounds=min(_ROUNDS, usual.max_rounds), max_seconds=_SECONDS)
