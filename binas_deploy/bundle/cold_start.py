"""How a network begins in a process that has never run it: what it takes in time and memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from binas_deploy.errors import InputError

_Whole = Annotated[int, Field(ge=0, le=10**18)]


@dataclass(frozen=True)
class ColdStart:
    """Of one fresh process, with the import of the runtime apart.

    ``import_ns``: importing the runtime; ``load_ns``: from the stored program to one that can be called;
    ``first_ns``: its first call; ``before_bytes``: resident memory of the process when the runtime was imported and
    nothing loaded; ``peak_bytes``: the most that it had by the end of the first call.

    Raises:
        InputError: negative.
    """

    import_ns: int
    load_ns: int
    first_ns: int
    before_bytes: int
    peak_bytes: int

    def __post_init__(self) -> None:
        if min(vars(self).values()) < 0:
            raise InputError(f"a cold start of {self} cannot be.")

    @property
    def answer_ns(self) -> int:
        """From loading to the first result."""
        return self.load_ns + self.first_ns

    @property
    def network_bytes(self) -> int:
        """What the network added to the process at most."""
        return max(0, self.peak_bytes - self.before_bytes)

    def to_json(self) -> dict[str, Any]:
        """The document form."""
        return asdict(self)


class ColdStartDocument(BaseModel):
    """The document form."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    import_ns: _Whole
    load_ns: _Whole
    first_ns: _Whole
    before_bytes: _Whole
    peak_bytes: _Whole

    def cold_start(self) -> ColdStart:
        """The value itself."""
        return ColdStart(**self.model_dump())


def usual(starts: Sequence[ColdStart]) -> ColdStart | None:
    """Of several processes, the median of each figure; None of none."""
    if not starts:
        return None
    rows = [asdict(start) for start in starts]
    return ColdStart(**{key: round(median(row[key] for row in rows)) for key in rows[0]})
