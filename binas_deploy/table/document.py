"""The document of a latency table: its fields as they stand in the file, and the way to the parts of a table.

Format history of ``binas-deploy/latency-table``:

1. The first: raw samples of each piece and anchor, conditions, the space's own text, and the calibration.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from binas_deploy.conditions import ConditionsDocument
from binas_deploy.measurement import Measurement, MeasurementDocument
from binas_deploy.space import Architecture
from binas_deploy.table.calibration import CalibrationDocument
from binas_deploy.table.parts import NAME_PATTERN, TIME_PATTERN, Anchor, MeasuringRun

TABLE_KIND: Final = "latency-table"
TABLE_VERSION: Final = 1

_Name = Annotated[str, Field(pattern=NAME_PATTERN)]
_Time = Annotated[str, Field(pattern=TIME_PATTERN)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _Run(_Strict):
    id: Annotated[int, Field(ge=0, le=10**9)]
    started: _Time
    host: dict[str, str]


class _Network(_Strict):
    depths: list[int]
    options: list[list[int]]


class _Anchor(_Strict):
    arch: _Network
    kind: _Name
    measurement: MeasurementDocument


class TableDocument(_Strict):
    """The whole document. ``space`` is what `space_document` embeds."""

    format: str
    version: int
    digest: str
    unit: Literal["ns"]
    simulated: bool
    device: _Name
    space: dict[str, Any]
    conditions: ConditionsDocument
    created: _Time
    runs: Annotated[list[_Run], Field(min_length=1)]
    calibration: CalibrationDocument
    pieces: dict[str, MeasurementDocument]
    anchors: list[_Anchor]

    def measuring_runs(self) -> tuple[MeasuringRun, ...]:
        """The runs, in order."""
        return tuple(MeasuringRun(run.id, run.started, run.host) for run in self.runs)

    def measured_pieces(self) -> dict[str, Measurement]:
        """The pieces by key."""
        return {key: Measurement.from_document(measurement) for key, measurement in self.pieces.items()}

    def measured_anchors(self) -> tuple[Anchor, ...]:
        """The whole networks, in order."""
        return tuple(
            Anchor(_architecture(anchor.arch), anchor.kind, Measurement.from_document(anchor.measurement))
            for anchor in self.anchors
        )


def _architecture(network: _Network) -> Architecture:
    return Architecture(tuple(network.depths), tuple(tuple(row) for row in network.options))
