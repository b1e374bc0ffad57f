"""Profile a space on a device: every distinct piece and some dozens of whole networks, measured and calibrated.

A short campaign over the pieces and a few networks comes first, so that further networks can be *searched*: those are
what a table will be used for, and what it must be calibrated on. Then all are measured together, interleaved.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from binas_deploy.adapters.base import Device, KeepsArtefacts, Precision
from binas_deploy.devices import DeviceSpec, device_conditions, open_device
from binas_deploy.documents import write_atomic
from binas_deploy.energy import EnergySensor
from binas_deploy.errors import DocumentError, MismatchError, NotMeasuredError
from binas_deploy.measure import Subject
from binas_deploy.model import OnnxModel
from binas_deploy.progress import SILENT, Progress
from binas_deploy.quality import noise_findings
from binas_deploy.resources import piece_form
from binas_deploy.shipped import shipped_accuracy
from binas_deploy.space import SearchSpace
from binas_deploy.steps.campaign import Campaign, Finished, Job, table_of
from binas_deploy.steps.energy import add_energy, energy_sensor, require_back_to_back
from binas_deploy.steps.networks import Network, further_networks, informative_networks, scouting_networks
from binas_deploy.steps.subjects import open_subjects
from binas_deploy.steps.tables import find_table, table_lock, valid_table, workspace_table
from binas_deploy.table import LatencyTable

__all__ = ["find_table", "profile"]

_Load = Callable[[dict[str, OnnxModel]], list[Subject]]

SCOUTING_ROUNDS: Final = 4
LEAST_NETWORKS: Final = 24
"""However slow they are."""
POOL: Final = 96
"""Networks that the informative ones are chosen from."""
INFORMATIVE: Final = 1 / 6
"""Of the further networks: of 64 in all, so many are left that random and searched ones each tell a margin."""


def profile(
    space: SearchSpace,
    spec: DeviceSpec,
    *,
    workspace: Path,
    threads: int | None = None,
    seed: int = 0,
    progress: Progress = SILENT,
    force: bool = False,
    sources: Sequence[LatencyTable] = (),
    networks: int | None = None,
    energy: bool = False,
) -> tuple[Path, LatencyTable]:
    """The latency table of ``space`` on the device, and where it stands in ``workspace``.

    A valid table that is there is returned as it is, unless ``force``. Each round is journaled: after a kill or
    Ctrl-C, the next call continues with the rounds that are complete. ``seed`` draws the networks and orders.
    With ``sources``, tables of other devices for this space, no piece is measured, and ten ``networks`` get far.
    With ``energy``, what its networks use is measured after that, and added to a table that is there without. The
    sensor is sought before anything is measured, and not where the table holds energy already.

    Raises:
        InputError: fewer than 3 networks asked, or energy of calls in a rhythm.
        MismatchError: a source is of another space.
        MismatchError, DocumentError: what stands in the table's place is another's or damaged (not with ``force``).
        EnvironmentFault: another run writes this table, an extra is missing, or the disk refuses.
        DeviceError: the device failed, or there is no sensor of energy.
    """
    asked = spec.with_threads(threads).with_networks(networks)
    if energy:
        require_back_to_back(asked.cadence)
    for source in sources:
        source.require_space(space, f"the latency table of device '{source.device}'")
    device = open_device(asked)
    facts = device.facts()
    for line in facts.advice:
        progress.note(line)
    conditions = device_conditions(asked, facts)
    path = workspace_table(workspace, asked, space, conditions)
    job = Job(space, asked, device, facts, conditions, seed, tuple(sources))
    table = None if force else _existing(job, path)
    sensor = energy_sensor(asked, device) if energy and (table is None or table.energy is None) else None
    if table is None:
        with table_lock(path):
            # Another run may have finished between the first look and the lock.
            table = (None if force else _existing(job, path)) or _measured_table(job, path, progress)
    if sensor is not None and table.energy is None:
        table = _with_energy(job, path, sensor, progress)
    return path, table


def _existing(job: Job, path: Path) -> LatencyTable | None:
    try:
        return valid_table(path, job.space, job.conditions)
    except (DocumentError, MismatchError, NotMeasuredError) as error:
        raise type(error)(f"{error} Profiling with --force measures again and replaces it.") from error


def _with_energy(job: Job, path: Path, sensor: EnergySensor, progress: Progress) -> LatencyTable:
    """The table at ``path`` with energy. Its latencies are safe there, so that a kill costs no more than this part."""
    with table_lock(path):
        table = LatencyTable.load(path)
        if table.energy is None:
            table = add_energy(table, job.device, sensor, seed=job.seed, progress=progress)
            table.save(path)
    return table


def _measured_table(job: Job, path: Path, progress: Progress) -> LatencyTable:
    with ExitStack() as stack:

        def loaded(models: dict[str, OnnxModel]) -> list[Subject]:
            precision = Precision(job.spec.precision)
            return stack.enter_context(open_subjects(job.device, models, precision=precision, progress=progress))

        measure_all = _pieces_and_networks if job.pieces else _networks_alone
        table, campaigns = measure_all(job, path, loaded, progress)
    table.save(path)
    _keep_artefacts(job.device, path)
    for campaign in campaigns:
        campaign.journal.remove()
    _note_quality(campaigns[-1], progress)
    return table


def _keep_artefacts(device: Device, path: Path) -> None:
    """Beside the table, under its name: what its programs were made with (a timing cache, say)."""
    if isinstance(device, KeepsArtefacts):
        for suffix, content in device.artefacts().items():
            write_atomic(path.with_suffix(f".{suffix}"), content)


def _networks_alone(job: Job, path: Path, loaded: _Load, progress: Progress) -> tuple[LatencyTable, list[Finished]]:
    networks = _by_sources(job)
    finished = _whole(job, path, networks).run(loaded(job.network_models(networks)), progress)
    return table_of(None, finished), [finished]


def _pieces_and_networks(
    job: Job, path: Path, loaded: _Load, progress: Progress
) -> tuple[LatencyTable, list[Finished]]:
    scouts = scouting_networks(job.space, job.seed)
    subjects = loaded(job.piece_models() | job.network_models(scouts))
    alone, known = subjects[: len(job.pieces)], subjects[len(job.pieces) :]
    scouted = _scouting(job, path, scouts).run(subjects, progress)
    further = _further(job, scouts, table_of(scouted, scouted))
    known += loaded(job.network_models(further))
    whole = _whole(job, path, (*scouts, *further))
    # In a rhythm the pieces stay as they are: alone and back to back they are the model's start, no more.
    finished = whole.run(known if job.in_rhythm else [*alone, *known], progress)
    return table_of(scouted if job.in_rhythm else finished, finished), [scouted, finished]


def _by_sources(job: Job) -> tuple[Network, ...]:
    """The two ends, and random and searched networks by what the first source says, or their work without one."""
    count = job.spec.timing.networks
    ends = scouting_networks(job.space, job.seed, 2)
    taken = [network.arch for network in ends]
    cost = job.sources[0].cost_form() if job.sources else piece_form(job.space, lambda piece: piece.macs)
    accuracy = shipped_accuracy(job.space)
    more = further_networks(job.space, cost, accuracy, taken=taken, count=count - len(ends), seed=job.seed)
    return (*ends, *more)


def _whole(job: Job, path: Path, networks: tuple[Network, ...]) -> Campaign:
    """All that the table rests on, but for the pieces where networks are called in a rhythm."""
    pieces = () if job.in_rhythm else job.pieces
    label = f"measuring {len(networks)} networks and {len(pieces)} pieces"
    return Campaign(job, pieces, networks, job.spec.timing_rule(), path.with_name(f"{path.name}.journal"), label)


def _scouting(job: Job, path: Path, scouts: tuple[Network, ...]) -> Campaign:
    """Back to back: a few rounds, or as many as it takes where no others of the pieces follow."""
    timing = replace(job.spec.timing_rule(), period_ms=0.0)
    rounds = min(SCOUTING_ROUNDS, timing.max_rounds)
    if not job.in_rhythm:
        timing = replace(timing, min_rounds=rounds, max_rounds=rounds)
    return Campaign(job, job.pieces, scouts, timing, path.with_name(f"{path.name}.scouting.journal"), "scouting")


def _further(job: Job, scouts: tuple[Network, ...], scouted: LatencyTable) -> tuple[Network, ...]:
    """To measure beside the scouts, as many as there is time for: random, searched, and informative ones."""
    taken = [network.arch for network in scouts]
    count = max(0, _affordable(job, scouted) - len(scouts))
    cost, accuracy = scouted.cost_form(), shipped_accuracy(job.space)
    drawn = further_networks(job.space, cost, accuracy, taken=taken, count=count + POOL, seed=job.seed)
    fair = count - round(INFORMATIVE * count)
    timing = job.spec.timing_rule()
    chosen = informative_networks(scouted, drawn[:fair], drawn[fair:], timing.visit_ns, count - fair)
    return (*drawn[:fair], *chosen)


def _affordable(job: Job, table: LatencyTable) -> int:
    """So many networks that the least rounds fit into the time limit, at most those asked for.

    By the scouts' latencies alone, so that a run that goes on after a kill comes to the same number.
    """
    timing = job.spec.timing_rule()
    pieces = 0.0 if job.in_rhythm else sum(timing.visit_ns(piece.median) for piece in table.pieces.values())
    network = float(np.mean([timing.visit_ns(anchor.measurement.median) for anchor in table.anchors]))
    fitting = int((timing.max_seconds * 1e9 / timing.min_rounds - pieces) / network)
    return min(job.spec.timing.networks, max(LEAST_NETWORKS, fitting))


def _note_quality(finished: Finished, progress: Progress) -> None:
    """Say what a person should know: a noisy table predicts worse than it could."""
    if found := noise_findings(finished.runs()[-1].host):
        progress.note(
            f"noisy: {'; '.join(found)}. The table holds what was measured; close other programs and profile again "
            "with --force for a better one."
        )
