"""Fit the accuracy model of a supernet: evaluate networks drawn at random, resumable network by network."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from binas_deploy.accuracy import AccuracyModel
from binas_deploy.accuracy.document import Kind
from binas_deploy.data import load_dataset
from binas_deploy.data.base import Dataset
from binas_deploy.documents import digest, writing
from binas_deploy.errors import MismatchError
from binas_deploy.progress import SILENT, Progress
from binas_deploy.space import Architecture, SearchSpace
from binas_deploy.steps.torch_extra import import_torch, torch_device

if TYPE_CHECKING:
    from binas_deploy.supernet.network import Supernet
    from binas_deploy.supernet_info import SupernetInfo

RECALIBRATION_IMAGES: Final = 1000
EVALUATIONS_NAME: Final = "evaluations.jsonl"


def estimate(
    *,
    supernet: Path,
    data: str = "cifar10",
    samples: int = 200,
    fresh: int = 100,
    kind: Kind = "ridge",
    output: Path | None = None,
    accelerator: str = "auto",
    threads: int | None = None,
    seed: int = 0,
    progress: Progress = SILENT,
) -> tuple[Path, AccuracyModel]:
    """Evaluate ``samples`` random networks on the held-out images and fit; judge on ``fresh`` further ones.

    Every evaluation is kept in ``evaluations.jsonl`` beside ``output``, with what it was made of: a run that stopped
    goes on, and another ``kind`` is fitted to the same networks.

    Raises:
        MismatchError: the data set is not the one that the supernet was trained with, or the samples are of another.
    """
    torch = import_torch("estimating accuracy")
    from binas_deploy.supernet.store import load_supernet

    if threads is not None:
        torch.set_num_threads(threads)
    net, info = load_supernet(supernet)
    net = net.to(torch_device(accelerator))
    dataset = training_data(info, data)
    output = output or supernet / "accuracy.json"
    archs = draw(info.space, samples + fresh, seed)
    journal = output.parent / EVALUATIONS_NAME
    top1 = _evaluate(net, dataset, archs, journal, _identity(info, dataset, seed), progress)
    model = AccuracyModel.fit(info.space, zip(archs[:samples], top1[:samples], strict=True), kind=kind)
    model = replace(model, seed=seed, supernet_digest=info.digest, dataset_fingerprint=dataset.fingerprint)
    model = model.with_quality(archs[samples:], top1[samples:])
    model.save(output)
    return output, model


def training_data(info: SupernetInfo, data: str) -> Dataset:
    """The data set of a supernet, with the split that it was trained with.

    Raises:
        MismatchError: other images, or another split, than those that it was trained with.
    """
    space = info.space
    dataset = load_dataset(data, resolution=space.resolution, classes=space.classes, seed=info.data.seed)
    if dataset.fingerprint != info.data.fingerprint:
        raise MismatchError(
            f"data '{data}': fingerprint {dataset.fingerprint[:12]}, the supernet was trained with '{info.data.name}', "
            f"{info.data.fingerprint[:12]}. Give the same images with --data, or another supernet with --supernet."
        )
    return dataset


def draw(space: SearchSpace, count: int, seed: int) -> list[Architecture]:
    """``count`` random networks, drawn per decision: depths and options independent and uniform."""
    rng = np.random.default_rng(seed)
    return [space.sample(rng) for _ in range(count)]


def _identity(info: SupernetInfo, dataset: Dataset, seed: int) -> str:
    return digest({"supernet": info.digest, "data": dataset.fingerprint, "seed": seed, "bn": RECALIBRATION_IMAGES})


def _evaluate(
    net: Supernet,
    dataset: Dataset,
    archs: Sequence[Architecture],
    journal: Path,
    identity: str,
    progress: Progress,
) -> list[float]:
    """Top-1 on the held-out images of each network, in percent; those in the journal are not done again."""
    from binas_deploy.supernet.evaluate import recalibrated, top1
    from binas_deploy.supernet.network import extract

    done = _read(journal, identity)
    with progress.task("evaluating networks", len(archs)) as advance:
        advance(min(len(done), len(archs)))
        for index in range(len(done), len(archs)):
            network = recalibrated(extract(net, archs[index]), dataset, images=RECALIBRATION_IMAGES)
            done.append(top1(network, dataset, dataset.holdout))
            _append(journal, {"identity": identity, "index": index, "top1": done[-1]})
            advance(1)
    return done[: len(archs)]


def _read(journal: Path, identity: str) -> list[float]:
    """Complete lines of the journal in order; a line that was cut by a kill ends it and is removed."""
    if not journal.exists():
        return []
    values: list[float] = []
    good = 0
    with writing(journal), journal.open("r+b") as stream:
        for line in stream:
            row = _row(line)
            if row is None:
                break
            if row["identity"] != identity:
                raise MismatchError(
                    f"{journal} holds evaluations of another supernet, data set or seed. Delete it to start again, or "
                    "choose another --output."
                )
            values.append(float(row["top1"]))
            good += len(line)
        stream.truncate(good)
    return values


def _row(line: bytes) -> dict[str, float | str] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if line.endswith(b"\n") and isinstance(row, dict) and {"identity", "top1"} <= row.keys() else None


def _append(journal: Path, row: dict[str, object]) -> None:
    with writing(journal), journal.open("ab") as stream:
        stream.write((json.dumps(row) + "\n").encode())
        stream.flush()
        os.fsync(stream.fileno())
