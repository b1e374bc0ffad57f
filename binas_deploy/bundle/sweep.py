"""Throughput and latency at other batch sizes, and with several calls at once."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from binas_deploy.errors import InputError

_Positive = Annotated[int, Field(ge=1, le=10**18)]


@dataclass(frozen=True)
class Point:
    """``calls`` of ``batch`` inputs each by ``concurrency`` callers, in ``wall_ns``; quantiles of single calls.

    Raises:
        InputError: not positive.
    """

    batch: int
    concurrency: int
    calls: int
    wall_ns: int
    median_ns: int
    p95_ns: int

    def __post_init__(self) -> None:
        if min(vars(self).values()) < 1:
            raise InputError(f"a sweep with the point {self} cannot be.")

    @property
    def inputs_per_second(self) -> float:
        """Throughput."""
        return 1e9 * self.calls * self.batch / self.wall_ns

    def to_json(self) -> dict[str, Any]:
        """The document form, with what is derived."""
        return {**asdict(self), "inputs_per_second": self.inputs_per_second}


class PointDocument(BaseModel):
    """The document form."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    batch: _Positive
    concurrency: _Positive
    calls: _Positive
    wall_ns: _Positive
    median_ns: _Positive
    p95_ns: _Positive
    inputs_per_second: float

    def point(self) -> Point:
        """The value itself."""
        return Point(**self.model_dump(exclude={"inputs_per_second"}))
