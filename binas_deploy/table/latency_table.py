"""`LatencyTable`: measured pieces, whole-network anchors, and the calibration between them.

The latency of a network is a linear form in integer nanoseconds (arXiv 2110.12399). With the calibration's offset,
scale and rates of each stage s, and L(piece) the location of a measured piece::

    latency(arch) = round(offset + scale * (L(stem) + L(head)))
                    + sum over blocks round(scale_s * L(block) + per_block_s)

A skipped block costs nothing and is not counted. `LatencyTable.predict` and the solvers read the same integers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from pydantic import ValidationError

from binas_deploy.conditions import Conditions
from binas_deploy.documents import read_document, seal, validation_message, write_document
from binas_deploy.errors import DocumentError, InputError, MismatchError, NotMeasuredError
from binas_deploy.estimate import Estimate
from binas_deploy.measurement import Measurement
from binas_deploy.problem import Ints, LinearForm
from binas_deploy.space import Architecture, SearchSpace
from binas_deploy.space_file import space_document, space_from_document
from binas_deploy.table.calibration import Calibration
from binas_deploy.table.document import TABLE_KIND, TABLE_VERSION, TableDocument
from binas_deploy.table.parts import (
    Anchor,
    MeasuringRun,
    calibrated,
    check_anchors,
    check_pieces,
    check_runs,
    is_skip,
    measured_pieces,
    require_name,
    require_time,
)

__all__ = ["Anchor", "LatencyTable", "MeasuringRun", "is_skip", "measured_pieces", "table_path"]


@dataclass(frozen=True)
class LatencyTable:
    """What one device was measured to take for one space under one set of conditions.

    Make one with `build`, which fits the calibration, or `load`. ``pieces`` holds exactly the keys of
    `measured_pieces`; ``simulated`` marks latencies that no clock measured.

    Raises:
        NotMeasuredError: a piece of the space is missing, or fewer than 3 anchors.
        InputError: anything else that does not fit together.
    """

    device: str
    space: SearchSpace
    conditions: Conditions
    created: str
    runs: tuple[MeasuringRun, ...]
    pieces: Mapping[str, Measurement]
    anchors: tuple[Anchor, ...]
    calibration: Calibration
    simulated: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "pieces", MappingProxyType(dict(self.pieces)))
        require_name(self.device, "device")
        require_time(self.created, "created")
        check_pieces(self.space, self.pieces)
        check_anchors(self.space, self.anchors)
        check_runs(self.runs, [*self.pieces.values(), *(anchor.measurement for anchor in self.anchors)])
        if len(self.calibration.stages) != len(self.space.stages):
            found, needed = len(self.calibration.stages), len(self.space.stages)
            raise InputError(f"calibration.stages: {found}, space '{self.space.name}' has {needed}.")
        if self.calibration.n_anchors != len(self.anchors):
            raise InputError(
                f"calibration: made of {self.calibration.n_anchors} anchors, {len(self.anchors)} are there."
            )

    @classmethod
    def build(
        cls,
        *,
        space: SearchSpace,
        device: str,
        conditions: Conditions,
        created: str,
        runs: Sequence[MeasuringRun],
        pieces: Mapping[str, Measurement],
        anchors: Sequence[Anchor],
        simulated: bool = False,
    ) -> LatencyTable:
        """A table of these measurements (thinned to what a document keeps), calibrated on the anchors.

        Raises:
            NotMeasuredError: a piece of the space is missing, or fewer than 3 anchors.
            InputError: an anchor of another space or given twice, an unknown piece or run, a malformed name.
        """
        check_pieces(space, pieces)
        check_anchors(space, anchors)
        kept = {piece.key: pieces[piece.key].thinned() for piece in measured_pieces(space)}
        networks = tuple(Anchor(anchor.arch, anchor.kind, anchor.measurement.thinned()) for anchor in anchors)
        fitted = calibrated(space, kept, networks)
        return cls(device, space, conditions, created, tuple(runs), kept, networks, fitted, simulated)

    @classmethod
    def load(cls, path: Path) -> LatencyTable:
        """Read a table and check everything in it.

        Raises:
            InputError: no such file.
            DocumentError: truncated, edited by hand, foreign, newer, or its parts do not fit together.
            NotMeasuredError: it lacks a piece of its space, or anchors.
        """
        content = read_document(path, TABLE_KIND, TABLE_VERSION)
        try:
            return cls._from_document(TableDocument.model_validate(content), path)
        except ValidationError as error:
            raise DocumentError(validation_message(path, error)) from error
        except NotMeasuredError as error:
            raise NotMeasuredError(f"{path}: {error}") from error
        except DocumentError:
            raise  # it names the path itself
        except InputError as error:
            raise DocumentError(f"{path}: {error}") from error

    @classmethod
    def _from_document(cls, document: TableDocument, path: Path) -> LatencyTable:
        return cls(
            device=document.device,
            space=space_from_document(document.space, path),
            conditions=Conditions(document.conditions.identity, document.conditions.context),
            created=document.created,
            runs=document.measuring_runs(),
            pieces=document.measured_pieces(),
            anchors=document.measured_anchors(),
            calibration=Calibration.from_document(document.calibration),
            simulated=document.simulated,
        )

    def save(self, path: Path) -> None:
        """Write the document atomically.

        Raises:
            EnvironmentFault: no permission, no space, or the folder cannot be made.
        """
        write_document(path, self.to_document())

    def to_document(self) -> dict[str, Any]:
        """The sealed document; written, it has one line for each piece and each anchor."""
        content = {
            "unit": "ns",
            "simulated": self.simulated,
            "device": self.device,
            "space": space_document(self.space),
            "conditions": self.conditions.to_json(),
            "created": self.created,
            "runs": [run.to_json() for run in self.runs],
            "calibration": self.calibration.to_json(),
            "pieces": {key: measurement.to_json() for key, measurement in self.pieces.items()},
            "anchors": [anchor.to_json() for anchor in self.anchors],
        }
        return seal(TABLE_KIND, TABLE_VERSION, content)

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of the document's content, the one in its file."""
        return str(self.to_document()["digest"])

    @property
    def statistic(self) -> str:
        """What of a whole network is predicted: 'median'."""
        return self.calibration.statistic

    def predict(self, arch: Architecture) -> Estimate:
        """Latency of a network in ns, with the 95 % interval of the calibration.

        Raises:
            InputError: the network is not in the table's space.
        """
        depths = tuple(stage.depths for stage in self.space.stages)
        value = self.cost_form().of(self.space.validate(arch), depths)
        error = self.calibration.half_width * value
        method = f"{self.statistic}; {self.calibration.method}"
        return Estimate(value, max(0.0, value - error), value + error, "ns", self.calibration.confidence, method)

    def cost_form(self) -> LinearForm:
        """The cost of every choice in integer ns; depth terms are zero, as each block carries its own share."""
        return self._cost_form

    @cached_property
    def _cost_form(self) -> LinearForm:
        space = self.space
        fixed = self.pieces[space.stem.key].location + self.pieces[space.head.key].location
        depth = tuple(np.zeros(len(stage.depths), dtype=np.int64) for stage in space.stages)
        option = tuple(
            tuple(self._costs(s, j) for j in range(len(stage.options))) for s, stage in enumerate(space.stages)
        )
        return LinearForm(round(self.calibration.fixed(fixed)), depth, option)

    def _costs(self, s: int, j: int) -> Ints:
        blocks = [self.space.block(s, j, c) for c in range(len(self.space.stages[s].options[j]))]
        return np.array([0 if is_skip(block) else self._cost(s, block.key) for block in blocks], dtype=np.int64)

    def _cost(self, s: int, key: str) -> int:
        return round(self.calibration.block(s, self.pieces[key].location))

    def require_space(self, space: SearchSpace, what: str = "the latency table") -> None:
        """Refuse to use this table, called ``what``, for another space.

        Raises:
            MismatchError: the networks of ``space`` are not those that were measured.
        """
        if space.fingerprint != self.space.fingerprint:
            raise MismatchError(
                f"{what}: measured for space '{self.space.name}' ({self.space.fingerprint[:8]}), "
                f"asked for '{space.name}' ({space.fingerprint[:8]}). Profile the space that is asked for."
            )


def table_path(folder: Path, device: str, space: str, conditions: Conditions) -> Path:
    """Where a table stands: ``<folder>/<device>/<space>/<precision>-b<batch>-t<threads>-<8 hex of identity>.json``.

    Raises:
        InputError: a part that is not lower-case letters, digits, '_' and '-'.
    """
    parts = {key: conditions.identity[key] for key in ("precision", "batch", "threads")}
    for what, part in {"device": device, "space": space, **parts}.items():
        require_name(part, what)
    name = f"{parts['precision']}-b{parts['batch']}-t{parts['threads']}-{conditions.identity_hash}.json"
    return folder / device / space / name
