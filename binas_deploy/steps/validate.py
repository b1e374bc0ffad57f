"""Validate: a table against networks that it has not seen, measured now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from binas_deploy.accuracy import AccuracyModel
from binas_deploy.devices import DeviceSpec
from binas_deploy.errors import NotMeasuredError
from binas_deploy.measure import Timing
from binas_deploy.progress import SILENT, Progress
from binas_deploy.quality import noise_findings
from binas_deploy.steps.carry_over import ANCHORS, reconciled
from binas_deploy.steps.fresh import measured_in_fresh_process
from binas_deploy.steps.networks import Network, held_out_networks
from binas_deploy.table import Anchor, LatencyTable
from binas_deploy.table.cost_model import CostModel
from binas_deploy.table.parts import spread
from binas_deploy.table.reconcile import Reconciliation
from binas_deploy.table.validation import Predictions, Validation, figures, noise_floor_percent

PROCESSES: Final = 2
_ROUNDS: Final = 24
_SECONDS: Final = 60.0


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
    anchors: int = ANCHORS,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Validated:
    """Measure ``networks`` random and as many searched networks in two fresh processes, and compare.

    Searched ones are the best of ``accuracy`` (a stand-in without one) for budgets along the table's range.
    ``anchors`` of the table's own networks carry it over to the machine as it is in each process.

    Raises:
        NotMeasuredError: the space has too few networks that the table has not seen.
        DeviceError: the device failed.
    """
    held_out = held_out_networks(table, accuracy, networks, seed)
    chosen = {
        kind: [i for i, network in enumerate(held_out) if network.kind == kind] for kind in ("random", "searched")
    }
    if not all(chosen.values()):
        raise NotMeasuredError(f"space '{table.space.name}' has no networks left that the table has not seen.")
    runs, carried, notes = _measured(table, spec, held_out, spread(table.anchors, anchors), seed, progress)
    kinds = {kind: figures(runs, indexes) for kind, indexes in chosen.items()}
    floor = noise_floor_percent(runs[0].measured, runs[1].measured)
    found = Validation(kinds, floor, tuple(row.scale for row in carried))
    return Validated(table, held_out, runs, carried, found, notes)


def _measured(
    table: LatencyTable,
    spec: DeviceSpec,
    held_out: Sequence[Network],
    anchors: Sequence[Anchor],
    seed: int,
    progress: Progress,
) -> tuple[tuple[Predictions, ...], tuple[Reconciliation, ...], tuple[str, ...]]:
    archs = [anchor.arch for anchor in anchors] + [network.arch for network in held_out]
    timing = _timing(spec.timing_rule())
    runs, carried, notes = [], [], list[str]()
    with progress.task(f"measuring {len(archs)} networks in {PROCESSES} fresh processes", PROCESSES) as advance:
        for process in range(PROCESSES):
            found = measured_in_fresh_process(table.space, spec, archs, timing, seed + process)
            carried.append(reconciled(table, anchors, found.latencies_ns[: len(anchors)]))
            runs.append(_predictions(table.model.now(carried[-1]), held_out, found.latencies_ns[len(anchors) :]))
            notes += [f"process {process + 1}: {text}" for text in noise_findings(found.quality.summary()) or ()]
            advance(1)
    return tuple(runs), tuple(carried), tuple(notes)


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
