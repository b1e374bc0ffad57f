"""A campaign: a fixed list of pieces and networks, measured in journaled rounds that survive a kill."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from binas_deploy.adapters.base import Device, DeviceFacts
from binas_deploy.block import Piece
from binas_deploy.columns import Columns
from binas_deploy.conditions import Conditions
from binas_deploy.devices import DeviceSpec
from binas_deploy.documents import timestamp
from binas_deploy.measure import Subject, Timing, measure
from binas_deploy.measurement import Measurement, Steady
from binas_deploy.model import OnnxModel
from binas_deploy.progress import Progress
from binas_deploy.quality import AT_END, Quality
from binas_deploy.space import SearchSpace
from binas_deploy.steady import Round, locations
from binas_deploy.steps.journal import Journal, JournalHeader, open_journal
from binas_deploy.steps.networks import Network, middle_network
from binas_deploy.steps.subjects import network_key, network_model, piece_model
from binas_deploy.table import Anchor, LatencyTable, MeasuringRun, measured_pieces
from binas_deploy.table.terms import Source, work_sources

PROGRESS_STEPS: Final = 1000
_MAY_CHANGE: Final = (
    "clock_mhz",
    "gpu_clock_mhz",
    "load_average",
    "temperature_c",
    "temperatures_c",
    "throttle_count",
    "timing_cache",
)


@dataclass(frozen=True)
class Job:
    """Whom and what one profile measures.

    With ``sources``, tables of other devices, and where the device's file says so, no piece is measured.
    """

    space: SearchSpace
    spec: DeviceSpec
    device: Device
    facts: DeviceFacts
    conditions: Conditions
    seed: int
    sources: tuple[LatencyTable, ...] = ()

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """To be measured alone."""
        return measured_pieces(self.space) if self.spec.timing.pieces and not self.sources else ()

    @property
    def costs(self) -> tuple[Source, ...]:
        """What decisions cost by other accounts than pieces: the sources', or where there is nothing else, work."""
        return tuple(table.source for table in self.sources) or (
            () if self.pieces else work_sources(Columns(self.space))
        )

    @property
    def in_rhythm(self) -> bool:
        """Whether networks are called once in a period and not back to back."""
        return self.spec.timing.period_ms > 0

    def piece_models(self) -> dict[str, OnnxModel]:
        """The pieces by key."""
        return {piece.key: piece_model(piece, self.spec.batch) for piece in self.pieces}

    def network_models(self, networks: Sequence[Network]) -> dict[str, OnnxModel]:
        """Networks by their subject key."""
        archs = (network.arch for network in networks)
        return {network_key(self.space, arch): network_model(self.space, arch, self.spec.batch) for arch in archs}


@dataclass(frozen=True)
class Campaign:
    """``pieces`` and ``networks``, journaled at ``path``."""

    job: Job
    pieces: tuple[Piece, ...]
    networks: tuple[Network, ...]
    timing: Timing
    path: Path
    label: str

    def run(self, subjects: Sequence[Subject], progress: Progress) -> Finished:
        """Measure, going on from what the journal holds; nothing more where it says that measuring had ended.

        Else scouting that ran out of time would go on after a kill, and choose other networks to measure.

        Raises:
            DeviceError: the device failed.
            EnvironmentFault: the journal cannot be written.
        """
        journal = self._journal(progress)
        run = journal.start_run(timestamp(), self.job.facts.context)
        earlier, rng = list(journal.rounds), np.random.default_rng([self.job.seed, run.id])
        timing = self._timing(journal)
        sentinel = network_key(self.job.space, middle_network(self.job.space, self.networks))
        with _round_progress(progress, self.label, timing, len(earlier)) as advance:

            def on_round(index: int, samples: Round) -> None:
                journal.add_round(samples)
                advance(index)

            def on_lost() -> None:
                # The process that measures from now on is another one, as after a kill.
                journal.start_run(timestamp(), self.job.device.facts().context)

            measured = measure(
                subjects,
                timing=timing,
                rng=rng,
                sentinel=sentinel,
                done=earlier,
                on_round=on_round,
                on_lost=on_lost,
            )
        journal.end(measured.quality.stopped_by)
        after = self.job.device.facts().context
        ended = {f"{key}{AT_END}": after[key] for key in _MAY_CHANGE if key in after}
        return Finished(self, journal, replace(measured.quality, stopped_by=journal.stopped_by), ended)

    def _timing(self, journal: Journal) -> Timing:
        if not journal.stopped_by:
            return self.timing
        return replace(self.timing, min_rounds=len(journal.rounds), max_rounds=len(journal.rounds))

    def _journal(self, progress: Progress) -> Journal:
        pieces = [piece.key for piece in self.pieces]
        header = JournalHeader(
            conditions=dict(self.job.conditions.identity),
            space=self.job.space.fingerprint,
            seed=self.job.seed,
            subjects=pieces + [network_key(self.job.space, network.arch) for network in self.networks],
        )
        journal, aside = open_journal(self.path, header)
        if aside is not None:
            progress.note(f"the journal of an earlier run measured something else; it is kept as {aside}.")
        if not journal.stopped_by and 0 < len(journal.rounds) < self.timing.max_rounds:
            progress.note(f"continuing: {len(journal.rounds)} rounds are already measured.")
        return journal


@dataclass(frozen=True)
class Finished:
    """A campaign that met its stopping rule; ``ended``: what of the host may have changed, as it was then."""

    campaign: Campaign
    journal: Journal
    quality: Quality
    ended: Mapping[str, str]

    def runs(self, first: int = 0) -> list[MeasuringRun]:
        """Its measuring runs, with ids from ``first`` on; the last one says how good it was."""
        said = [run.host for run in self.journal.runs]
        said[-1] = {**said[-1], **self.ended, **self.quality.summary()}
        return [
            MeasuringRun(first + run.id, run.started, host) for run, host in zip(self.journal.runs, said, strict=True)
        ]

    def measurement(self, key: str, first: int = 0) -> Measurement:
        """All samples of a piece or network, with where it lies."""
        rows: list[NDArray[np.int64]] = [samples[key] for samples in self.journal.rounds]
        runs = first + np.repeat(np.array(self.journal.round_runs), [len(row) for row in rows])
        return Measurement(np.concatenate(rows), runs, steady=self._steady[key]).thinned()

    @cached_property
    def _steady(self) -> dict[str, Steady]:
        return locations(self.journal.rounds)


def table_of(alone: Finished | None, whole: Finished) -> LatencyTable:
    """The table of the pieces in ``alone`` (None: of none) and the networks in ``whole``; both may be the same."""
    job = whole.campaign.job
    apart = alone is not None and alone is not whole
    first = len(alone.journal.runs) if alone is not None and apart else 0
    anchors = [
        Anchor(network.arch, network.kind, whole.measurement(network_key(job.space, network.arch), first))
        for network in whole.campaign.networks
    ]
    return LatencyTable.build(
        space=job.space,
        device=job.spec.name,
        conditions=job.conditions,
        created=timestamp(),
        runs=[*(alone.runs() if alone is not None and apart else []), *whole.runs(first)],
        pieces={piece.key: alone.measurement(piece.key) for piece in alone.campaign.pieces} if alone else {},
        anchors=anchors,
        sources=job.costs,
        simulated=job.facts.simulated,
    )


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
