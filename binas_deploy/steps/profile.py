"""Profile a space on a device: every distinct piece and a dozen whole networks, measured and calibrated."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from binas_deploy.adapters.base import Device, DeviceFacts, Precision
from binas_deploy.conditions import Conditions
from binas_deploy.devices import DeviceSpec, device_conditions, open_device
from binas_deploy.errors import DocumentError, MismatchError, NotMeasuredError
from binas_deploy.measure import Measured, Timing, measure
from binas_deploy.measurement import Measurement
from binas_deploy.model import OnnxModel
from binas_deploy.progress import SILENT, Progress
from binas_deploy.quality import Quality, Round
from binas_deploy.space import SearchSpace
from binas_deploy.steps.journal import Journal, JournalHeader, open_journal
from binas_deploy.steps.subjects import (
    Network,
    choose_anchors,
    middle_network,
    network_key,
    network_model,
    open_subjects,
    piece_model,
)
from binas_deploy.steps.tables import find_table, table_lock, valid_table, workspace_table
from binas_deploy.table import Anchor, LatencyTable, MeasuringRun, measured_pieces

__all__ = ["PROGRESS_STEPS", "find_table", "profile"]

PROGRESS_STEPS: Final = 1000
_BUSY_CPUS: Final = 0.3
_DRIFT: Final = 0.05


@dataclass(frozen=True)
class _Job:
    """All that one profile measures, and under what."""

    space: SearchSpace
    spec: DeviceSpec
    device: Device
    facts: DeviceFacts
    conditions: Conditions
    networks: tuple[Network, ...]
    seed: int

    @property
    def sentinel(self) -> str:
        return network_key(self.space, middle_network(self.space, self.networks))

    def subject_keys(self) -> list[str]:
        pieces = [piece.key for piece in measured_pieces(self.space)]
        return pieces + [network_key(self.space, network.arch) for network in self.networks]

    def models(self) -> dict[str, OnnxModel]:
        batch = self.spec.batch
        pieces = {piece.key: piece_model(piece, batch) for piece in measured_pieces(self.space)}
        archs = (network.arch for network in self.networks)
        return pieces | {network_key(self.space, arch): network_model(self.space, arch, batch) for arch in archs}

    def header(self) -> JournalHeader:
        return JournalHeader(
            conditions=dict(self.conditions.identity),
            space=self.space.fingerprint,
            seed=self.seed,
            subjects=self.subject_keys(),
        )


def profile(
    space: SearchSpace,
    spec: DeviceSpec,
    *,
    workspace: Path,
    threads: int | None = None,
    seed: int = 0,
    progress: Progress = SILENT,
    force: bool = False,
) -> tuple[Path, LatencyTable]:
    """The latency table of ``space`` on the device, and where it stands in ``workspace``.

    A valid table that is there is returned as it is, unless ``force``. Each round is journaled: after a kill or
    Ctrl-C, the next call continues with the rounds that are complete. ``seed`` draws the random anchors and orders.

    Raises:
        MismatchError, DocumentError: what stands in the table's place is another's or damaged (not with ``force``).
        EnvironmentFault: another run writes this table, an extra is missing, or the disk refuses.
        DeviceError: the device failed.
    """
    asked = spec.with_threads(threads)
    device = open_device(asked)
    facts = device.facts()
    conditions = device_conditions(asked, facts)
    path = workspace_table(workspace, asked, space, conditions)
    job = _Job(space, asked, device, facts, conditions, choose_anchors(space, seed), seed)
    table = None if force else _existing(job, path)
    if table is None:
        with table_lock(path):
            # Another run may have finished between the first look and the lock.
            table = (None if force else _existing(job, path)) or _measured_table(job, path, progress)
    return path, table


def _existing(job: _Job, path: Path) -> LatencyTable | None:
    try:
        return valid_table(path, job.space, job.conditions)
    except (DocumentError, MismatchError, NotMeasuredError) as error:
        raise type(error)(f"{error} Profiling with --force measures again and replaces it.") from error


def _measured_table(job: _Job, path: Path, progress: Progress) -> LatencyTable:
    journal = _open_journal(job, path, progress)
    run = journal.start_run(_now(), job.facts.context)
    measured = _measure(job, journal, run, progress)
    table = _build(job, journal, measured.quality)
    table.save(path)
    journal.remove()
    _note_quality(measured.quality, progress)
    return table


def _open_journal(job: _Job, path: Path, progress: Progress) -> Journal:
    journal, aside = open_journal(path.with_name(f"{path.name}.journal"), job.header())
    if aside is not None:
        progress.note(f"the journal of an earlier run measured something else; it is kept as {aside}.")
    if journal.rounds:
        progress.note(f"continuing: {len(journal.rounds)} rounds are already measured.")
    return journal


def _measure(job: _Job, journal: Journal, run: MeasuringRun, progress: Progress) -> Measured:
    timing, precision = job.spec.timing_rule(), Precision(job.spec.precision)
    rng = np.random.default_rng([job.seed, run.id])
    earlier = list(journal.rounds)
    with open_subjects(job.device, job.models(), precision=precision, progress=progress) as subjects:
        label = f"measuring {len(subjects)} networks and pieces"
        with _round_progress(progress, label, timing, len(earlier)) as advance:

            def on_round(index: int, samples: Round) -> None:
                journal.add_round(samples)
                advance(index)

            return measure(subjects, timing=timing, rng=rng, sentinel=job.sentinel, done=earlier, on_round=on_round)


@contextmanager
def _round_progress(progress: Progress, label: str, timing: Timing, done: int) -> Iterator[Callable[[int], None]]:
    """Tells how far towards a limit the measuring is; it may be good enough before."""
    start, told = time.monotonic(), 0
    with progress.task(label, PROGRESS_STEPS) as advance:

        def tell(index: int) -> None:
            nonlocal told
            by_rounds = (index + 1 - done) / max(1, timing.max_rounds - done)
            by_time = (time.monotonic() - start) / timing.max_seconds
            share = by_rounds if index + 1 < timing.min_rounds else max(by_rounds, by_time)
            reached = min(PROGRESS_STEPS, int(PROGRESS_STEPS * share))
            advance(max(0, reached - told))
            told = max(told, reached)

        yield tell
        advance(PROGRESS_STEPS - told)


def _build(job: _Job, journal: Journal, quality: Quality) -> LatencyTable:
    runs = [*journal.runs[:-1], _with_quality(journal.runs[-1], quality)]
    measurements = {key: _measurement(journal, key) for key in job.subject_keys()}
    anchors = [
        Anchor(network.arch, network.kind, measurements[network_key(job.space, network.arch)])
        for network in job.networks
    ]
    return LatencyTable.build(
        space=job.space,
        device=job.spec.name,
        conditions=job.conditions,
        created=_now(),
        runs=runs,
        pieces={piece.key: measurements[piece.key] for piece in measured_pieces(job.space)},
        anchors=anchors,
        simulated=job.facts.simulated,
    )


def _with_quality(run: MeasuringRun, quality: Quality) -> MeasuringRun:
    return MeasuringRun(run.id, run.started, {**run.host, **quality.summary()})


def _measurement(journal: Journal, key: str) -> Measurement:
    rows: list[NDArray[np.int64]] = [samples[key] for samples in journal.rounds]
    runs = np.repeat(np.array(journal.round_runs), [len(row) for row in rows])
    return Measurement(np.concatenate(rows), runs).thinned()


def _note_quality(quality: Quality, progress: Progress) -> None:
    """Say what a person should know: a noisy table predicts worse than it could."""
    if found := _findings(quality):
        progress.note(
            f"noisy: {'; '.join(found)}. The table holds what was measured; close other programs and profile again "
            "with --force for a better one."
        )


def _findings(quality: Quality) -> list[str]:
    found = []
    if quality.noisy:
        widest, count = max(quality.interval_percent.values()), len(quality.interval_percent)
        found.append(f"{len(quality.noisy)} of {count} latencies known to ±{widest:.1f} % only")
    if quality.contention is not None and quality.contention > _BUSY_CPUS:
        found.append(f"other processes kept {quality.contention:.1f} CPUs busy")
    if abs(quality.sentinel_trend - 1) > _DRIFT:
        found.append(f"the speed drifted by {100 * (quality.sentinel_trend - 1):+.0f} %")
    return found


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
