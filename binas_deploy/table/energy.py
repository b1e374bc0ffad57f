"""Energy in a latency table: what one call of a network uses by a sensor, as integer nJ of each decision.

It is fitted as latency is (`calibration`), to the medians of the visits to whole networks, with the costs in latency as
the one source: what takes longer uses more, and the terms say where that is not in proportion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from binas_deploy.columns import Columns
from binas_deploy.conditions import BACK_TO_BACK
from binas_deploy.errors import InputError, NotMeasuredError
from binas_deploy.estimate import Estimate
from binas_deploy.extremes import cheapest, dearest
from binas_deploy.space import Architecture
from binas_deploy.table.calibration import Calibration, calibrate
from binas_deploy.table.cost_model import CostModel
from binas_deploy.table.margin import Margin
from binas_deploy.table.parts import Anchor, MeasuringRun, calibration_networks
from binas_deploy.table.terms import Source

if TYPE_CHECKING:
    from binas_deploy.table.latency_table import LatencyTable

STATISTIC: Final = "energy of one call"
UNIT: Final = "nJ"


@dataclass(frozen=True)
class Energy:
    """What a table says of energy: by which ``sensor``; ``calibration`` has its costs in integer nJ."""

    sensor: str
    calibration: Calibration


@dataclass(frozen=True)
class EnergySummary:
    """The sensor, and the least and the most that is predicted of a network, in nJ."""

    sensor: str
    least: Estimate
    most: Estimate

    @classmethod
    def of(cls, table: LatencyTable) -> EnergySummary | None:
        """Of a table, None where it holds none."""
        if table.energy is None:
            return None
        model, depths = energy_model(table), table.space.depths
        ends = (end(model.form, depths) for end in (cheapest, dearest))
        return cls(table.energy.sensor, *(model.predict(arch) for arch in ends))

    def to_json(self) -> dict[str, Any]:
        """The document form."""
        return asdict(self)


def with_energy(
    table: LatencyTable, sensor: str, visits: Mapping[Architecture, Sequence[int]], run: MeasuringRun
) -> LatencyTable:
    """The table with what each of its whole networks used, in nJ of one call by visit, measured in ``run``.

    Raises:
        InputError: a network without a visit, or nothing used.
    """
    anchors = tuple(replace(anchor, energy_nj=tuple(visits.get(anchor.arch, ()))) for anchor in table.anchors)
    _check_visits(anchors)
    columns = Columns(table.space)
    networks = calibration_networks(columns, anchors, [float(np.median(anchor.energy_nj)) for anchor in anchors])
    latency = Source("latency", table.calibration.costs.astype(np.float64))
    found = Energy(sensor, calibrate(columns, [latency], networks, statistic=STATISTIC))
    return replace(table, anchors=anchors, runs=(*table.runs, run), energy=found)


def energy_of(table: LatencyTable) -> Energy:
    """What the table holds of energy.

    Raises:
        NotMeasuredError: nothing; the message says how to get it.
    """
    if table.energy is None:
        raise NotMeasuredError(f"the latency table of device '{table.device}' holds no energy. {_remedy(table)}")
    return table.energy


def _remedy(table: LatencyTable) -> str:
    identity = table.conditions.identity
    if (cadence := identity["cadence"]) != BACK_TO_BACK:
        return (
            f"It is of calls {cadence}, and energy is measured with calls {BACK_TO_BACK} alone. Profile with --energy "
            "and without --period, and search that table."
        )
    threads = f" --threads {identity['threads']}" if identity["threads"].isdecimal() else ""
    return f"Run: binas-deploy profile --device {table.device} --space {table.space.name}{threads} --energy"


def energy_model(table: LatencyTable) -> CostModel:
    """What the table says of energy, in nJ of one call. Raises NotMeasuredError as `energy_of`."""
    fitted = energy_of(table).calibration
    margin = Margin.of([anchor.kind for anchor in table.anchors], fitted.errors)
    return CostModel(table.space, fitted.costs, STATISTIC, margin, unit=UNIT)


def check_energy(energy: Energy | None, anchors: Sequence[Anchor]) -> None:
    """Every whole network must have its visits where there is energy, and none where there is not.

    Raises:
        InputError: otherwise.
        NotMeasuredError: too few networks to tell how far off it is.
    """
    if energy is None:
        if any(anchor.energy_nj for anchor in anchors):
            raise InputError("anchors: some hold energy_nj, but the table has no energy fitted to them.")
        return
    _check_visits(anchors)
    if len(energy.calibration.errors) != len(anchors):
        raise InputError(f"energy.errors: {len(energy.calibration.errors)}, there are {len(anchors)} anchors.")
    Margin.of([anchor.kind for anchor in anchors], energy.calibration.errors)


def _check_visits(anchors: Sequence[Anchor]) -> None:
    for index, anchor in enumerate(anchors):
        if not anchor.energy_nj or min(anchor.energy_nj) < 1:
            raise InputError(f"anchors[{index}].energy_nj: at least one visit is needed, each of 1 nJ or more.")
