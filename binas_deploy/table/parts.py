"""What a latency table is made of, checked for fitting together, and calibrated."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from binas_deploy.block import Block, Op, Piece
from binas_deploy.columns import Columns
from binas_deploy.conditions import BACK_TO_BACK, IDENTITY_KEYS, Conditions
from binas_deploy.errors import InputError, NotMeasuredError
from binas_deploy.measurement import Measurement
from binas_deploy.space import Architecture, SearchSpace
from binas_deploy.table.calibration import Calibration, Networks, calibrate, require_networks
from binas_deploy.table.names import require_name, require_time
from binas_deploy.table.statistic import MEDIAN
from binas_deploy.table.terms import Source, piece_source

MOST_NS: Final = 10**18
_NAMED: Final = 3


@dataclass(frozen=True)
class MeasuringRun:
    """One measuring run: samples name its ``id``; ``started`` is ISO 8601 with its offset from UTC, such as
    2026-11-22T09:30:00+00:00; ``host`` is what was seen at the time, as text.

    Raises:
        InputError: an id below zero or a malformed time.
    """

    id: int
    started: str
    host: Mapping[str, str]

    def __post_init__(self) -> None:
        if self.id < 0:
            raise InputError(f"runs: id {self.id} is below zero.")
        require_time(self.started, "runs.started")
        object.__setattr__(self, "host", MappingProxyType(dict(self.host)))

    def to_json(self) -> dict[str, Any]:
        """The document form."""
        return {"id": self.id, "started": self.started, "host": dict(self.host)}


@dataclass(frozen=True)
class Anchor:
    """A whole network, measured; ``kind`` says how it was chosen: 'designed', 'random', 'searched'.

    ``energy_nj``: of one call at each visit, empty where no sensor was read. ``slowdown``: how many times slower the
    machine was for it than when the table was made; 1 unless it joined the table later.

    Raises:
        InputError: a slowdown that is not positive.
    """

    arch: Architecture
    kind: str
    measurement: Measurement
    energy_nj: tuple[int, ...] = ()
    slowdown: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.slowdown < math.inf:
            raise InputError(f"anchors: a slowdown of {self.slowdown} cannot be.")

    @property
    def location(self) -> float:
        """Where its latency lies in ns, on the machine as it was when the table was made."""
        return self.measurement.location / self.slowdown

    def to_json(self) -> dict[str, Any]:
        """The document form."""
        energy = {"energy_nj": list(self.energy_nj)} if self.energy_nj else {}
        slowdown = {"slowdown": self.slowdown} if self.slowdown != 1 else {}
        measured = self.measurement.to_json()
        return {"arch": self.arch.to_json(), "kind": self.kind, "measurement": measured, **energy, **slowdown}


def is_skip(piece: Piece) -> bool:
    """Whether the piece does nothing: it costs nothing, is not measured and does not count as a block."""
    return isinstance(piece, Block) and piece.option.op is Op.IDENTITY


def measured_pieces(space: SearchSpace) -> tuple[Piece, ...]:
    """Every distinct piece of the space that a table must hold: all but skips, stem first and head last."""
    return tuple(piece for piece in space.blocks() if not is_skip(piece))


def check_pieces(space: SearchSpace, pieces: Mapping[str, Measurement]) -> None:
    """Exactly the pieces of the space must be there, or none: a table can rest on whole networks alone.

    Raises:
        NotMeasuredError: names the pieces that are missing.
        InputError: names pieces that the space does not have.
    """
    needed = [piece.key for piece in measured_pieces(space)] if pieces else []
    missing = [key for key in needed if key not in pieces]
    if missing:
        raise NotMeasuredError(
            f"{len(missing)} of {len(needed)} pieces of space '{space.name}' are not measured: {_some(missing)}. "
            "Profile again; it continues where it stopped."
        )
    unknown = sorted(set(pieces) - set(needed))
    if unknown:
        raise InputError(f"pieces: {_some(unknown)} do not belong to space '{space.name}'.")


def check_anchors(space: SearchSpace, anchors: Sequence[Anchor]) -> None:
    """At least 3 different networks of the space.

    Raises:
        NotMeasuredError: fewer.
        InputError: one is of another space or stands twice, or its kind is not a name.
    """
    for index, anchor in enumerate(anchors):
        require_name(anchor.kind, f"anchors[{index}].kind")
        try:
            space.validate(anchor.arch)
        except InputError as error:
            raise InputError(f"anchors[{index}]: {error}") from error
    twice = [arch for arch, count in Counter(anchor.arch for anchor in anchors).items() if count > 1]
    if twice:
        raise InputError(f"anchors: a network stands twice ({space.text(twice[0])}); give each one once.")
    require_networks(len(anchors))


def check_calibration(calibration: Calibration, anchors: Sequence[Anchor]) -> None:
    """It must hold one error for each anchor.

    Raises:
        InputError: otherwise.
    """
    if len(calibration.errors) != len(anchors):
        raise InputError(f"calibration.errors: {len(calibration.errors)}, there are {len(anchors)} anchors.")


def given_anchors(samples: Sequence[tuple[Architecture, float]]) -> tuple[Anchor, ...]:
    """One anchor for each network of (network, ns) pairs, of kind 'given'.

    Raises:
        InputError: a latency that is not positive.
    """
    found: dict[Architecture, list[int]] = {}
    for arch, latency in samples:
        if not 0.5 <= latency < MOST_NS:
            raise InputError(f"a latency of {latency} ns was given; latencies are positive and in nanoseconds.")
        found.setdefault(arch, []).append(round(latency))
    return tuple(
        Anchor(arch, "given", Measurement(np.array(row), np.zeros(len(row), np.int64))) for arch, row in found.items()
    )


def spread(anchors: Sequence[Anchor], count: int) -> tuple[Anchor, ...]:
    """At most ``count`` of them, evenly spread in latency, the fastest first."""
    rows = sorted(anchors, key=lambda anchor: anchor.location)
    few = min(count, len(rows))
    return tuple(rows[(2 * index + 1) * len(rows) // (2 * few)] for index in range(few))


def stated_conditions(device: str, **stated: str) -> Conditions:
    """Conditions of which only some are known; the others are 'not-stated', which equals nothing that is read."""
    return Conditions(
        {**dict.fromkeys(IDENTITY_KEYS, "not-stated"), "cadence": BACK_TO_BACK, "device": device, **stated}, {}
    )


def check_runs(runs: Sequence[MeasuringRun], measurements: Sequence[Measurement]) -> None:
    """Every sample must name a run that is listed, each once.

    Raises:
        InputError: otherwise.
    """
    known = {run.id for run in runs}
    if len(known) != len(runs):
        raise InputError("runs: two of them have the same id.")
    named = {int(run) for measurement in measurements for run in np.unique(measurement.runs)}
    if named - known:
        raise InputError(f"runs: samples name {sorted(named - known)}, listed are {sorted(known)}.")


def calibrated(
    space: SearchSpace, pieces: Mapping[str, Measurement], anchors: Sequence[Anchor], sources: Sequence[Source]
) -> Calibration:
    """The calibration of pieces (by key, or none), and of ``sources`` beside them, to the medians of anchors.

    Raises:
        NotMeasuredError: fewer than 3 anchors.
        InputError: neither pieces nor sources, or a source by which a network costs nothing.
    """
    columns = Columns(space)
    own = piece_sources(columns, pieces)
    return calibrate(
        columns, [*own, *sources], calibration_networks(columns, anchors, locations_of(anchors)), statistic=MEDIAN
    )


def locations_of(anchors: Sequence[Anchor]) -> list[float]:
    """Where the latency of each lies, in ns."""
    return [anchor.location for anchor in anchors]


def piece_sources(columns: Columns, pieces: Mapping[str, Measurement]) -> list[Source]:
    """The account that the pieces give of what decisions cost; none without pieces."""
    return [piece_source(columns, {key: measured.location for key, measured in pieces.items()})] if pieces else []


def calibration_networks(columns: Columns, anchors: Sequence[Anchor], values: Sequence[float]) -> Networks:
    """The anchors as a calibration takes them, ``values``: what was measured of each, such as its location in ns."""
    return Networks(
        columns.design([anchor.arch for anchor in anchors]),
        np.array(values),
        tuple(anchor.kind for anchor in anchors),
    )


def _some(names: Sequence[str]) -> str:
    rest = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + rest
