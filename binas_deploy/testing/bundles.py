"""Bundles of untrained networks, made without torch, for testing what reads bundles."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from binas_deploy.bundle.manifest import (
    MODEL_NAME,
    ONNX,
    VECTORS_NAME,
    Asked,
    DataSource,
    Format,
    Manifest,
    Predicted,
    Preprocessing,
    TableSource,
    Tensor,
    anchors_of,
    file_entry,
    save_vectors,
)
from binas_deploy.bundle.readme import with_readme
from binas_deploy.bundle.reproduce import reproduce_words
from binas_deploy.documents import write_atomic
from binas_deploy.estimate import Estimate
from binas_deploy.model import INPUT_NAME, OUTPUT_NAME, OnnxModel
from binas_deploy.search_result import SearchResult
from binas_deploy.table import LatencyTable
from binas_deploy.testing.networks import random_network

_CREATED: Final = "2026-11-22T09:30:00+00:00"
_UNKNOWN: Final = "0" * 64


def write_bundle(
    folder: Path,
    result: SearchResult,
    table: LatencyTable,
    *,
    seed: int = 0,
    vectors: int = 3,
    data: DataSource | None = None,
    holdout_accuracy: Estimate | None = None,
) -> Manifest:
    """Write the network of ``result`` with random weights as a bundle; its outputs are by ONNX's reference evaluator.

    ``data`` are the images that it claims to be made with (default: none that exist); classes are called class0, ...
    """
    space, batch = result.space, int(table.conditions.identity["batch"])
    model = random_network(space, result.architecture, seed, batch=batch)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / MODEL_NAME, model.payload)
    _write_vectors(folder, model, vectors, seed)
    channels = space.in_channels
    manifest = Manifest(
        name=folder.name,
        created=_CREATED,
        versions={"onnx": onnx.__version__},
        files={name: file_entry(folder / name) for name in (MODEL_NAME, VECTORS_NAME)},
        formats={ONNX: Format((MODEL_NAME,), "fp32", {"onnx": onnx.__version__}, model.sha256)},
        space=space,
        architecture=result.architecture,
        input=Tensor(INPUT_NAME, model.input_shape),
        output=Tensor(OUTPUT_NAME, model.output_shape),
        preprocessing=Preprocessing((0.5,) * channels, (0.25,) * channels, space.resolution),
        labels=tuple(f"class{index}" for index in range(space.classes)),
        asked=Asked.of(result, table),
        identity=table.conditions.identity,
        table=TableSource(table.digest, "table.json", table.calibration.noise),
        anchors=anchors_of(table),
        accuracy_model_digest=result.accuracy_digest,
        supernet_digest=result.supernet_digest,
        data=data or DataSource("none", _UNKNOWN, 0),
        predicted=Predicted(result.latency_budget.as_made, result.accuracy, holdout_accuracy),
        seed=seed,
        simulated=table.simulated,
        reproduce=reproduce_words(result, table, [ONNX], data="cifar10", seed=seed),
    )
    stated = with_readme(folder, manifest)
    stated.save(folder)
    return stated


def restate(folder: Path, manifest: Manifest) -> Manifest:
    """Save ``manifest`` with the files of ``folder`` as they are now."""
    files = {name: file_entry(folder / name) for name in manifest.files}
    changed = replace(manifest, files=files)
    changed.save(folder)
    return changed


def _write_vectors(folder: Path, model: OnnxModel, count: int, seed: int) -> None:
    inputs = np.random.default_rng(seed).standard_normal((count, *model.input_shape[1:]), dtype=np.float32)
    evaluator: Any = ReferenceEvaluator(onnx.load_model_from_string(model.payload))
    batch = model.input_shape[0]
    rows = [evaluator.run(None, {INPUT_NAME: np.repeat(row[None], batch, axis=0)})[0][:1] for row in inputs]
    save_vectors(folder, inputs, np.concatenate([np.zeros((0, *model.output_shape[1:]), np.float32), *rows]))
