"""The measuring run of a verification: the bundle's network beside all anchors of its table, interleaved."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from binas_deploy.adapters.base import SelfWarming
from binas_deploy.bundle.latency import AnchorMedians, Latency
from binas_deploy.bundle.manifest import Manifest
from binas_deploy.measure import Measured, Subject, Timing, measure
from binas_deploy.measurement import Measurement, samples_needed
from binas_deploy.progress import Progress
from binas_deploy.steps.subjects import network_key
from binas_deploy.table.statistic import QUANTILES

NETWORK_KEY: Final = "network"
LEAST_SAMPLES: Final = 300
"""Of the network itself: enough for bounds at its 99 % quantile."""
_PLANS: Final = ((40, 8), (24, 8), (12, 8), (12, 4), (12, 2))
"""(rounds, samples a visit), the more thorough first; slow networks get the first that fits into `_AIM_SECONDS`."""
_LEAST_VISITS: Final = 2
_AIM_SECONDS: Final = 20.0
_MOST_ROUNDS: Final = 2
"""Times the planned rounds, for a noisy machine."""


@dataclass(frozen=True)
class Plan:
    """How to measure: ``visits`` of the network in each round, one of each anchor."""

    timing: Timing
    visits: int


def plan(manifest: Manifest, wanted: Timing, *, as_wanted: bool = False) -> Plan:
    """At least `LEAST_SAMPLES` of the network, in a few seconds where it is fast, by what the table says of speeds.

    A statistic far out, such as the p99, takes more.

    ``wanted`` are the device's own settings: warm-up, the most samples a visit, and the target. With ``as_wanted``
    also its rounds and whole visits: where each is a process to start, the calls are not what takes time.
    """
    least = max(LEAST_SAMPLES, samples_needed(QUANTILES[manifest.asked.statistic]))
    if as_wanted:
        visits = math.ceil(least / (wanted.min_rounds * wanted.samples_per_visit))
        return Plan(replace(wanted, period_ms=0.0), max(_LEAST_VISITS, visits))
    plans = [_plan(rounds, min(samples, wanted.samples_per_visit), wanted, least) for rounds, samples in _PLANS]
    return next((made for made in plans if _seconds(made, manifest) <= _AIM_SECONDS), plans[-1])


def measure_latency(
    manifest: Manifest, subjects: Sequence[Subject], wanted: Timing, *, seed: int, progress: Progress
) -> Latency:
    """Latency of the subject `NETWORK_KEY`, with the anchors (subjects by `network_key`) measured beside it.

    Raises:
        DeviceError: the device fails.
    """
    with subjects[0].open() as executable:
        made = plan(manifest, wanted, as_wanted=isinstance(executable, SelfWarming))
    network = next(subject for subject in subjects if subject.key == NETWORK_KEY)
    # The same loaded network under further keys: it is visited several times a round, at random places.
    again = [replace(network, key=f"{NETWORK_KEY} {number}") for number in range(2, made.visits + 1)]
    rng = np.random.default_rng(seed)
    with progress.task(f"measuring latency beside {len(subjects) - 1} anchors", made.timing.min_rounds) as advance:
        measured = measure(
            [*subjects, *again],
            timing=made.timing,
            rng=rng,
            sentinel=NETWORK_KEY,
            on_round=lambda index, _: advance(1) if index < made.timing.min_rounds else None,
        )
    return _latency(manifest, measured, [NETWORK_KEY, *(subject.key for subject in again)])


def _plan(rounds: int, samples: int, wanted: Timing, least: int) -> Plan:
    timing = Timing(
        warmup_ms=wanted.warmup_ms,
        samples_per_visit=samples,
        min_rounds=rounds,
        max_rounds=_MOST_ROUNDS * rounds,
        max_seconds=_AIM_SECONDS,
        target_interval_percent=wanted.target_interval_percent,
    )
    return Plan(timing, max(_LEAST_VISITS, math.ceil(least / (rounds * samples))))


def _seconds(made: Plan, manifest: Manifest) -> float:
    """What the planned rounds take, at the speeds of the table."""
    visits = [anchor.median_ns for anchor in manifest.anchors] + [manifest.predicted.latency.value] * made.visits
    timing = made.timing
    return timing.min_rounds * sum(map(timing.visit_ns, visits)) / 1e9


def _latency(manifest: Manifest, measured: Measured, keys: Sequence[str]) -> Latency:
    samples = np.concatenate([samples[key] for samples in measured.rounds for key in keys])
    noise = measured.quality.summary()
    return Latency(
        measurement=Measurement(samples, np.zeros_like(samples)),
        budget_ns=manifest.asked.limit_ns,
        predicted=manifest.predicted.latency,
        anchors=tuple(_medians(manifest, measured)),
        rounds=measured.quality.rounds,
        stopped_by=noise.pop("stopped_by"),
        noise=noise,
        anchor_noise=manifest.table.noise,
        statistic=manifest.asked.statistic,
    )


def _medians(manifest: Manifest, measured: Measured) -> list[AnchorMedians]:
    rows = []
    for anchor in manifest.anchors:
        now = measured.steady[network_key(manifest.space, anchor.arch)]
        rows.append(AnchorMedians(anchor.kind, anchor.median_ns, float(now.ns)))
    return rows
