"""`Estimate`: a predicted or measured value that carries its interval and unit."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


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
        """The document form."""
        return asdict(self)
