"""`Estimate`: a predicted or measured value that carries its interval and unit."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

_Number = Annotated[float, Field(allow_inf_nan=False)]


@dataclass(frozen=True)
class Estimate:
    """``value`` with the interval [low, high] of nominal ``confidence``; ``method`` says how it was made."""

    value: float
    low: float
    high: float
    unit: str
    confidence: float
    method: str

    def to_json(self) -> dict[str, Any]:
        """The document form; numbers as floats, so that a document read and written again keeps its digest."""
        numbers = {key: float(getattr(self, key)) for key in ("value", "low", "high", "confidence")}
        return {**asdict(self), **numbers}


class EstimateDocument(BaseModel):
    """An `Estimate` as it stands in a file."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    value: _Number
    low: _Number
    high: _Number
    unit: Literal["ns", "nJ", "%"]
    confidence: Annotated[float, Field(gt=0, lt=1)]
    method: Annotated[str, Field(max_length=1000)]

    def estimate(self) -> Estimate:
        """The value itself."""
        return Estimate(**self.model_dump())
