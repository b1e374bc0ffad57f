"""A searched network against random ones that cost nearly as much, on the same images with weights of one supernet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from problems import depths_of

from binas_deploy.accuracy import AccuracyModel
from binas_deploy.progress import Progress
from binas_deploy.proportion import wilson
from binas_deploy.search_result import SearchResult
from binas_deploy.space import Architecture
from binas_deploy.steps.estimate import training_data
from binas_deploy.steps.export import RECALIBRATION_IMAGES
from binas_deploy.supernet.evaluate import predictions, recalibrated
from binas_deploy.supernet.network import extract
from binas_deploy.supernet.store import load_supernet
from binas_deploy.table import LatencyTable

LEAST_SHARE: Final = 0.95
MOST_DRAWS: Final = 1_000_000
NORMAL_95: Final = 1.959964

Right = NDArray[np.bool_]


@dataclass(frozen=True)
class Job:
    """What every part is made with."""

    table: LatencyTable
    model: AccuracyModel
    workspace: Path
    supernet: Path
    data: str
    networks: int
    seed: int
    progress: Progress


def compared(job: Job, searched: SearchResult) -> dict[str, Any]:
    """Parts of the document: the networks (the searched one first), and how it stands on each split of the images."""
    limit = searched.latency_budget.limit_ns
    draws, archs = _random_networks(job, limit, searched.architecture)
    rows, right = _evaluated(job, [searched.architecture, *archs])
    comparison = {split: _against_best(right[split]) for split in right}
    return {"draws": draws, "networks": rows, "comparison": comparison}


def _random_networks(job: Job, limit: int, searched: Architecture) -> tuple[int, list[Architecture]]:
    """How many were drawn, and those among them that take 95-100 % of ``limit`` by the table."""
    space, cost = job.table.space, job.table.cost_form()
    rng, depths = np.random.default_rng(job.seed), depths_of(job.table.space)
    found: dict[Architecture, None] = {}
    for draws in range(1, MOST_DRAWS + 1):
        arch = space.sample(rng)
        if LEAST_SHARE * limit <= cost.of(arch, depths) <= limit and arch != searched:
            found.setdefault(arch)
        if len(found) == job.networks:
            return draws, list(found)
    raise SystemExit(f"{MOST_DRAWS} draws gave {len(found)} networks of {LEAST_SHARE:.0%} to 100 % of the budget.")


def _evaluated(job: Job, archs: Sequence[Architecture]) -> tuple[list[dict[str, Any]], dict[str, list[Right]]]:
    """A row for each network, and for each split which images each network gets right."""
    supernet, info = load_supernet(job.supernet)
    dataset = training_data(info, job.data)
    splits = {"held_out": dataset.holdout, "test": dataset.test}
    right: dict[str, list[Right]] = {name: [] for name in splits}
    with job.progress.task("evaluating networks by torch", len(archs)) as advance:
        for arch in archs:
            network = recalibrated(extract(supernet, arch), dataset, images=RECALIBRATION_IMAGES)
            for name, split in splits.items():
                right[name].append(predictions(network, dataset, split) == split.labels)
            advance(1)
    return [_row(job, arch, right, index) for index, arch in enumerate(archs)], right


def _row(job: Job, arch: Architecture, right: dict[str, list[Right]], index: int) -> dict[str, Any]:
    found = {name: wilson(int(rows[index].sum()), len(rows[index])) for name, rows in right.items()}
    return {
        "kind": "random" if index else "searched",
        "latency_predicted": job.table.predict(arch).value,
        "predicted_by_model": job.model.predict(arch).value,
        **{name: [top1.value, top1.low, top1.high] for name, top1 in found.items()},
        "network": job.table.space.text(arch),
    }


def _against_best(right: Sequence[Right]) -> dict[str, Any]:
    """The first network against the best of the others; the interval is that of a paired difference, 95 % normal."""
    searched, others = right[0], right[1:]
    best = max(others, key=lambda row: int(row.sum()))
    only, missed, n = int(np.sum(searched & ~best)), int(np.sum(best & ~searched)), len(searched)
    difference = (only - missed) / n
    half = NORMAL_95 * float(np.sqrt(max(0.0, (only + missed) / n - difference**2) / n))
    return {
        "searched": 100 * float(searched.mean()),
        "best_random": 100 * float(best.mean()),
        "mean_random": 100 * float(np.mean([row.mean() for row in others])),
        "difference": [100 * difference, 100 * (difference - half), 100 * (difference + half)],
        "random_below": sum(int(row.sum()) < int(searched.sum()) for row in others),
        "searched_is_best": difference > 0,
    }
