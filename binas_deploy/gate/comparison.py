"""What a bundle's comparison is made of: two sides, rounds of pairs, and what they show together."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from binas_deploy.columns import Floats
from binas_deploy.conditions import Conditions
from binas_deploy.errors import InputError
from binas_deploy.gate.judgement import Change, Judgement, Rule, judge
from binas_deploy.steady import Samples

QUANTILE: Final = 0.25
"""Of the calls of one turn: low, so that what interrupts some of them does not count."""


def low_ns(samples: Samples) -> int:
    """What stands for the calls of one turn, in ns."""
    return max(1, round(float(np.quantile(samples, QUANTILE))))


@dataclass(frozen=True)
class Pair:
    """Two fresh processes that took turns: `low_ns` of each turn.

    Raises:
        InputError: no turns, or not as many on both sides.
    """

    base_ns: tuple[int, ...]
    head_ns: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.base_ns or len(self.base_ns) != len(self.head_ns) or min(self.base_ns + self.head_ns) < 1:
            raise InputError("a pair has turns on both sides, as many on each, of positive nanoseconds.")

    @property
    def log_ratio(self) -> float:
        """Head over base: the median over turns, so that a host that changes its speed within a pair does not count."""
        return statistics.median(math.log(h / b) for b, h in zip(self.base_ns, self.head_ns, strict=True))


@dataclass(frozen=True)
class Side:
    """What was measured on one side: ``what`` says where it came from, ``program`` is the SHA-256 of what ran."""

    what: str
    manifest_digest: str
    program: str
    python: str
    conditions: Conditions
    simulated: bool = False

    @property
    def runtime(self) -> str:
        """Such as ``onnxruntime 1.31.0``."""
        context, identity = self.conditions.context, self.conditions.identity
        version = context.get("runtime_version_full") or identity["runtime_version"]
        return f"{identity['runtime']} {version}"


@dataclass(frozen=True)
class Comparison:
    """``rounds``: one, or two where the first suspected a change; each of pairs. ``seconds``: what it took."""

    base: Side
    head: Side
    rule: Rule
    rounds: tuple[tuple[Pair, ...], ...]
    seconds: float

    @cached_property
    def judgement(self) -> Judgement:
        """What the rounds show. Raises InputError where they are none that could be."""
        return judge([log_ratios(pairs) for pairs in self.rounds], self.rule)

    @property
    def change(self) -> Change:
        """As judged; nothing simulated or played back shows anything."""
        return Change.INCONCLUSIVE if self.simulated else self.judgement.change

    @property
    def simulated(self) -> bool:
        """Whether no clock measured one of the sides."""
        return self.base.simulated or self.head.simulated

    @property
    def base_ns(self) -> float:
        """The median of the base's processes in the last round; their ratio is not the effect, only near it."""
        return statistics.median(statistics.median(pair.base_ns) for pair in self.rounds[-1])

    @property
    def head_ns(self) -> float:
        """The same of the head's."""
        return statistics.median(statistics.median(pair.head_ns) for pair in self.rounds[-1])

    @property
    def since(self) -> str:
        """What differs between the sides' environments, such as ``since onnxruntime 1.31.0 (was 1.30.1)``; or ''."""
        if self.base.runtime != self.head.runtime:
            return f"since {self.head.runtime} (was {_short(self.base.runtime, self.head.runtime)})"
        if self.base.python != self.head.python:
            return f"since Python {self.head.python} (was {self.base.python})"
        return ""

    @property
    def differences(self) -> dict[str, tuple[str, str]]:
        """What the two processes' identities say differently: key -> (base, head)."""
        mine, theirs = self.base.conditions.identity, self.head.conditions.identity
        keys = sorted(mine.keys() | theirs.keys())
        pairs = {key: (mine.get(key, "(not stated)"), theirs.get(key, "(not stated)")) for key in keys}
        return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def log_ratios(pairs: tuple[Pair, ...]) -> Floats:
    """Of each pair, (n,)."""
    return np.array([pair.log_ratio for pair in pairs])


def _short(was: str, now: str) -> str:
    """The version alone where the name is the same."""
    name, _, version = was.partition(" ")
    return version if now.startswith(f"{name} ") else was
