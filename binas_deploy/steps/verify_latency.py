"""Latency of a bundle's network in several replicas, until it is clear whether the budget holds."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from binas_deploy.adapters.base import Device
from binas_deploy.bundle.certainty import LEAST_PROCESSES, MOST_PROCESSES, typical
from binas_deploy.bundle.latency import (
    REPLICATIONS,
    AnchorMedians,
    Latency,
    ProcessLatency,
    Replication,
    StoppedBy,
)
from binas_deploy.bundle.manifest import Manifest
from binas_deploy.bundle.shown import Shown
from binas_deploy.bundle.verification_parts import Verdict
from binas_deploy.devices import DeviceSpec
from binas_deploy.measure import Timing
from binas_deploy.measurement import Measurement
from binas_deploy.progress import Progress
from binas_deploy.quality import finite_number
from binas_deploy.steps.replicas import Job, Replica, replicator
from binas_deploy.steps.subjects import network_key

LEAST_SAMPLES: Final = 100
"""Of the network in each replica: its median is then known better than replicas agree."""
MOST_SECONDS: Final = 120.0
"""No replica is begun that would end later than this; at least `LEAST_PROCESSES` are."""
_BEYOND: Final = 5
"""So many of a replica's calls lie beyond the quantile that is to be shown."""
_PLANS: Final = ((12, 8, 1), (8, 8, 1), (8, 4, 1), (8, 4, 2), (6, 4, 2), (6, 2, 4))
"""(rounds, samples a visit, one of how many anchors), the more thorough first; slow networks get what fits."""
_LEAST_VISITS: Final = 2
_AIM_SECONDS: Final = 2.0
"""Of measuring in one replica: starting its process takes about as long."""
_LIMIT_SECONDS: Final = 60.0


@dataclass(frozen=True)
class Plan:
    """How a replica measures: ``visits`` of the network in each round, and one of each ``stride`` anchors."""

    timing: Timing
    visits: int
    stride: int = 1


def plan(manifest: Manifest, shown: Shown, wanted: Timing, replication: Replication = "process") -> Plan:
    """At least `LEAST_SAMPLES` of the network, in some two seconds where it is fast, by what the table says of speeds.

    A quantile far out, such as the p99, takes more. ``wanted`` are the device's own settings: warm-up, the most samples
    a visit, and the rhythm. Where each visit is a process that the device starts, the calls are not what takes time:
    then its rounds are shared out among the replicas, with whole visits.
    """
    least = max(LEAST_SAMPLES, math.ceil(_BEYOND / (1 - max(shown.quantile, 1 - shown.quantile))))
    if replication == "run":
        rounds = max(1, math.ceil(wanted.min_rounds / LEAST_PROCESSES))
        visits = math.ceil(least / (rounds * wanted.samples_per_visit))
        return Plan(_timing(wanted, rounds, wanted.samples_per_visit), max(_LEAST_VISITS, visits))
    plans = [
        _plan(rounds, min(samples, wanted.samples_per_visit), stride, wanted, least)
        for rounds, samples, stride in _PLANS
    ]
    return next((made for made in plans if _seconds(made, manifest) <= _AIM_SECONDS), plans[-1])


def measure_latency(
    bundle: Path,
    manifest: Manifest,
    shown: Shown,
    device: Device,
    spec: DeviceSpec,
    replication: Replication,
    *,
    seed: int,
    progress: Progress,
    clock: Callable[[], float] = time.monotonic,
) -> Latency:
    """Replicas one after the other, looked at after each from the third on, until pass or fail is certain enough.

    At most `MOST_PROCESSES`, and none that would end after `MOST_SECONDS`.

    Raises:
        DeviceError: the device fails.
    """
    made = plan(manifest, shown, spec.timing_rule(), replication)
    job = Job(bundle, spec, made.timing, made.visits, made.stride, shown.quantile, seed)
    label, begin = f"measuring latency in {REPLICATIONS[replication]}", clock()
    with progress.task(label, MOST_PROCESSES) as advance, replicator(replication, device, job) as replicated:
        found: list[Replica] = []
        while True:
            found.append(replicated(len(found)))
            advance(1)
            latency = _latency(manifest, shown, found, replication)
            if reason := _stop(latency, clock() - begin):
                return replace(latency, stopped_by=reason)


def _stop(latency: Latency, seconds: float) -> StoppedBy | None:
    count = len(latency.processes)
    if count < LEAST_PROCESSES:
        return None
    if latency.verdict in (Verdict.PASS, Verdict.FAIL):
        return "decided"
    if count == MOST_PROCESSES:
        return "processes"
    return "seconds" if seconds * (count + 1) / count > MOST_SECONDS else None


def _plan(rounds: int, samples: int, stride: int, wanted: Timing, least: int) -> Plan:
    return Plan(_timing(wanted, rounds, samples), max(_LEAST_VISITS, math.ceil(least / (rounds * samples))), stride)


def _timing(wanted: Timing, rounds: int, samples: int) -> Timing:
    """A fixed number of rounds: were a replica measured until it looks well, it would tell what looks well."""
    return replace(wanted, samples_per_visit=samples, min_rounds=rounds, max_rounds=rounds, max_seconds=_LIMIT_SECONDS)


def _seconds(made: Plan, manifest: Manifest) -> float:
    """What the rounds of one replica take, at the speeds of the table."""
    anchors = [anchor.median_ns for anchor in manifest.anchors[:: made.stride]]
    visits = anchors + [manifest.predicted.latency.value] * made.visits
    return made.timing.min_rounds * sum(map(made.timing.visit_ns, visits)) / 1e9


def _latency(manifest: Manifest, shown: Shown, found: Sequence[Replica], replication: Replication) -> Latency:
    samples = np.concatenate([replica.samples for replica in found])
    runs = np.repeat(np.arange(len(found)), [replica.samples.size for replica in found])
    same_rhythm = shown.cadence == manifest.asked.cadence
    return Latency(
        measurement=Measurement(samples, runs),
        budget_ns=manifest.asked.limit_ns,
        predicted=manifest.predicted.latency if shown.predicted_by(manifest.asked) else None,
        anchors=tuple(_medians(manifest, found)) if same_rhythm else (),
        processes=tuple(
            ProcessLatency(row.value_ns, row.rounds, row.cold, _slowness(manifest, row) if same_rhythm else None)
            for row in found
        ),
        stopped_by="processes",
        noise=_noise([replica.noise for replica in found]),
        anchor_noise=manifest.table.noise,
        shown=shown,
        replication=replication,
    )


def _slowness(manifest: Manifest, found: Replica) -> float | None:
    """How many times as slow as for the table its anchors were, in the middle of them."""
    then = {network_key(manifest.space, anchor.arch): anchor.median_ns for anchor in manifest.anchors}
    ratios = [now / then[key] for key, now in found.anchors.items()]
    return round(float(np.median(ratios)), 6) if ratios else None


def _medians(manifest: Manifest, found: Sequence[Replica]) -> list[AnchorMedians]:
    """Of every anchor that a replica measured."""
    rows = []
    for anchor in manifest.anchors:
        key = network_key(manifest.space, anchor.arch)
        now = [replica.anchors[key] for replica in found if key in replica.anchors]
        if now:
            rows.append(AnchorMedians(anchor.kind, anchor.median_ns, float(typical(now))))
    return rows


def _noise(summaries: Sequence[dict[str, str]]) -> dict[str, str]:
    """What the replicas say of the host, in the middle of them; how long they measured, in all."""
    told: dict[str, list[float]] = {}
    for summary in summaries:
        for key, text in summary.items():
            if (number := finite_number(text)) is not None:
                told.setdefault(key, []).append(number)
    middle = {key: f"{np.median(values):.4g}" for key, values in told.items()}
    return {**middle, "measured_s": f"{sum(told.get('measured_s', [])):.1f}"}
