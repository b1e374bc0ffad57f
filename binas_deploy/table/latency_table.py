"""`LatencyTable`: measured pieces and whole networks of one space on one device, and what they say of any network.

The latency of a network is a linear form in integer nanoseconds over its decisions (arXiv 2110.12399): the costs of the
calibration, see `calibration`. Predictions and the solvers read the same integers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from binas_deploy.columns import Columns
from binas_deploy.conditions import Conditions
from binas_deploy.documents import read_document, seal, timestamp, write_document
from binas_deploy.errors import InputError, MismatchError
from binas_deploy.estimate import Estimate
from binas_deploy.measurement import Measurement
from binas_deploy.problem import LinearForm
from binas_deploy.space import Architecture, SearchSpace
from binas_deploy.space_file import space_document, space_from_document
from binas_deploy.table.calibration import Calibration, Uncertainty, uncertainty
from binas_deploy.table.cost_model import CostModel
from binas_deploy.table.document import (
    TABLE_KIND,
    TABLE_VERSION,
    TableDocument,
    calibration_document,
    energy_document,
    naming,
)
from binas_deploy.table.energy import Energy, check_energy
from binas_deploy.table.margin import CONFIDENCE, Margin
from binas_deploy.table.names import require_name, require_time
from binas_deploy.table.parts import (
    Anchor,
    MeasuringRun,
    calibrated,
    calibration_networks,
    check_anchors,
    check_calibration,
    check_pieces,
    check_runs,
    given_anchors,
    locations_of,
    measured_pieces,
    piece_sources,
    stated_conditions,
)
from binas_deploy.table.statistic import MEDIAN, Statistic, statistic
from binas_deploy.table.terms import Source, work_sources


@dataclass(frozen=True)
class LatencyTable:
    """What one device was measured to take for one space under one set of conditions.

    Make one with `build`, which fits the calibration, or `load`. ``pieces`` holds exactly the keys of
    `measured_pieces`, or nothing where a table rests on whole networks alone; ``simulated`` marks latencies that no
    clock measured. ``grown_from``: digests of the table before each network that joined it later, the latest first.

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
    energy: Energy | None = None
    grown_from: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "pieces", MappingProxyType(dict(self.pieces)))
        require_name(self.device, "device")
        require_time(self.created, "created")
        check_pieces(self.space, self.pieces)
        check_anchors(self.space, self.anchors)
        check_runs(self.runs, [*self.pieces.values(), *(anchor.measurement for anchor in self.anchors)])
        check_calibration(self.calibration, self.anchors)
        self._margin(self.calibration.errors)  # a table that cannot say how far off it is, is none
        check_energy(self.energy, self.anchors)

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
        sources: Sequence[Source] = (),
        simulated: bool = False,
    ) -> LatencyTable:
        """A table of these measurements (thinned to what a document keeps), calibrated on the anchors.

        ``sources``: further accounts of what decisions cost, beside the pieces or in their place.

        Raises:
            NotMeasuredError: a piece of the space is missing, or fewer than 3 anchors.
            InputError: an anchor of another space or given twice, an unknown piece or run, a malformed name, or
                neither pieces nor sources.
        """
        check_pieces(space, pieces)
        check_anchors(space, anchors)
        kept = {piece.key: pieces[piece.key].thinned() for piece in measured_pieces(space) if pieces}
        networks = tuple(replace(anchor, measurement=anchor.measurement.thinned(), energy_nj=()) for anchor in anchors)
        fitted = calibrated(space, kept, networks, sources)
        return cls(device, space, conditions, created, tuple(runs), kept, networks, fitted, simulated)

    @classmethod
    def fit(
        cls,
        space: SearchSpace,
        samples: Sequence[tuple[Architecture, float]],
        *,
        sources: Sequence[LatencyTable] = (),
        device: str = "elsewhere",
        conditions: Conditions | None = None,
        simulated: bool = False,
    ) -> LatencyTable:
        """A table from whole networks measured by any means: pairs of a network of ``space`` and its latency in ns.

        ``sources``: tables of other devices for the same space, whose costs are a start from which ten samples get
        far; without them work (multiply-accumulates, activations moved) is. A network may come several times.
        ``conditions``: under what the samples hold; by default nothing but the device's name is stated.

        Raises:
            NotMeasuredError: fewer than 3 networks.
            InputError: a latency that is not positive, a network of another space, or a malformed name.
            MismatchError: a source is of another space.
        """
        columns, created = Columns(space), timestamp()
        for source in sources:
            source.require_space(space, f"the latency table of device '{source.device}'")
        return cls.build(
            space=space,
            device=device,
            conditions=conditions or stated_conditions(device),
            created=created,
            runs=[MeasuringRun(0, created, {"origin": "samples"})],
            pieces={},
            anchors=given_anchors(samples),
            sources=[table.source for table in sources] or work_sources(columns),
            simulated=simulated or any(source.simulated for source in sources),
        )

    @classmethod
    def load(cls, path: Path) -> LatencyTable:
        """Read a table and check everything in it.

        Raises:
            InputError: no such file.
            DocumentError: truncated, edited by hand, foreign, newer, or its parts do not fit together.
            NotMeasuredError: it lacks a piece of its space, or anchors.
        """
        content = read_document(path, TABLE_KIND, TABLE_VERSION)
        with naming(path):
            return cls._from_document(TableDocument.model_validate(content), path)

    @classmethod
    def _from_document(cls, document: TableDocument, path: Path) -> LatencyTable:
        space = space_from_document(document.space, path)
        return cls(
            device=document.device,
            space=space,
            conditions=Conditions(document.conditions.identity, document.conditions.context),
            created=document.created,
            runs=document.measuring_runs(),
            pieces=document.measured_pieces(),
            anchors=document.measured_anchors(),
            calibration=document.fitted(Columns(space)),
            simulated=document.simulated,
            energy=document.fitted_energy(Columns(space)),
            grown_from=tuple(document.grown_from),
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
            **({"grown_from": list(self.grown_from)} if self.grown_from else {}),
            "runs": [run.to_json() for run in self.runs],
            "calibration": calibration_document(self.calibration, Columns(self.space)),
            **({"energy": energy_document(self.energy, Columns(self.space))} if self.energy else {}),
            "pieces": {key: measurement.to_json() for key, measurement in self.pieces.items()},
            "anchors": [anchor.to_json() for anchor in self.anchors],
        }
        return seal(TABLE_KIND, TABLE_VERSION, content)

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of the document's content, the one in its file."""
        return str(self.to_document()["digest"])

    @property
    def digests(self) -> tuple[str, ...]:
        """Of this table, and of what it was before networks joined it: what was searched with those holds still."""
        return (self.digest, *self.grown_from)

    @property
    def statistic(self) -> str:
        """What of a whole network is predicted: 'median'."""
        return self.calibration.statistic

    @property
    def source(self) -> Source:
        """Its costs, as a start for a table of another device."""
        return Source(f"{self.device}-{self.digest[:8]}", self.calibration.costs.astype(np.float64))

    @cached_property
    def model(self) -> CostModel:
        """What the table says of the statistic that it was calibrated to."""
        return CostModel(self.space, self.calibration.costs, self.statistic, self._margin(self.calibration.errors))

    def _margin(self, errors: Sequence[float | None]) -> Margin:
        return Margin.of([anchor.kind for anchor in self.anchors], errors)

    def statistic_factor(self, name: str) -> Statistic:
        """From the median to another statistic, as its whole networks have it.

        Raises:
            InputError: an unknown statistic, or a table that was not calibrated to the median.
            NotMeasuredError: too few samples for it.
        """
        if self.statistic != MEDIAN:
            raise InputError(f"the latency table of device '{self.device}' knows only the {self.statistic}.")
        return statistic(name, [anchor.measurement for anchor in self.anchors])

    def model_of(self, name: str) -> CostModel:
        """What the table says of the statistic ``name``.

        Raises:
            InputError, NotMeasuredError: as `statistic_factor`.
        """
        if name == self.statistic:
            return self.model
        found = self.statistic_factor(name)
        costs = np.rint(self.calibration.costs * found.factor.value).astype(np.int64)
        return CostModel(self.space, costs, name, self._margin(found.errors(self.calibration.errors)))

    def predict(self, arch: Architecture, confidence: float = CONFIDENCE) -> Estimate:
        """Latency of a network in ns, with its interval.

        Raises:
            InputError: the network is not in the table's space, or a confidence outside (0, 1).
        """
        return self.model.predict(arch, confidence)

    def cost_form(self) -> LinearForm:
        """The cost of every decision in integer ns."""
        return self.model.form

    def uncertainty(self, also: Sequence[Architecture] = ()) -> Uncertainty:
        """How sure the calibration on the pieces would be, once the networks ``also`` are measured too.

        Raises:
            InputError: a table without pieces.
        """
        columns = Columns(self.space)
        networks = calibration_networks(columns, self.anchors, locations_of(self.anchors))
        sources = piece_sources(columns, self.pieces)
        return uncertainty(columns, sources, networks, columns.design(also), self.calibration.spreads)

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
