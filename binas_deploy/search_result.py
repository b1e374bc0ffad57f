"""`SearchResult`: the network that a search chose, what is predicted of it, and from what it was made.

Format history of ``binas-deploy/search-result``:

1. The first: network, predictions, bound and gap, hashes of the table and accuracy model, the space's own text.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from binas_deploy.documents import read_document, seal, validation_message, write_document
from binas_deploy.errors import DocumentError, InputError
from binas_deploy.estimate import Estimate
from binas_deploy.problem import Status
from binas_deploy.space import Architecture, SearchSpace
from binas_deploy.space_file import space_document, space_from_document

RESULT_KIND: Final = "search-result"
RESULT_VERSION: Final = 1


@dataclass(frozen=True)
class BudgetAnswer:
    """One budget and what is predicted for it: ``predicted`` in ns, from the table of ``table_digest``.

    ``budget`` is its text without the device (``0.5ms``), ``limit_ns`` the same as a number. ``simulated``: no clock
    measured the table. ``every_network_meets_it``: the budget excludes nothing.
    """

    budget: str
    limit_ns: int
    device: str
    statistic: str
    cadence: str
    predicted: Estimate
    table_digest: str
    simulated: bool
    every_network_meets_it: bool


@dataclass(frozen=True)
class SearchResult:
    """``accuracy`` and ``bound`` in percent, ``gap`` in points.

    No network within the budgets is predicted above ``bound``; both are None when the solver gave no bound.
    ``supernet_digest`` is that of the accuracy model (empty when it does not know one).
    """

    space: SearchSpace
    architecture: Architecture
    budgets: tuple[BudgetAnswer, ...]
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

    @property
    def text(self) -> str:
        """The network as block strings."""
        return self.space.text(self.architecture)

    @property
    def latency(self) -> Estimate:
        """Predicted latency on the first budget's device, ns."""
        return self.budgets[0].predicted

    @property
    def device(self) -> str:
        """The first budget's device."""
        return self.budgets[0].device

    @property
    def every_network_meets_it(self) -> bool:
        """Whether the budgets exclude no network at all."""
        return all(answer.every_network_meets_it for answer in self.budgets)

    @property
    def simulated(self) -> bool:
        """Whether any latency table was simulated."""
        return any(answer.simulated for answer in self.budgets)

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
            return _from_document(_Document.model_validate(content), path)
        except ValidationError as error:
            raise DocumentError(validation_message(path, error)) from error

    def to_document(self) -> dict[str, Any]:
        """The sealed document."""
        content = {
            "space": space_document(self.space),
            "architecture": {"text": self.text, **self.architecture.to_json()},
            "budgets": [_answer_json(answer) for answer in self.budgets],
            "accuracy": _estimate_json(self.accuracy),
            "accuracy_digest": self.accuracy_digest,
            "supernet_digest": self.supernet_digest,
            "status": self.status.value,
            "bound": self.bound,
            "gap": self.gap,
            "solver": self.solver,
            "tie_rule": self.tie_rule,
            "seed": self.seed,
            "solve_seconds": self.solve_seconds,
        }
        return seal(RESULT_KIND, RESULT_VERSION, content)


_Number = Annotated[float, Field(allow_inf_nan=False)]
_Amount = Annotated[float, Field(allow_inf_nan=False, ge=0)]
_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Text = Annotated[str, Field(max_length=1000)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _Estimate(_Strict):
    value: _Number
    low: _Number
    high: _Number
    unit: Literal["ns", "%"]
    confidence: Annotated[float, Field(gt=0, lt=1)]
    method: _Text


class _Network(_Strict):
    text: str
    depths: list[int]
    options: list[list[int]]


class _Answer(_Strict):
    budget: _Text
    limit_ns: Annotated[int, Field(gt=0)]
    device: _Text
    statistic: _Text
    cadence: _Text
    predicted: _Estimate
    table_digest: _Digest
    simulated: bool
    every_network_meets_it: bool


class _Document(_Strict):
    format: str
    version: int
    digest: str
    space: dict[str, str]
    architecture: _Network
    budgets: Annotated[list[_Answer], Field(min_length=1)]
    accuracy: _Estimate
    accuracy_digest: _Digest
    supernet_digest: Annotated[str, Field(max_length=128)]
    status: Literal["optimal", "feasible"]
    bound: _Number | None
    gap: _Amount | None
    solver: _Text
    tie_rule: _Text
    seed: Annotated[int, Field(ge=0)]
    solve_seconds: _Amount


def _from_document(document: _Document, path: Path) -> SearchResult:
    space = space_from_document(document.space, path)
    return SearchResult(
        space=space,
        architecture=_network(space, document.architecture, path),
        budgets=tuple(_answer(row) for row in document.budgets),
        accuracy=Estimate(**document.accuracy.model_dump()),
        accuracy_digest=document.accuracy_digest,
        supernet_digest=document.supernet_digest,
        status=Status(document.status),
        bound=document.bound,
        gap=document.gap,
        solver=document.solver,
        tie_rule=document.tie_rule,
        seed=document.seed,
        solve_seconds=document.solve_seconds,
    )


def _network(space: SearchSpace, stated: _Network, path: Path) -> Architecture:
    """Raises DocumentError unless text and indices say the same network of the space."""
    arch = Architecture(tuple(stated.depths), tuple(tuple(row) for row in stated.options))
    try:
        if space.architecture(stated.text) == space.validate(arch):
            return arch
    except InputError as error:
        raise DocumentError(f"{path}: architecture: {error}") from error
    raise DocumentError(f"{path}: architecture: its text and its indices are different networks.")


def _answer(row: _Answer) -> BudgetAnswer:
    return BudgetAnswer(**{**row.model_dump(), "predicted": Estimate(**row.predicted.model_dump())})


def _answer_json(answer: BudgetAnswer) -> dict[str, Any]:
    return {**vars(answer), "predicted": _estimate_json(answer.predicted)}


def _estimate_json(estimate: Estimate) -> dict[str, Any]:
    """Numbers as floats, so that a document read and written again keeps its digest."""
    numbers = {key: float(getattr(estimate, key)) for key in ("value", "low", "high", "confidence")}
    return {**estimate.to_json(), **numbers}
