"""The document of a latency table: its fields as they stand in the file, and the way to the parts of a table.

Format history of ``binas-deploy/latency-table``:

1. The first: raw samples of each piece and anchor, conditions, the space's own text, and the calibration: what each
   decision costs, and the errors of networks that were held out; ``energy`` and ``anchors.energy_nj`` only where a
   sensor was read.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from binas_deploy.columns import Columns
from binas_deploy.conditions import ConditionsDocument
from binas_deploy.documents import validation_message
from binas_deploy.errors import DocumentError, InputError, NotMeasuredError
from binas_deploy.measurement import Measurement, MeasurementDocument
from binas_deploy.problem import Ints, LinearForm
from binas_deploy.space import Architecture
from binas_deploy.table.calibration import Calibration
from binas_deploy.table.energy import STATISTIC, Energy
from binas_deploy.table.names import NAME_PATTERN, TIME_PATTERN
from binas_deploy.table.parts import Anchor, MeasuringRun

TABLE_KIND: Final = "latency-table"
TABLE_VERSION: Final = 1

_Name = Annotated[str, Field(pattern=NAME_PATTERN)]
_Time = Annotated[str, Field(pattern=TIME_PATTERN)]
_Cost = Annotated[int, Field(ge=-(10**18), le=10**18)]
_Nanojoules = Annotated[int, Field(ge=1, le=10**18)]
_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Share = Annotated[float, Field(gt=-1, allow_inf_nan=False)]


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
    energy_nj: Annotated[list[_Nanojoules], Field(min_length=1, default_factory=list)]
    slowdown: _Positive = 1.0


class _Costs(_Strict):
    """Integer ns: ``option_ns[s][j]`` of the options at position j of stage s, ``depth_ns[s]`` of its depths."""

    fixed_ns: _Cost
    depth_ns: list[list[_Cost]]
    option_ns: list[list[list[_Cost]]]


class _Calibration(_Strict):
    statistic: Annotated[str, Field(min_length=1, max_length=32)]
    ratios: dict[str, _Positive]
    spreads: dict[str, _Positive]
    errors: list[_Share | None]
    costs: _Costs


class _EnergyCosts(_Strict):
    """Integer nJ, as `_Costs`."""

    fixed_nj: _Cost
    depth_nj: list[list[_Cost]]
    option_nj: list[list[list[_Cost]]]


class _Energy(_Strict):
    sensor: Annotated[str, Field(min_length=1, max_length=1000)]
    ratios: dict[str, _Positive]
    spreads: dict[str, _Positive]
    errors: list[_Share | None]
    costs: _EnergyCosts


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
    grown_from: Annotated[list[_Digest], Field(min_length=1, default_factory=list)]
    runs: Annotated[list[_Run], Field(min_length=1)]
    calibration: _Calibration
    # None where it is left out. A null is refused: the same table would have two digests.
    energy: Annotated[_Energy, Field(default_factory=lambda: None)]
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
            Anchor(
                _architecture(anchor.arch),
                anchor.kind,
                Measurement.from_document(anchor.measurement),
                tuple(anchor.energy_nj),
                anchor.slowdown,
            )
            for anchor in self.anchors
        )

    def fitted(self, columns: Columns) -> Calibration:
        """The calibration, of a space of these columns.

        Raises:
            InputError: its costs do not fit the space.
        """
        found, costs = self.calibration, self.calibration.costs
        flat = _flat(columns, "calibration", costs.fixed_ns, costs.depth_ns, costs.option_ns)
        return Calibration(flat, found.statistic, found.ratios, found.spreads, tuple(found.errors))

    def fitted_energy(self, columns: Columns) -> Energy | None:
        """What it says of energy, None where it holds none. Raises InputError as `fitted`."""
        found: _Energy | None = self.energy
        if found is None:
            return None
        flat = _flat(columns, "energy", found.costs.fixed_nj, found.costs.depth_nj, found.costs.option_nj)
        return Energy(found.sensor, Calibration(flat, STATISTIC, found.ratios, found.spreads, tuple(found.errors)))


def energy_document(energy: Energy, columns: Columns) -> dict[str, Any]:
    """The document form of what a table says of energy."""
    return {"sensor": energy.sensor, **_fit_document(energy.calibration, columns, "nj")}


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """A context in which what is read from ``path`` is checked: what does not fit is told with the file's name.

    Raises:
        DocumentError: for a field or parts that do not fit.
        NotMeasuredError: for a lack of measurements.
    """
    try:
        yield
    except ValidationError as error:
        raise DocumentError(validation_message(path, error)) from error
    except NotMeasuredError as error:
        raise NotMeasuredError(f"{path}: {error}") from error
    except DocumentError:
        raise  # it names the path itself
    except InputError as error:
        raise DocumentError(f"{path}: {error}") from error


def calibration_document(calibration: Calibration, columns: Columns) -> dict[str, Any]:
    """The document form of a calibration."""
    return {"statistic": calibration.statistic, **_fit_document(calibration, columns, "ns")}


def _fit_document(fit: Calibration, columns: Columns, unit: str) -> dict[str, Any]:
    """What latency and energy state alike, the names of costs with their unit."""
    form = columns.form(fit.costs)
    return {
        "ratios": dict(fit.ratios),
        "spreads": dict(fit.spreads),
        "errors": list(fit.errors),
        "costs": {
            f"fixed_{unit}": form.constant,
            f"depth_{unit}": [row.tolist() for row in form.depth],
            f"option_{unit}": [[row.tolist() for row in stage] for stage in form.option],
        },
    }


def _flat(columns: Columns, what: str, fixed: int, depth: list[list[int]], option: list[list[list[int]]]) -> Ints:
    """Costs in the order of `Columns`. Raises InputError where they are those of another space."""
    shape = [[len(row) for row in stage] for stage in option], [len(row) for row in depth]
    needed = [[row.stop - row.start for row in stage] for stage in columns.option], [*map(len, columns.depths)]
    if shape != needed:
        raise InputError(f"{what}.costs: not one for each depth and option of the space.")
    form = LinearForm(
        fixed,
        tuple(np.array(row, dtype=np.int64) for row in depth),
        tuple(tuple(np.array(row, dtype=np.int64) for row in stage) for stage in option),
    )
    return columns.flat(form)


def _architecture(network: _Network) -> Architecture:
    return Architecture(tuple(network.depths), tuple(tuple(row) for row in network.options))
