"""Which whole networks a table is calibrated on: designed, random, and searched ones.

Designed ones tell effects apart, by what they are made of or by how much they would tell (`table.design`). Random and
searched ones are what a table is judged by: searched ones use few of a space's options and just those that a table
underrates, so they are harder, and they are what users deploy.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from binas_deploy.accuracy import UNITS_PER_POINT, AccuracyModel
from binas_deploy.block import Block
from binas_deploy.columns import Columns
from binas_deploy.problem import Ints, LinearForm, Resource, SelectionProblem
from binas_deploy.solvers.frontier import Frontier
from binas_deploy.space import Architecture, SearchSpace
from binas_deploy.table import LatencyTable
from binas_deploy.table.design import Candidates, most_informative

KINDS: Final = ("random", "searched")
"""What a table is judged by."""
SCOUTS: Final = 16
"""Whole networks measured first, to search further ones with."""
STAND_IN_NOISE: Final = 0.3
"""Little enough that most budgets up to the top of the range bind, enough that each draw prefers other networks."""
_MOST_DRAWS: Final = 1000


@dataclass(frozen=True)
class Network:
    """A whole network to measure; ``kind`` says how it was chosen."""

    arch: Architecture
    kind: str


def scouting_networks(space: SearchSpace, seed: int, count: int = SCOUTS) -> tuple[Network, ...]:
    """Different networks to begin with: the two ends, designed ones, and random ones up to ``count``.

    The designed ones set depth against width and one kind of option against all others, so that their effects can
    be told apart. A space of fewer networks gives fewer.
    """
    rng = np.random.default_rng(seed)
    drawn = (Network(space.sample(rng), "random") for _ in range(_MOST_DRAWS))
    found: dict[Architecture, Network] = {}
    for network in itertools.chain(_designed(space), drawn):
        if len(found) == count:
            break
        found.setdefault(network.arch, network)
    return tuple(found.values())


def further_networks(
    space: SearchSpace,
    cost: LinearForm,
    accuracy: AccuracyModel | None,
    *,
    taken: Sequence[Architecture],
    count: int,
    seed: int,
) -> tuple[Network, ...]:
    """``count`` more, none of ``taken`` and no two alike: random and searched ones in turn.

    A space of too few networks gives fewer.
    """
    rng = np.random.default_rng([seed, count])
    known = set(taken)
    found: list[Network] = []
    drawn = (Network(space.sample(rng), "random") for _ in range(_MOST_DRAWS))
    searched = (Network(arch, "searched") for arch in searched_networks(space, cost, accuracy, rng))
    for network in itertools.chain.from_iterable(itertools.zip_longest(searched, drawn)):
        if len(found) == count:
            break
        if network is not None and network.arch not in known:
            known.add(network.arch)
            found.append(network)
    return tuple(found)


def informative_networks(
    table: LatencyTable,
    measured: Sequence[Network],
    candidates: Sequence[Network],
    cost: Callable[[float], float],
    count: int,
) -> tuple[Network, ...]:
    """``count`` of ``candidates``: those that, beside ``measured``, make predictions of ``table`` surer for their cost.

    Predictions of what: networks like all of these. ``cost``: what measuring a network of a latency in ns takes.
    Called designed: they are no longer drawn like those that a table is judged by.
    """
    if not count:
        return ()
    known = table.uncertainty([network.arch for network in measured])
    design = Columns(table.space).design([network.arch for network in (*candidates, *measured)])
    rows, pool = known.rows(design), len(candidates)
    seconds = np.array([cost(latency) for latency in design[:pool] @ known.costs])
    found = most_informative(known.covariance, Candidates(rows[:pool], seconds), rows, known.noise, count)
    return tuple(Network(candidates[index].arch, "designed") for index in found)


def held_out_networks(
    table: LatencyTable, accuracy: AccuracyModel | None, count: int, seed: int
) -> tuple[Network, ...]:
    """``count`` random and ``count`` searched networks that ``table`` has not seen, no two alike; fewer where there are
    not so many.
    """
    taken = [anchor.arch for anchor in table.anchors]
    # Twice as many as needed, since the two kinds come in turn and the searched ones may repeat themselves.
    found = further_networks(table.space, table.cost_form(), accuracy, taken=taken, count=4 * count, seed=seed + 1)
    return tuple(network for kind in KINDS for network in [row for row in found if row.kind == kind][:count])


def searched_networks(
    space: SearchSpace, cost: LinearForm, accuracy: AccuracyModel | None, rng: np.random.Generator
) -> Iterator[Architecture]:
    """The best networks for random budgets, evenly spread over what they cost.

    By ``accuracy``, or where a space has no model by another random stand-in each time (`stand_in`). The same network
    may come twice.
    """

    def front(value: LinearForm) -> Frontier:
        return Frontier.of(SelectionProblem(space.depths, value, (Resource("latency", cost, 0),)))

    usual = front(accuracy.value_form()) if accuracy else None
    for _ in range(_MOST_DRAWS):
        found = usual or front(stand_in(space, rng))
        # Between the ends of the frontier: above its top, every budget gives the same network.
        best = found.best(round(rng.uniform(found.costs[0], found.costs[-1])))
        yield found.architecture(best or 0)


def stand_in(space: SearchSpace, rng: np.random.Generator) -> LinearForm:
    """Instead of an accuracy model: each choice is worth log2 of its work plus normal noise.

    So larger networks tend to be better and every draw prefers others, as trained models do.
    """
    return LinearForm(
        0,
        tuple(_points(rng.normal(0, STAND_IN_NOISE, len(stage.depths))) for stage in space.stages),
        tuple(
            tuple(
                _points(_work_bits(space, s, j) + rng.normal(0, STAND_IN_NOISE, len(row)))
                for j, row in enumerate(stage.options)
            )
            for s, stage in enumerate(space.stages)
        ),
    )


def middle_network(space: SearchSpace, networks: Sequence[Network]) -> Architecture:
    """The one of median work."""
    return sorted((network.arch for network in networks), key=space.macs)[len(networks) // 2]


def _designed(space: SearchSpace) -> list[Network]:
    deep = tuple(stage.max_depth for stage in space.stages)
    shallow = tuple(stage.depths[0] for stage in space.stages)
    chosen = [
        _network(space, deep, lambda block: (-block.macs,)),
        _network(space, shallow, lambda block: (block.macs,)),
        _network(space, deep, lambda block: (block.option.kernel, -block.macs)),
        _network(space, deep, lambda block: (block.option.expansion, -block.macs)),
        _network(space, deep, lambda block: (block.option.se_ratio, -block.macs)),
    ]
    ends = [Network(space.smallest(), "smallest"), Network(space.largest(), "largest")]
    return ends + [Network(arch, "designed") for arch in chosen]


def _network(space: SearchSpace, depths: tuple[int, ...], rank: Callable[[Block], tuple[float, ...]]) -> Architecture:
    """The network of these depths with the option of highest rank at each position (the first among equals)."""

    def best(s: int, j: int) -> int:
        return max(range(len(space.stages[s].options[j])), key=lambda c: (*rank(space.block(s, j, c)), -c))

    return Architecture(depths, tuple(tuple(best(s, j) for j in range(depth)) for s, depth in enumerate(depths)))


def _work_bits(space: SearchSpace, s: int, j: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """log2 of each option's work, 0 for the least at this position (a skip counts as one operation)."""
    macs = np.array([space.block(s, j, c).macs for c in range(len(space.stages[s].options[j]))])
    bits = np.log2(np.maximum(macs, 1))
    return np.asarray(bits - bits.min(), dtype=np.float64)


def _points(points: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Ints:
    return np.rint(points * UNITS_PER_POINT).astype(np.int64)
