"""The exact Pareto frontier of one resource: every budget at once, in integer arithmetic.

Value and cost are sums of stage terms, and those are sums of position terms (`problem`). A partial choice that
costs no less and is worth no more than another can never be part of a best network, so dominated choices are
dropped after each position and after each stage::

    front(stage)    = prune of the union over d of (depth[d] + option_0 (+) ... (+) option_{d-1})
    front(network)  = constant + front(stage 0) (+) ... (+) front(stage S-1)
    A (+) B         = prune {(cost_a + cost_b, value_a + value_b)}

Costs and values may be negative. Partial choices with equal cost and equal value are kept as one, the
lexicographically smallest (depth, options) stage by stage: each carries its rank in that order.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from typing import Final

import numpy as np
from numpy.typing import NDArray

from binas_deploy.errors import InconclusiveError, InputError
from binas_deploy.problem import Ints, Limits, LinearForm, SelectionProblem, Solution, Status
from binas_deploy.space import Architecture

_Picks = NDArray[np.int16]
_PAIRS_AT_ONCE: Final = 2**21
_LARGEST_SUM: Final = 2**62
_NO_OPTION: Final = -1


@dataclass(frozen=True, eq=False)
class _Front:
    """Partial choices by ascending cost. ``cost``, ``value``, ``rank`` (n,); ``picks`` (n, decisions)."""

    cost: Ints
    value: Ints
    rank: Ints
    picks: _Picks


@dataclass(frozen=True, eq=False)
class Frontier:
    """Best networks of every budget: ``costs`` and ``values`` (points,), both strictly ascending, base units."""

    costs: Ints
    values: Ints
    _picks: _Picks
    _widths: tuple[int, ...]

    @classmethod
    def of(cls, problem: SelectionProblem, *, seconds: float = float("inf")) -> Frontier:
        """The frontier of ``problem.value`` against its only resource; its limit is ignored.

        Raises:
            InputError: not exactly one resource, or numbers so large that sums leave 64 bits.
            InconclusiveError: not complete after ``seconds``.
        """
        if len(problem.resources) != 1:
            raise InputError(
                f"the solver 'frontier' takes exactly one resource, this problem has {len(problem.resources)}. "
                "Use the solver 'milp'."
            )
        cost = problem.resources[0].cost
        _require_safe_sums(cost, problem)
        _require_safe_sums(problem.value, problem)
        total = _network_front(problem, cost, time.monotonic() + seconds)
        widths = tuple(1 + depths[-1] for depths in problem.depths)
        return cls(total.cost + cost.constant, total.value + problem.value.constant, total.picks, widths)

    def __len__(self) -> int:
        return len(self.costs)

    def best(self, limit: int) -> int | None:
        """Index of the best network that costs at most ``limit``; None when there is none."""
        index = int(np.searchsorted(self.costs, limit, side="right")) - 1
        return index if index >= 0 else None

    def least(self) -> int:
        """Index of the cheapest network."""
        return 0

    def architecture(self, index: int) -> Architecture:
        """The network at ``index``."""
        row, start = [int(pick) for pick in self._picks[index]], 0
        depths, options = [], []
        for width in self._widths:
            depth = row[start]
            depths.append(depth)
            options.append(tuple(row[start + 1 : start + 1 + depth]))
            start += width
        return Architecture(tuple(depths), tuple(options))


class FrontierSolver:
    """Exact for one resource. Gives up (UNKNOWN) only when the time limit passes before the frontier is whole."""

    ties = (
        "highest value, then lowest cost, then lexicographically smallest (depth, options) stage by stage; "
        "all three exact in integers"
    )

    def solve(self, problem: SelectionProblem, *, limits: Limits, seed: int) -> Solution:
        """The best network within the limit; nothing is random.

        Raises:
            InputError: not exactly one resource.
        """
        try:
            frontier = Frontier.of(problem, seconds=limits.seconds)
        except InconclusiveError:
            return Solution(Status.UNKNOWN, None, None, None)
        index = frontier.best(problem.resources[0].limit)
        if index is None:
            return Solution(Status.INFEASIBLE, None, None, None)
        value = int(frontier.values[index])
        return Solution(Status.OPTIMAL, frontier.architecture(index), value, value)


def _network_front(problem: SelectionProblem, cost: LinearForm, deadline: float) -> _Front:
    stages = [_stage_front(problem, cost, s, deadline) for s in range(len(problem.depths))]
    return reduce(lambda left, right: _merge(left, right, deadline), stages, _nothing())


def _stage_front(problem: SelectionProblem, cost: LinearForm, s: int, deadline: float) -> _Front:
    """All depths of stage ``s``; picks are (depth, option of each position, -1 where inactive)."""
    allowed = problem.depths[s]
    chain, fronts = _nothing(), []
    for depth in range(allowed[-1] + 1):
        if depth:
            j = depth - 1
            chain = _merge(chain, _single(cost.option[s][j], problem.value.option[s][j]), deadline)
        if depth in allowed:
            at = allowed.index(depth)
            terms = int(cost.depth[s][at]), int(problem.value.depth[s][at])
            fronts.append(_with_depth(chain, depth, allowed[-1], terms))
    return _union(fronts)


def _nothing() -> _Front:
    """One empty choice, the neutral element of merging."""
    zero = np.zeros(1, np.int64)
    return _Front(zero, zero, zero, np.zeros((1, 0), np.int16))


def _single(cost: Ints, value: Ints) -> _Front:
    index = np.arange(len(cost), dtype=np.int64)
    return _take(cost, value, index, index.astype(np.int16)[:, None])


def _with_depth(chain: _Front, depth: int, deepest: int, terms: tuple[int, int]) -> _Front:
    picks = np.full((len(chain.cost), 1 + deepest), _NO_OPTION, np.int16)
    picks[:, 0] = depth
    picks[:, 1 : 1 + depth] = chain.picks
    return _Front(chain.cost + terms[0], chain.value + terms[1], chain.rank, picks)


def _union(fronts: list[_Front]) -> _Front:
    """Alternatives in ascending lexicographic order (of depth), pruned together."""
    offsets = np.cumsum([0] + [len(front.cost) for front in fronts])
    return _take(
        np.concatenate([front.cost for front in fronts]),
        np.concatenate([front.value for front in fronts]),
        np.concatenate([front.rank + start for front, start in zip(fronts, offsets, strict=False)]),
        np.concatenate([front.picks for front in fronts]),
    )


def _take(cost: Ints, value: Ints, rank: Ints, picks: _Picks) -> _Front:
    keep = _undominated(cost, value, rank)
    return _Front(cost[keep], value[keep], _dense(rank[keep]), picks[keep])


def _merge(left: _Front, right: _Front, deadline: float) -> _Front:
    """Every choice of ``left`` followed by every choice of ``right``, pruned; blocks bound the memory."""
    parts = [_merge_rows(left, right, rows) for rows in _row_blocks(left, right, deadline)]
    cost, value, rank, i, j = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    keep = _undominated(cost, value, rank)
    picks = np.concatenate([left.picks[i[keep]], right.picks[j[keep]]], axis=1)
    return _Front(cost[keep], value[keep], _dense(rank[keep]), picks)


def _row_blocks(left: _Front, right: _Front, deadline: float) -> Iterator[slice]:
    step = max(1, _PAIRS_AT_ONCE // len(right.cost))
    for start in range(0, len(left.cost), step):
        if time.monotonic() > deadline:
            raise InconclusiveError("the frontier was not complete within the time limit; allow more seconds.")
        yield slice(start, start + step)


def _merge_rows(left: _Front, right: _Front, rows: slice) -> tuple[Ints, Ints, Ints, Ints, Ints]:
    """(cost, value, rank, row of left, row of right) of the undominated pairs in these rows of ``left``."""
    width = len(right.cost)
    cost = np.add.outer(left.cost[rows], right.cost).ravel()
    value = np.add.outer(left.value[rows], right.value).ravel()
    near = _almost_undominated(cost, value)
    i, j = near // width + rows.start, near % width
    return cost[near], value[near], left.rank[i] * width + right.rank[j], i, j


def _almost_undominated(cost: Ints, value: Ints) -> Ints:
    """Indices of a superset of the frontier, by one sort: nothing cheaper in sorting order is worth more."""
    order = np.argsort(cost)
    ordered = value[order]
    kept: Ints = order[ordered == np.maximum.accumulate(ordered)]
    return kept


def _undominated(cost: Ints, value: Ints, rank: Ints) -> Ints:
    """Indices of the frontier by ascending cost; of equals, the lowest rank."""
    near = _almost_undominated(cost, value)
    order = near[np.lexsort((rank[near], -value[near], cost[near]))]
    ordered = value[order]
    better = np.ones(len(order), dtype=bool)
    better[1:] = ordered[1:] > np.maximum.accumulate(ordered)[:-1]
    kept: Ints = order[better]
    return kept


def _dense(rank: Ints) -> Ints:
    """The same order as 0, 1, 2, ..., so that products of ranks stay small."""
    dense = np.empty(len(rank), np.int64)
    dense[np.argsort(rank)] = np.arange(len(rank))
    return dense


def _require_safe_sums(form: LinearForm, problem: SelectionProblem) -> None:
    def largest(row: Ints) -> int:
        return max(abs(int(row.min())), abs(int(row.max())))

    total = abs(form.constant)
    for s in range(len(problem.depths)):
        total += largest(form.depth[s]) + sum(largest(row) for row in form.option[s])
    if total >= _LARGEST_SUM:
        raise InputError("the costs or values are too large to add exactly in 64 bits; use a coarser base unit.")
