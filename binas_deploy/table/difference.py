"""`TableDifference`: how latency table B differs from table A of the same space, and what that is likely to be."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import numpy as np

from binas_deploy.conditions import ABSENT, Conditions
from binas_deploy.errors import MismatchError
from binas_deploy.quality import noise_findings
from binas_deploy.table.labels import labels
from binas_deploy.table.latency_table import LatencyTable
from binas_deploy.table.ratios import PieceChange, Ratios

TOP: Final = 15
NETWORKS: Final = 200
"""Random networks whose predictions are compared."""
ALIKE: Final = 0.02
"""A factor closer to 1 than this is none."""
AGREE: Final = 0.03
"""Pieces and whole networks whose factors lie closer than this have one in common."""
_SOFTWARE: Final = ("version", "driver")
"""Context whose key has one of these words is software."""

Kind = Literal["same", "alike", "throughout", "uneven"]


@dataclass(frozen=True)
class ConditionPair:
    """One condition in both tables; '(not stated)' where one is silent."""

    kind: Literal["identity", "context"]
    key: str
    a: str
    b: str

    @property
    def differs(self) -> bool:
        """Whether the two are not the same."""
        return self.a != self.b

    def to_json(self) -> dict[str, Any]:
        """The document form."""
        return {**asdict(self), "differs": self.differs}


@dataclass(frozen=True)
class TableDifference:
    """What `of` finds between ``a`` and ``b``.

    ``pieces`` (locations) and ``anchors`` (medians of whole networks) are None where the tables have none in common;
    ``changes``: the most changed pieces; ``apart``: how many of all changed by themselves, see `PieceChange.apart`;
    ``networks``: predictions of random ones.
    """

    a: LatencyTable
    b: LatencyTable
    conditions: tuple[ConditionPair, ...]
    pieces: Ratios | None
    changes: tuple[PieceChange, ...]
    apart: int
    anchors: Ratios | None
    networks: Ratios

    @classmethod
    def of(cls, a: LatencyTable, b: LatencyTable, *, top: int = TOP, seed: int = 0) -> TableDifference:
        """Compare, with the ``top`` most changed pieces and the random networks of ``seed``.

        Raises:
            MismatchError: the tables are of different spaces.
        """
        _require_one_space(a, b)
        shared = [label for label in labels(a.space) if label.key in a.pieces and label.key in b.pieces]
        both = [(label, a.pieces[label.key], b.pieces[label.key]) for label in shared]
        pieces = Ratios.of([(ours.location, theirs.location) for _, ours, theirs in both]) if both else None
        common = pieces.median if pieces else 1.0
        changes = [PieceChange.of(label, ours, theirs, common) for label, ours, theirs in both]
        return cls(
            a=a,
            b=b,
            conditions=condition_pairs(a.conditions, b.conditions),
            pieces=pieces,
            changes=tuple(sorted(changes, key=lambda change: -change.distance)[:top]),
            apart=sum(change.apart for change in changes),
            anchors=_anchor_ratios(a, b),
            networks=_network_ratios(a, b, seed),
        )

    @property
    def kind(self) -> Kind:
        """'same' table; 'alike'; slower or faster 'throughout', by one factor; or 'uneven', by no single one.

        One factor is what nearly all pieces have in common, and whole networks with them.
        """
        if self.a.digest == self.b.digest:
            return "same"
        if self._uneven():
            return "uneven"
        return "alike" if abs(self._whole.median - 1) <= ALIKE else "throughout"

    @property
    def sentence(self) -> str:
        """What the difference is, and what the tables say of its cause."""
        if self.kind == "same":
            return "A and B are the same table."
        if self.kind == "uneven":
            return f"B differs from A {self._uneven()}: {self._levels()}; {self._cause()}."
        change = f"B is {_times(self._whole.median)} A throughout ({self._evidence()})"
        return f"{change}{self._common_cause()}{self._exceptions()}."

    def to_json(self) -> dict[str, Any]:
        """The content of a document ``table-difference``."""
        return {
            "kind": self.kind,
            "sentence": self.sentence,
            "a": _origin(self.a),
            "b": _origin(self.b),
            "space": {"name": self.a.space.name, "fingerprint": self.a.space.fingerprint},
            "conditions": [pair.to_json() for pair in self.conditions],
            "pieces": self.pieces and asdict(self.pieces),
            "apart": self.apart,
            "changes": [change.to_json() for change in self.changes],
            "anchors": self.anchors and asdict(self.anchors),
            "networks": asdict(self.networks),
        }

    @property
    def _main(self) -> Ratios:
        """What tells most: pieces, as sums of them even out what happened to each."""
        return self.pieces or self._whole

    @property
    def _whole(self) -> Ratios:
        """Networks, measured ones if any."""
        return self.anchors or self.networks

    def _uneven(self) -> str:
        """Along what it is that the tables differ by no single factor; empty when they do by one."""
        if not self._main.uniform:
            return "by piece" if self.pieces else "by network"
        agree = abs(math.log(self._whole.median / self._main.median)) <= math.log1p(AGREE)
        return "" if agree and self._whole.uniform else "between isolated pieces and whole networks"

    def _levels(self) -> str:
        """Pieces and networks, each with its factor."""
        whole = f"{_times(self._whole.median)} A for whole networks ({_spread(self._whole)})"
        if not self.pieces:
            return f"B is {whole}"
        pieces = f"{_times(self.pieces.median)} A for isolated pieces ({_spread(self.pieces)}{self._exceptions()})"
        return f"B is {pieces} and {whole}"

    def _evidence(self) -> str:
        """For one factor."""
        pieces = f"isolated pieces {self.pieces.median:.2f} times, " if self.pieces else ""
        return pieces + _spread(self._main)

    def _common_cause(self) -> str:
        if identity := self._differing("identity"):
            return f", under another identity ({identity})"
        # Networks alone cannot tell: what happened to single pieces evens out in them.
        return ": the host's speed, not the software" if self.kind == "throughout" and self.pieces else ""

    def _exceptions(self) -> str:
        return f", but for {self.apart} of {self.pieces.count} pieces" if self.pieces and self.apart else ""

    def _cause(self) -> str:
        """Of an uneven difference, as far as the tables tell."""
        noise = [f"{name}: {finding}" for name, table in (("A", self.a), ("B", self.b)) for finding in _noise(table)]
        software = self._differing("context", *_SOFTWARE)
        if identity := self._differing("identity"):
            return f"another identity ({identity})"
        if software:
            return f"other software ({software})"
        return f"the same conditions, but noisy runs ({'; '.join(noise)})" if noise else "no condition explains it"

    def _differing(self, kind: str, *words: str) -> str:
        """The keys that differ, of those that have one of ``words`` (none: of all)."""
        keys = [pair.key for pair in self.conditions if pair.kind == kind and pair.differs]
        return ", ".join(key for key in keys if not words or any(word in key for word in words))


def condition_pairs(a: Conditions, b: Conditions) -> tuple[ConditionPair, ...]:
    """All conditions side by side: identity that differs, context that differs, and what is the same."""
    pairs = [
        *(ConditionPair("identity", *row) for row in _side_by_side(a.identity, b.identity)),
        *(ConditionPair("context", *row) for row in _side_by_side(a.context, b.context)),
    ]
    return tuple(sorted(pairs, key=lambda pair: not pair.differs))


def _side_by_side(a: Mapping[str, str], b: Mapping[str, str]) -> list[tuple[str, str, str]]:
    return [(key, a.get(key, ABSENT), b.get(key, ABSENT)) for key in sorted({*a, *b})]


def _require_one_space(a: LatencyTable, b: LatencyTable) -> None:
    if a.space.fingerprint != b.space.fingerprint:
        ours, theirs = (f"space '{table.space.name}' ({table.space.fingerprint[:8]})" for table in (a, b))
        raise MismatchError(
            f"table A is of {ours}, table B of {theirs}: they have no networks in common to compare. "
            "Give two tables of one space."
        )


def _anchor_ratios(a: LatencyTable, b: LatencyTable) -> Ratios | None:
    """Of the networks that both measured."""
    now = {anchor.arch: anchor.location for anchor in b.anchors}
    pairs = [(anchor.location, now[anchor.arch]) for anchor in a.anchors if anchor.arch in now]
    return Ratios.of(pairs) if pairs else None


def _network_ratios(a: LatencyTable, b: LatencyTable, seed: int) -> Ratios:
    rng = np.random.default_rng(seed)
    archs = [a.space.sample(rng) for _ in range(NETWORKS)]
    # A prediction below one nanosecond is none: it must not divide by zero.
    return Ratios.of([(max(a.predict(arch).value, 1.0), max(b.predict(arch).value, 1.0)) for arch in archs])


def _noise(table: LatencyTable) -> list[str]:
    return [finding for run in table.runs for finding in noise_findings(run.host) or ()]


def _spread(ratios: Ratios) -> str:
    return f"nine in ten within {ratios.spread_percent:.1f} % of that"


def _times(ratio: float) -> str:
    if abs(ratio - 1) <= ALIKE:
        return "as fast as"
    return f"{ratio:.2f} times slower than" if ratio > 1 else f"{1 / ratio:.2f} times faster than"


def _origin(table: LatencyTable) -> dict[str, str | bool]:
    facts = {"table_digest": table.digest, "device": table.device, "created": table.created}
    return {**facts, "simulated": table.simulated}
