"""Networks to measure predictions on: random ones and searched ones, none of which the latency table has seen."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from problems import along_range, problem, random_values

from binas_deploy.accuracy import AccuracyModel
from binas_deploy.solvers.frontier import Frontier
from binas_deploy.space import Architecture
from binas_deploy.table import LatencyTable


@dataclass(frozen=True)
class Chosen:
    """A held-out network; ``budget_ns`` is what it was searched for."""

    arch: Architecture
    group: str
    budget_ns: int | None = None


def held_out(latencies: LatencyTable, accuracy: AccuracyModel | None, count: int, seed: int) -> list[Chosen]:
    """``count`` random and ``count`` searched networks, all different, none an anchor."""
    rng = np.random.default_rng(seed)
    taken = {anchor.arch for anchor in latencies.anchors}
    found: list[Chosen] = []
    while len(found) < count:
        arch = latencies.space.sample(rng)
        if arch not in taken:
            taken.add(arch)
            found.append(Chosen(arch, "random"))
    for index, front in enumerate(itertools.islice(_frontiers(latencies, accuracy, rng), count)):
        budget = along_range(latencies.space, latencies.cost_form(), (index + 0.5) / count)
        best = next((arch for arch in _downwards(front, budget) if arch not in taken), None)
        if best is None:
            raise SystemExit(f"no new network is left on the frontier below {budget} ns; ask for fewer --networks.")
        taken.add(best)
        found.append(Chosen(best, "searched", budget))
    return found


def _frontiers(latencies: LatencyTable, accuracy: AccuracyModel | None, rng: np.random.Generator) -> Iterator[Frontier]:
    space, cost = latencies.space, latencies.cost_form()
    if accuracy:
        yield from itertools.repeat(Frontier.of(problem(space, accuracy.value_form(), cost)))
    while True:
        yield Frontier.of(problem(space, random_values(space, rng), cost))


def _downwards(front: Frontier, budget: int) -> Iterator[Architecture]:
    """The best network within the budget, then the next cheaper ones on the frontier."""
    best = front.best(budget)
    return (front.architecture(index) for index in range(-1 if best is None else best, -1, -1))
