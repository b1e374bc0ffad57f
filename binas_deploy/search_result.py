"""`SearchResult`: the network that a search chose, what is predicted of it, and from what it was made.

Format history of ``binas-deploy/search-result``:

1. The first: network, what it needs, predictions, each budget and what is used of it, bound and gap, hashes of the
   tables and the accuracy model, the space's own text, and notes for people; ``energies`` only where a budget is of
   energy.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from binas_deploy.budget import RESOURCES
from binas_deploy.documents import read_document, seal, validation_message, write_document
from binas_deploy.errors import DocumentError, InputError
from binas_deploy.estimate import Estimate
from binas_deploy.problem import Status
from binas_deploy.quantities import Quantity
from binas_deploy.resources import Footprint
from binas_deploy.search_document import NetworkDocument, ResultDocument
from binas_deploy.space import Architecture, SearchSpace
from binas_deploy.space_file import space_document, space_from_document

RESULT_KIND: Final = "search-result"
RESULT_VERSION: Final = 1


@dataclass(frozen=True)
class LatencyAnswer:
    """One budget of latency and what is predicted for it: ``predicted`` in ns, from the table of ``table_digest``.

    ``budget`` is its text without the device (``0.5ms``), ``limit_ns`` the same as a number. ``simulated``: no clock
    measured the table. ``every_network_meets_it``: the budget excludes nothing. With a ``confidence``, the upper bound
    of the prediction is within the limit: at most ``most_predicted_ns`` was to be predicted. ``as_made``: the
    prediction for the machine as it was when the table was made, the same unless the table was carried over.
    """

    budget: str
    limit_ns: int
    device: str
    statistic: str
    cadence: str
    confidence: float | None
    most_predicted_ns: int
    predicted: Estimate
    as_made: Estimate
    table_digest: str
    simulated: bool
    every_network_meets_it: bool

    @property
    def carried_over(self) -> bool:
        """Whether the table was read for the machine as it is now."""
        return self.predicted != self.as_made


@dataclass(frozen=True)
class EnergyAnswer:
    """One budget of energy and what is predicted of it: ``predicted`` in nJ of one call, by ``sensor``.

    The rest is as of a `LatencyAnswer`.
    """

    budget: str
    limit_nj: int
    device: str
    sensor: str
    confidence: float | None
    most_predicted_nj: int
    predicted: Estimate
    table_digest: str
    simulated: bool
    every_network_meets_it: bool


@dataclass(frozen=True)
class ComputedAnswer:
    """One budget of 'params', 'macs', 'weights' or 'memory' and what the network uses of it, exactly.

    ``budget`` is its text without the resource (``8M``); ``limit`` and ``used`` are counts or bytes.
    """

    resource: str
    budget: str
    limit: int
    used: int
    every_network_meets_it: bool

    @property
    def text(self) -> str:
        """``7.654321M used, budget 8M``."""
        return f"{Quantity(RESOURCES[self.resource], self.used).text} used, budget {self.budget}"


@dataclass(frozen=True)
class SearchResult:
    """``accuracy`` and ``bound`` in percent, ``gap`` in points; ``footprint`` is what the network needs.

    No network within the budgets is predicted above ``bound``; both are None when the solver gave no bound.
    ``supernet_digest`` is that of the accuracy model (empty when it does not know one). ``notes``: what a person should
    know of how it was found.
    """

    space: SearchSpace
    architecture: Architecture
    latencies: tuple[LatencyAnswer, ...]
    computed: tuple[ComputedAnswer, ...]
    footprint: Footprint
    accuracy: Estimate
    accuracy_digest: str
    supernet_digest: str
    status: Status
    bound: float | None
    gap: float | None
    solver: str
    tie_rule: str
    seed: int
    solve_seconds: float
    notes: tuple[str, ...] = ()
    energies: tuple[EnergyAnswer, ...] = ()

    @property
    def text(self) -> str:
        """The network as block strings."""
        return self.space.text(self.architecture)

    @property
    def budgets(self) -> tuple[LatencyAnswer | EnergyAnswer | ComputedAnswer, ...]:
        """Every budget, those of latency first."""
        return (*self.latencies, *self.energies, *self.computed)

    @property
    def latency_budget(self) -> LatencyAnswer:
        """The first budget of latency.

        Raises:
            InputError: the search had none.
        """
        if not self.latencies:
            raise InputError(
                "the network was searched without a budget of latency, so none is predicted. "
                "Search with one, such as --budget 0.5ms, beside the others."
            )
        return self.latencies[0]

    @property
    def latency(self) -> Estimate:
        """Predicted latency on the first latency budget's device, ns. Raises InputError as `latency_budget`."""
        return self.latency_budget.predicted

    @property
    def device(self) -> str:
        """The first latency budget's device. Raises InputError as `latency_budget`."""
        return self.latency_budget.device

    @property
    def every_network_meets_it(self) -> bool:
        """Whether the budgets exclude no network at all."""
        return all(answer.every_network_meets_it for answer in self.budgets)

    @property
    def simulated(self) -> bool:
        """Whether any latency table was simulated."""
        return any(row.simulated for row in self.latencies) or any(row.simulated for row in self.energies)

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of the document's content, the one in its file."""
        return str(self.to_document()["digest"])

    def save(self, path: Path) -> None:
        """Write the document atomically.

        Raises:
            EnvironmentFault: no permission, no space, or the folder cannot be made.
        """
        write_document(path, self.to_document())

    @classmethod
    def load(cls, path: Path) -> SearchResult:
        """Read a result and check everything in it.

        Raises:
            InputError: no such file.
            DocumentError: truncated, edited by hand, foreign, newer, or its parts do not fit together.
        """
        content = read_document(path, RESULT_KIND, RESULT_VERSION)
        try:
            return _from_document(ResultDocument.model_validate(content), path)
        except ValidationError as error:
            raise DocumentError(validation_message(path, error)) from error

    def to_document(self) -> dict[str, Any]:
        """The sealed document."""
        content = {
            "space": space_document(self.space),
            "architecture": {"text": self.text, **self.architecture.to_json()},
            "latencies": [_latency_json(answer) for answer in self.latencies],
            **({"energies": [_energy_json(answer) for answer in self.energies]} if self.energies else {}),
            "computed": [dict(vars(answer)) for answer in self.computed],
            "footprint": dict(vars(self.footprint)),
            "accuracy": self.accuracy.to_json(),
            "accuracy_digest": self.accuracy_digest,
            "supernet_digest": self.supernet_digest,
            "status": self.status.value,
            "bound": self.bound,
            "gap": self.gap,
            "solver": self.solver,
            "tie_rule": self.tie_rule,
            "seed": self.seed,
            "solve_seconds": self.solve_seconds,
            "notes": list(self.notes),
        }
        return seal(RESULT_KIND, RESULT_VERSION, content)


def _from_document(document: ResultDocument, path: Path) -> SearchResult:
    space = space_from_document(document.space, path)
    return SearchResult(
        space=space,
        architecture=_network(space, document.architecture, path),
        latencies=tuple(
            LatencyAnswer(
                **{**row.model_dump(), "predicted": row.predicted.estimate(), "as_made": row.as_made.estimate()}
            )
            for row in document.latencies
        ),
        computed=tuple(ComputedAnswer(**row.model_dump()) for row in document.computed),
        footprint=Footprint(**document.footprint.model_dump()),
        accuracy=document.accuracy.estimate(),
        accuracy_digest=document.accuracy_digest,
        supernet_digest=document.supernet_digest,
        status=Status(document.status),
        bound=document.bound,
        gap=document.gap,
        solver=document.solver,
        tie_rule=document.tie_rule,
        seed=document.seed,
        solve_seconds=document.solve_seconds,
        notes=tuple(document.notes),
        energies=tuple(
            EnergyAnswer(**{**row.model_dump(), "predicted": row.predicted.estimate()}) for row in document.energies
        ),
    )


def _network(space: SearchSpace, stated: NetworkDocument, path: Path) -> Architecture:
    """Raises DocumentError unless text and indices say the same network of the space."""
    arch = Architecture(tuple(stated.depths), tuple(tuple(row) for row in stated.options))
    try:
        if space.architecture(stated.text) == space.validate(arch):
            return arch
    except InputError as error:
        raise DocumentError(f"{path}: architecture: {error}") from error
    raise DocumentError(f"{path}: architecture: its text and its indices are different networks.")


def _latency_json(answer: LatencyAnswer) -> dict[str, Any]:
    estimates = {name: getattr(answer, name).to_json() for name in ("predicted", "as_made")}
    return {**vars(answer), **estimates}


def _energy_json(answer: EnergyAnswer) -> dict[str, Any]:
    return {**vars(answer), "predicted": answer.predicted.to_json()}
