"""Networks that contain others: what does all the work of another and more should not be faster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import islice
from typing import Final

import numpy as np

from binas_deploy.block import Op
from binas_deploy.samples.finding import Finding, count_text
from binas_deploy.samples.repeats import Networks
from binas_deploy.space import Architecture, SearchSpace

MAX_PAIRS: Final = 200_000
_FASTER: Final = 0.03
_NOISES: Final = 3.0

Work = tuple[tuple[str, ...], ...]


def work(space: SearchSpace, archs: Sequence[Architecture]) -> list[Work]:
    """For each network the block keys of every stage in order, without the blocks that do nothing."""

    @cache
    def key(s: int, j: int, c: int) -> str:
        block = space.block(s, j, c)
        return "" if block.option.op is Op.IDENTITY else block.key

    def stage(s: int, row: tuple[int, ...]) -> tuple[str, ...]:
        return tuple(filter(None, (key(s, j, c) for j, c in enumerate(row))))

    return [tuple(stage(s, row) for s, row in enumerate(arch.options)) for arch in archs]


def contained_pairs(works: Sequence[Work]) -> Iterator[tuple[int, int]]:
    """All pairs (inner, outer) of indices: each stage of the outer one begins with that of the inner, and one goes on.

    The outer networks come in a random order (fixed seed), so that the first pairs are a fair part of all. Only
    beginnings that some network has are followed, which keeps thousands of networks quick.
    """
    begun = {item[:s] for item in works for s in range(1, len(item) + 1)}
    owners: dict[Work, list[int]] = {}
    for index, item in enumerate(works):
        owners.setdefault(item, []).append(index)
    for outer in np.random.default_rng(0).permutation(len(works)):
        for inner in _beginnings(works[outer], begun):
            if inner != works[outer]:
                yield from ((index, int(outer)) for index in owners[inner])


def _beginnings(item: Work, begun: set[Work]) -> list[Work]:
    """Works made of a beginning of each stage of ``item``, among those that exist."""
    found: list[Work] = [()]
    for row in item:
        longer = [(*head, row[:depth]) for head in found for depth in range(len(row) + 1)]
        found = [head for head in longer if head in begun]
    return found


def non_monotone_findings(
    space: SearchSpace, networks: Networks, noise: float, most: int = MAX_PAIRS
) -> tuple[Finding, ...]:
    """One if a network is faster than one that it contains, by over 3 % and over 3 times ``noise``.

    At most ``most`` pairs are compared; the finding says so where there are more.
    """
    pairs = list(islice(contained_pairs(work(space, networks.archs)), most + 1))
    limit = max(_FASTER, _NOISES * noise)
    compared = pairs[:most]
    inner, outer = np.array(compared, dtype=np.intp).reshape(-1, 2).T
    faster = 1 - networks.latency_ns[outer] / networks.latency_ns[inner]
    ranked = [int(i) for i in np.argsort(-faster, kind="stable") if faster[i] > limit]
    if not ranked:
        return ()
    small, large = (networks.lines[i][0] for i in compared[ranked[0]])
    rest = f"; only {most:,} such pairs were compared" if len(pairs) > most else ""
    found = (
        f"{count_text(len(ranked), 'pair')} of {len(compared)} ({100 * len(ranked) / len(compared):.2g} %) in which a "
        f"network is over {100 * limit:.2g} % faster than one that it contains{rest}; at most "
        f"{100 * faster[ranked[0]]:.2g} %, line {large} against line {small}"
    )
    lines = tuple(dict.fromkeys(networks.lines[i][0] for rank in ranked for i in compared[rank]))
    return (Finding("non-monotone", lines, found, "kept; measure these networks again, side by side"),)
