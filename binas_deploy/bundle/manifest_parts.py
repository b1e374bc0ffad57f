"""What a manifest is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from binas_deploy.estimate import Estimate
from binas_deploy.quantities import parse_quantity
from binas_deploy.search_result import SearchResult
from binas_deploy.space import Architecture
from binas_deploy.table import LatencyTable
from binas_deploy.table.parts import spread


@dataclass(frozen=True)
class Tensor:
    """An input or output of the model: float32 of ``shape``, the batch first."""

    name: str
    shape: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """The document form."""
        return {"name": self.name, "shape": list(self.shape), "dtype": "float32"}


@dataclass(frozen=True)
class Format:
    """One form in which a bundle holds its network: ``files`` in the order that its exporter made them.

    ``precision`` is the arithmetic it runs in, ``versions`` are those of what made it. ``program_sha256`` (hex) is the
    hash of what a device loads of it, as `Program.sha256`: the one that a verdict names. ``device_model`` is the
    machine that it is code for, as device facts state it; '' where it runs on any.
    """

    files: tuple[str, ...]
    precision: str
    versions: Mapping[str, str]
    program_sha256: str
    device_model: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "versions", MappingProxyType(dict(self.versions)))

    def to_json(self) -> dict[str, Any]:
        """The document form."""
        return {**vars(self), "files": list(self.files), "versions": dict(self.versions)}


@dataclass(frozen=True)
class Preprocessing:
    """What makes inputs of images: RGB, ``resolution`` px square, channels first, (pixel / 255 - mean) / std."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    resolution: int

    def to_json(self) -> dict[str, Any]:
        """The document form."""
        statistics = {"mean": [float(value) for value in self.mean], "std": [float(value) for value in self.std]}
        return {"layout": "NCHW", "colour": "RGB", "divide_by": 255, **statistics, "resolution": self.resolution}


@dataclass(frozen=True)
class Asked:
    """The budget (text without the device, such as ``0.5ms``) and where and how it is to hold."""

    budget: str
    device: str
    statistic: str
    cadence: str
    threads: int
    precision: str
    batch: int

    @property
    def limit_ns(self) -> int:
        """The budget in integer nanoseconds."""
        return parse_quantity(self.budget).amount

    def require_time(self) -> None:
        """Raises InputError unless the budget is a time."""
        parse_quantity(self.budget)

    @classmethod
    def of(cls, result: SearchResult, table: LatencyTable) -> Asked:
        """What the first latency budget of a search asked, under the conditions of its table.

        Raises:
            InputError: the search had none.
        """
        answer, identity = result.latency_budget, table.conditions.identity
        return cls(
            budget=answer.budget,
            device=answer.device,
            statistic=answer.statistic,
            cadence=answer.cadence,
            threads=int(identity["threads"]),
            precision=identity["precision"],
            batch=int(identity["batch"]),
        )


@dataclass(frozen=True)
class TableSource:
    """The latency table that predicted: its digest, where it lay (for people), and how finely it was measured.

    ``noise``: the relative standard deviation of one of its networks.
    """

    digest: str
    path: str
    noise: float


@dataclass(frozen=True)
class StatedAnchor:
    """A whole network of the latency table and the median that was measured for it."""

    arch: Architecture
    kind: str
    median_ns: float

    def to_json(self) -> dict[str, Any]:
        """The document form."""
        return {"architecture": self.arch.to_json(), "kind": self.kind, "median_ns": float(self.median_ns)}


MOST_ANCHORS: Final = 16
"""Enough to carry a table over to another run, few enough to measure beside a network each time it is verified."""


@dataclass(frozen=True)
class DataSource:
    """The images whose training split made the weights; ``seed`` says which ones were held out."""

    name: str
    fingerprint: str
    seed: int


@dataclass(frozen=True)
class Predicted:
    """``latency`` in ns by the table, ``accuracy`` in percent by the accuracy model.

    ``holdout_accuracy`` in percent: this network with these weights on held-out images; None where not evaluated.
    """

    latency: Estimate
    accuracy: Estimate
    holdout_accuracy: Estimate | None = None

    @property
    def best_accuracy(self) -> Estimate:
        """What to compare a test with: the direct evaluation where there is one, else the model's prediction."""
        return self.holdout_accuracy or self.accuracy


def anchors_of(table: LatencyTable) -> tuple[StatedAnchor, ...]:
    """Whole networks of a table with their medians, as a manifest states them: at most 16, evenly spread in latency."""
    rows = spread(table.anchors, MOST_ANCHORS)
    return tuple(StatedAnchor(row.arch, row.kind, row.location) for row in rows)
