"""`TableSummary`: what a latency table holds and how far it can be trusted, in figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np
from pydantic import TypeAdapter, ValidationError

from binas_deploy.conditions import Conditions
from binas_deploy.estimate import Estimate
from binas_deploy.extremes import cheapest, dearest
from binas_deploy.measurement import Measurement
from binas_deploy.quality import interval_percent, noise_findings
from binas_deploy.space import Architecture
from binas_deploy.table.energy import EnergySummary
from binas_deploy.table.labels import Label, labels, option_blocks
from binas_deploy.table.latency_table import LatencyTable
from binas_deploy.table.parts import MeasuringRun

TOP: Final = 15
NOISIEST: Final = 5
NETWORKS: Final = 200
"""Random networks that the width of a table's intervals is taken from."""


@dataclass(frozen=True)
class RunSummary:
    """A measuring run; ``findings``: what was noisy about it, in words, None when the run did not say."""

    run: MeasuringRun
    findings: tuple[str, ...] | None

    @classmethod
    def of(cls, run: MeasuringRun) -> RunSummary:
        """Of one run."""
        return cls(run, noise_findings(run.host))

    def to_json(self) -> dict[str, Any]:
        """The document form."""
        return {**self.run.to_json(), "findings": None if self.findings is None else list(self.findings)}


@dataclass(frozen=True)
class PlaceCost:
    """What a piece costs in a network, in ns, as option ``option`` of a position (all from 0)."""

    stage: int
    position: int
    option: int
    cost_ns: int


@dataclass(frozen=True)
class PieceSummary:
    """A piece: measured alone, and what the search reckons for it at each of its places.

    ``samples``, ``location_ns`` and ``interval_percent`` (how far its 95 % interval reaches) are None where it was not
    measured alone, the last also with too few samples. Stem and head have no ``costs``: they are in every network.
    """

    label: Label
    samples: int | None
    location_ns: float | None
    interval_percent: float | None
    costs: tuple[PlaceCost, ...]

    @classmethod
    def of(cls, label: Label, measurement: Measurement | None, costs: Sequence[PlaceCost]) -> PieceSummary:
        """Of one piece; ``measurement`` is None where it was not measured alone."""
        if measurement is None:
            return cls(label, None, None, None, tuple(costs))
        return cls(label, len(measurement), measurement.location, interval_percent(measurement), tuple(costs))

    @property
    def rank(self) -> tuple[float, int]:
        """Orders pieces by what they take: alone, or where that is not known, in a network."""
        return self.location_ns or 0.0, max((cost.cost_ns for cost in self.costs), default=0)

    def to_json(self) -> dict[str, Any]:
        """The document form."""
        figures = {key: getattr(self, key) for key in ("samples", "location_ns", "interval_percent")}
        return {**self.label.to_json(), **figures, "costs": [asdict(cost) for cost in self.costs]}


@dataclass(frozen=True)
class PieceNoise:
    """How well isolated pieces are known: of ``measured``, the median and the widest `PieceSummary.interval_percent`.

    Both are None when ``unknown``, the pieces with too few samples to say, are all.
    """

    measured: int
    unknown: int
    median_percent: float | None
    widest_percent: float | None

    @classmethod
    def of(cls, pieces: Sequence[PieceSummary]) -> PieceNoise:
        """Of all pieces of a table."""
        measured = [piece for piece in pieces if piece.samples is not None]
        known = [piece.interval_percent for piece in measured if piece.interval_percent is not None]
        middle, widest = (float(np.median(known)), max(known)) if known else (None, None)
        return cls(len(measured), len(measured) - len(known), middle, widest)


@dataclass(frozen=True)
class IntervalWidth:
    """How far predictions may be off: half the interval in percent, of the median and the widest of random networks."""

    median_percent: float
    widest_percent: float
    confidence: float
    method: str

    @classmethod
    def of(cls, table: LatencyTable) -> IntervalWidth:
        """Of `NETWORKS` networks of the table's space, the same each time."""
        rng = np.random.default_rng(0)
        found = [table.predict(table.space.sample(rng)) for _ in range(NETWORKS)]
        widths = [_half_percent(estimate) for estimate in found]
        return cls(float(np.median(widths)), max(widths), found[0].confidence, found[0].method)


@dataclass(frozen=True)
class NetworkPrediction:
    """A network as block strings and its predicted latency in ns."""

    network: str
    latency: Estimate

    @classmethod
    def of(cls, table: LatencyTable, arch: Architecture) -> NetworkPrediction:
        """By a table."""
        return cls(table.space.text(arch), table.predict(arch))


@dataclass(frozen=True)
class TableSummary:
    """What `of` finds in a table.

    ``age_seconds``: since it was made, None when its time does not exist in the calendar; ``anchors``: whole networks
    by kind; ``energy``: None where no sensor was read; ``dearest`` and ``noisiest``: pieces, first those that cost most
    and those known least well.
    """

    table: LatencyTable
    age_seconds: float | None
    runs: tuple[RunSummary, ...]
    anchors: Mapping[str, int]
    width: IntervalWidth
    least: NetworkPrediction
    most: NetworkPrediction
    energy: EnergySummary | None
    noise: PieceNoise
    dearest: tuple[PieceSummary, ...]
    noisiest: tuple[PieceSummary, ...]

    @classmethod
    def of(cls, table: LatencyTable, *, now: datetime, top: int = TOP) -> TableSummary:
        """Of a table at the time ``now`` (with its zone), with the ``top`` dearest pieces."""
        pieces, depths = piece_summaries(table), tuple(stage.depths for stage in table.space.stages)
        form = table.cost_form()
        return cls(
            table=table,
            age_seconds=_age(table.created, now),
            runs=tuple(RunSummary.of(run) for run in table.runs),
            anchors=dict(Counter(anchor.kind for anchor in table.anchors)),
            width=IntervalWidth.of(table),
            least=NetworkPrediction.of(table, cheapest(form, depths)),
            most=NetworkPrediction.of(table, dearest(form, depths)),
            energy=EnergySummary.of(table),
            noise=PieceNoise.of(pieces),
            dearest=tuple(sorted(pieces, key=lambda piece: piece.rank, reverse=True)[:top]),
            noisiest=_noisiest(pieces),
        )

    @property
    def conditions(self) -> Conditions:
        """Under which the table holds."""
        return self.table.conditions

    def to_json(self) -> dict[str, Any]:
        """The content of a document ``table-summary``."""
        table, space = self.table, self.table.space
        return {
            "table_digest": table.digest,
            "device": table.device,
            "space": {"name": space.name, "fingerprint": space.fingerprint, "networks": space.size},
            "simulated": table.simulated,
            "created": table.created,
            "age_seconds": self.age_seconds,
            "conditions": self.conditions.to_json(),
            "runs": [run.to_json() for run in self.runs],
            "statistic": table.statistic,
            "anchors": dict(self.anchors),
            "interval": asdict(self.width),
            "least": asdict(self.least),
            "most": asdict(self.most),
            "energy": self.energy.to_json() if self.energy else None,
            "pieces": asdict(self.noise),
            "dearest": [piece.to_json() for piece in self.dearest],
            "noisiest": [piece.to_json() for piece in self.noisiest],
        }


def piece_summaries(table: LatencyTable) -> tuple[PieceSummary, ...]:
    """Of every piece of the table's space, in the table's order."""
    costs: dict[str, list[PlaceCost]] = {}
    form = table.cost_form()
    for s, j, c, block in option_blocks(table.space):
        costs.setdefault(block.key, []).append(PlaceCost(s, j, c, int(form.option[s][j][c])))
    return tuple(
        PieceSummary.of(label, table.pieces.get(label.key), costs.get(label.key, ())) for label in labels(table.space)
    )


def _noisiest(pieces: Sequence[PieceSummary]) -> tuple[PieceSummary, ...]:
    widths = [(piece.interval_percent, piece) for piece in pieces]
    known = [(width, piece) for width, piece in widths if width is not None]
    return tuple(piece for _, piece in sorted(known, key=lambda row: row[0], reverse=True)[:NOISIEST])


def _half_percent(estimate: Estimate) -> float:
    # A prediction below one nanosecond is none: it must not divide by zero.
    return 100 * max(estimate.high - estimate.value, estimate.value - estimate.low) / max(estimate.value, 1.0)


def _age(created: str, now: datetime) -> float | None:
    try:
        # Pydantic reads every form that a table's times may have; Python 3.10 does not ('Z', one digit of a second).
        made: datetime = TypeAdapter(datetime).validate_python(created)
    except ValidationError:
        return None
    return (now - made).total_seconds()
