"""Validate: a table against networks that it has not seen, measured now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from binas_deploy.accuracy import AccuracyModel
from binas_deploy.devices import DeviceSpec
from binas_deploy.measure import Timing
from binas_deploy.progress import SILENT, Progress
from binas_deploy.quality import noise_findings
from binas_deploy.space import Architecture, SearchSpace
from binas_deploy.steps.carry_over import chosen_anchors, reconciled, typical_ns
from binas_deploy.steps.fresh import measured_in_fresh_process
from binas_deploy.steps.networks import KINDS, Network, held_out_networks
from binas_deploy.table import Anchor, LatencyTable
from binas_deploy.table.cost_model import CostModel
from binas_deploy.table.parts import spread
from binas_deploy.table.reconcile import Reconciliation
from binas_deploy.table.validation import Predictions, Validation, figures, noise_floor_percent

PROCESSES: Final = 2
_ROUNDS: Final = 12
_SECONDS: Final = 40.0


@dataclass(frozen=True)
class Run:
    """Networks measured in one process: latency of each in ns; ``notes``: what was noisy."""

    latency_ns: Mapping[Architecture, float]
    notes: tuple[str, ...]

    def of(self, archs: Iterable[Architecture]) -> tuple[float, ...]:
        """In this order."""
        return tuple(self.latency_ns[arch] for arch in archs)


@dataclass(frozen=True)
class Validated:
    """``networks``: held out, in the order of the arrays in ``runs``; ``notes``: what was noisy."""

    table: LatencyTable
    networks: tuple[Network, ...]
    runs: tuple[Predictions, ...]
    carried: tuple[Reconciliation, ...]
    validation: Validation
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The document form: the figures and every network."""
        space = self.table.space
        rows = [
            {
                "network": space.text(network.arch),
                "kind": network.kind,
                "predicted_ns": [round(float(run.predicted[index])) for run in self.runs],
                "measured_ns": [round(float(run.measured[index])) for run in self.runs],
            }
            for index, network in enumerate(self.networks)
        ]
        return {
            "table_digest": self.table.digest,
            "device": self.table.device,
            "space": space.name,
            "statistic": self.table.statistic,
            "cadence": self.table.conditions.identity["cadence"],
            **self.validation.to_json(),
            "notes": list(self.notes),
            "networks": rows,
        }


def validate(
    table: LatencyTable,
    spec: DeviceSpec,
    *,
    accuracy: AccuracyModel | None = None,
    networks: int = 40,
    anchors: int | None = None,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Validated:
    """Measure ``networks`` random and as many searched networks in two fresh processes, and compare.

    Searched ones are the best of ``accuracy`` (a stand-in without one) for budgets along the table's range.
    ``anchors`` of the table's own networks carry it over to the machine as it is in each process (None: as many as its
    noise calls for, `carry_over.chosen_anchors`).

    Raises:
        NotMeasuredError: the space has fewer than 3 networks of a kind that the table has not seen.
        DeviceError: the device failed.
    """
    held_out = held_out_networks(table, accuracy, networks, seed)
    chosen = chosen_anchors(table) if anchors is None else spread(table.anchors, anchors)
    archs = [anchor.arch for anchor in chosen] + [network.arch for network in held_out]
    runs = measured_in_processes(table.space, spec, archs, seed=seed, progress=progress)
    return judged(table, held_out, chosen, runs)


def measured_in_processes(
    space: SearchSpace, spec: DeviceSpec, archs: Sequence[Architecture], *, seed: int = 0, progress: Progress = SILENT
) -> tuple[Run, ...]:
    """Networks measured in each of two fresh processes.

    Raises:
        DeviceError: the device failed.
    """
    timing, runs = _timing(spec.timing_rule()), []
    with progress.task(f"measuring {len(archs)} networks in {PROCESSES} fresh processes", PROCESSES) as advance:
        for process in range(PROCESSES):
            found = measured_in_fresh_process(space, spec, archs, timing, seed + process)
            notes = tuple(f"process {process + 1}: {text}" for text in noise_findings(found.quality.summary()) or ())
            runs.append(Run(MappingProxyType(dict(zip(archs, found.latencies_ns, strict=True))), notes))
            advance(1)
    return tuple(runs)


def judged(
    table: LatencyTable, held_out: Sequence[Network], anchors: Sequence[Anchor], runs: Sequence[Run]
) -> Validated:
    """What measured ``runs`` say of a table that has not seen ``held_out``, carried over by ``anchors`` of its own.

    Raises:
        NotMeasuredError: fewer than 3 networks of a kind.
    """
    now = [run.of(anchor.arch for anchor in anchors) for run in runs]
    carried = tuple(reconciled(table, anchors, latencies) for latencies in now)
    found = tuple(
        _predictions(table.model.now(row), held_out, run.of(network.arch for network in held_out))
        for row, run in zip(carried, runs, strict=True)
    )
    kinds = {kind: figures(found, [i for i, network in enumerate(held_out) if network.kind == kind]) for kind in KINDS}
    floor = noise_floor_percent(found[0].measured, found[1].measured)
    typical = typical_ns(anchors)
    validation = Validation(kinds, floor, tuple(row.slowdown(typical) for row in carried))
    notes = tuple(note for run in runs for note in run.notes)
    return Validated(table, tuple(held_out), found, carried, validation, notes)


def _predictions(model: CostModel, held_out: Sequence[Network], measured: Sequence[float]) -> Predictions:
    predicted = [model.predict(network.arch) for network in held_out]
    return Predictions(
        np.array([row.value for row in predicted]),
        np.array([row.low for row in predicted]),
        np.array([row.high for row in predicted]),
        np.array(measured),
    )


def _timing(usual: Timing) -> Timing:
    return replace(usual, min_rounds=_ROUNDS, max_rounds=max(_ROUNDS, usual.max_rounds), max_seconds=_SECONDS)
