"""Where a confirmed regression lies: the pieces of the network under both sides, a few pairs of processes.

It is told only after the network as a whole was found slower, and names at most one place: the piece, or else the
stage, that makes up most of what was lost and is slower than all the rest in every pair. Nothing here is a test, and
nothing of it can turn a verdict.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from binas_deploy.errors import InputError

MOST_OF_IT: Final = 0.5
"""Share of the time lost that one place has to make up."""
BEYOND_THE_REST: Final = 0.02
"""How much more it has to be slower than the rest."""


@dataclass(frozen=True)
class Part:
    """A piece or a stage: its time in ns in each pair, on both sides, as often as the network has it."""

    stage: str
    what: str
    base_ns: tuple[float, ...]
    head_ns: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.base_ns or len(self.base_ns) != len(self.head_ns) or min(self.base_ns + self.head_ns) < 0:
            raise InputError(f"{self.label}: a part has times on both sides, in as many pairs, none negative.")

    @property
    def label(self) -> str:
        """Such as ``stage 3, 5x5 inverted residual``."""
        return f"{self.stage}, {self.what}" if self.what else self.stage

    @property
    def percent(self) -> float | None:
        """How much slower it is; None where one side does not have it."""
        if min(self.base_ns + self.head_ns) == 0:
            return None
        logs = [math.log(h / b) for b, h in zip(self.base_ns, self.head_ns, strict=True)]
        return round(100 * math.expm1(statistics.median(logs)), 3)

    @property
    def lost_ns(self) -> float:
        """What it lost, the median over pairs."""
        return statistics.median(h - b for b, h in zip(self.base_ns, self.head_ns, strict=True))


@dataclass(frozen=True)
class Cause:
    """``parts`` of the network; ``since``: what differs between the sides' environments, or ''.

    ``untold``: why the pieces were not measured; then there are none.
    """

    parts: tuple[Part, ...]
    since: str
    untold: str = ""

    @property
    def place(self) -> Part | None:
        """The one that stands out, a piece if there is one, else a stage."""
        return _standing_out(self.parts) or _standing_out(self.stages)

    @property
    def stages(self) -> tuple[Part, ...]:
        """The parts put together by stage."""
        names = dict.fromkeys(part.stage for part in self.parts)
        return tuple(_together(name, [part for part in self.parts if part.stage == name]) for name in names)

    @property
    def text(self) -> str:
        """One sentence for people."""
        if self.untold:
            return self.untold
        since, place = f" {self.since}" if self.since else "", self.place
        if place is not None:
            return f"{place.label}, {_change(place)}{since}"
        total = _together("all", self.parts)
        if (total.percent or 0.0) <= 0:
            return f"no piece alone is slower{since}: it is in how the runtime takes the network as a whole"
        return f"spread over all pieces, {_change(total)} together{since}"


def _change(part: Part) -> str:
    if part.percent is not None:
        return f"{part.percent:+.0f} %"
    return f"{part.lost_ns / 1e3:+.1f} us (one side does not have it)"


def _standing_out(parts: Sequence[Part]) -> Part | None:
    lost = sum(part.lost_ns for part in parts)
    if len(parts) < 2 or lost <= 0:
        return None
    first = max(parts, key=lambda part: part.lost_ns)
    rest = _together("rest", [part for part in parts if part is not first])
    beyond = [
        b == 0 or h / b > (1 + BEYOND_THE_REST) * rest_h / rest_b
        for b, h, rest_b, rest_h in zip(first.base_ns, first.head_ns, rest.base_ns, rest.head_ns, strict=True)
        if rest_b > 0
    ]
    return first if beyond and all(beyond) and first.lost_ns >= MOST_OF_IT * lost else None


def _together(stage: str, parts: Sequence[Part]) -> Part:
    def summed(side: Callable[[Part], tuple[float, ...]]) -> tuple[float, ...]:
        return tuple(math.fsum(times) for times in zip(*map(side, parts), strict=True))

    return Part(stage, "", summed(lambda part: part.base_ns), summed(lambda part: part.head_ns))
