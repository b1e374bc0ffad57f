"""The terms of the latency model: what each coefficient multiplies at every decision.

A network's latency is linear in its decisions, so a *source* (isolated pieces, another device's table, plain work) is
a vector of what each decision costs, in the order of `Columns`. A term is such a vector too. With F the
entry of stem and head, the terms of one source c are::

    scale         all of c                                   stage scale    c within one stage
    offset        1 for each network                         trait          c where kernel, expansion, SE or op is t
    blocks        1 for each block                           stage trait    both
    stage blocks  1 for each block of one stage              piece          c of one piece
    depth         1 for a stage of that depth

From the top down the terms get finer, and `hierarchy` shrinks finer ones more, by as much as the measured networks
call for. All stay linear in the search variables, so the exact search stays exact.

Terms of neighbouring blocks (whether both have SE, their kernels, their expansions, a change of stage) were tried on
144 networks of `mobilenetv3` at a time: the error in cross-validation, random / searched, stayed at 1.64 / 1.70 % (with
them 1.64 / 1.71 %) for ONNX Runtime with one thread, and at 1.39 / 1.60 % (1.41 / 1.58 %) for OpenVINO. They would make
the search quadratic; they are not here.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from binas_deploy.block import Block, Head, Op, Piece
from binas_deploy.columns import Columns, Floats

SPREADS: Final[Mapping[str, float]] = {
    "offset": 0.1,
    "scale": 0.2,
    "blocks": 0.3,
    "stage scale": 0.1,
    "stage blocks": 0.1,
    "trait": 0.05,
    "stage trait": 0.05,
    "piece": 0.03,
    "depth": 0.05,
}
"""Expected standard deviation of the coefficients of each group: scales as shares, constants in the terms' own unit."""

_Mask = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]


@dataclass(frozen=True, eq=False)
class Source:
    """An account of what every decision costs, in ns or any other unit; ``costs``: (columns.size,)."""

    name: str
    costs: Floats


@dataclass(frozen=True, eq=False)
class Terms:
    """``values``: (columns.size, terms) in ns; ``groups``: the name of each term's group."""

    values: Floats
    groups: tuple[str, ...]


def piece_source(columns: Columns, locations: Mapping[str, float]) -> Source:
    """Isolated pieces by key, in ns; what is not there (a skip) costs nothing."""
    costs = np.zeros(columns.size)
    costs[0] = locations[columns.space.stem.key] + locations[columns.space.head.key]
    for place, _, block in columns.blocks():
        costs[place] = locations.get(block.key, 0.0)
    return Source("pieces", costs)


def work_sources(columns: Columns) -> tuple[Source, ...]:
    """What can be said without measuring a piece: multiply-accumulates, and numbers moved between layers."""
    return (
        _computed(columns, "macs", lambda piece: float(piece.macs)),
        _computed(columns, "activations", _moved),
    )


def terms(columns: Columns, sources: Sequence[Source], unit_ns: float) -> Terms:
    """All terms of these sources, each already in ns; ``unit_ns`` is the latency of a typical network.

    Constants count in `unit_ns` for the offset, and for others in its share of one block.
    """
    parts = (_constants(columns, unit_ns), *(_scales(columns, source) for source in sources))
    used = [(group, values) for group, values in itertools.chain(*parts) if values.any()]
    return Terms(np.array([values for _, values in used]).T, tuple(group for group, _ in used))


def _constants(columns: Columns, unit_ns: float) -> Iterator[tuple[str, Floats]]:
    block, stages = _blocks(columns)
    share = unit_ns / _typical_blocks(columns)
    yield "offset", np.where(np.arange(columns.size) == 0, unit_ns, 0.0)
    yield "blocks", np.where(block, share, 0.0)
    for s in range(len(columns.depths)):
        yield "stage blocks", np.where(block & (stages == s), share, 0.0)
    for places in columns.depth:
        # A stage of one depth has no choice there: the offset says it.
        for place in range(places.start, places.stop) if places.stop - places.start > 1 else ():
            yield "depth", np.where(np.arange(columns.size) == place, share, 0.0)


def _scales(columns: Columns, source: Source) -> Iterator[tuple[str, Floats]]:
    _, stages = _blocks(columns)
    every = range(len(columns.depths))
    yield "scale", source.costs
    for s in every:
        yield "stage scale", source.costs * (stages == s)
    for mask in _by(columns, _traits).values():
        yield "trait", source.costs * mask
        for s in every:
            yield "stage trait", source.costs * (mask & (stages == s))
    for mask in _by(columns, lambda block: (block.key,)).values():
        yield "piece", source.costs * mask


def _blocks(columns: Columns) -> tuple[_Mask, np.ndarray[tuple[int, ...], np.dtype[np.int64]]]:
    """(whether a place of the vector is a block that computes, its stage or -1), both (size,)."""
    block, stages = np.zeros(columns.size, dtype=np.bool_), np.full(columns.size, -1, dtype=np.int64)
    for place, s, here in columns.blocks():
        block[place], stages[place] = here.option.op is not Op.IDENTITY, s
    return block, stages


def _by(columns: Columns, names: Callable[[Block], Sequence[object]]) -> dict[object, _Mask]:
    """Where in the vector each name holds."""
    found: dict[object, _Mask] = {}
    for place, _, block in columns.blocks():
        for name in names(block):
            found.setdefault(name, np.zeros(columns.size, dtype=np.bool_))[place] = True
    return found


def _traits(block: Block) -> tuple[tuple[str, object], ...]:
    option = block.option
    return ("op", option.op), ("kernel", option.kernel), ("expansion", option.expansion), ("se", option.se_ratio)


def _typical_blocks(columns: Columns) -> float:
    """Blocks of a network whose depths are in the middle."""
    return float(sum(np.mean(depths) for depths in columns.depths))


def _moved(piece: Piece) -> float:
    """Activations that its convolutions read and write."""
    if isinstance(piece, Head):
        return float(piece.c_in * piece.resolution**2 + 2 * piece.features + piece.classes)
    area_in, area_out = piece.resolution**2, piece.resolution_out**2
    if piece.option.op is Op.IDENTITY:
        return 0.0
    if piece.option.op is Op.CONV:
        return float(piece.c_in * area_in + piece.c_out * area_out)
    expand = (piece.c_in + piece.mid) * area_in if piece.option.op is Op.INVERTED_RESIDUAL else 0
    excite = 2 * piece.mid * area_out if piece.squeeze else 0
    return float(expand + piece.mid * (area_in + area_out) + excite + (piece.mid + piece.c_out) * area_out)


def _computed(columns: Columns, name: str, cost: Callable[[Piece], float]) -> Source:
    costs = np.zeros(columns.size)
    costs[0] = cost(columns.space.stem) + cost(columns.space.head)
    for place, _, block in columns.blocks():
        costs[place] = cost(block)
    return Source(name, costs)
