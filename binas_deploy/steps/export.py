"""Write a searched network as a bundle: model, manifest, test vectors. All of it or nothing."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from binas_deploy.bundle.manifest import (
    MANIFEST_NAME,
    MODEL_NAME,
    VECTORS_NAME,
    Asked,
    DataSource,
    Manifest,
    Predicted,
    Preprocessing,
    TableSource,
    Tensor,
    anchors_of,
    file_entry,
    save_vectors,
)
from binas_deploy.data.base import Dataset
from binas_deploy.documents import timestamp, write_atomic, writing
from binas_deploy.errors import InputError, MismatchError
from binas_deploy.estimate import Estimate
from binas_deploy.graph import build_network
from binas_deploy.model import INPUT_NAME, OUTPUT_NAME, OnnxModel
from binas_deploy.progress import SILENT, Progress
from binas_deploy.proportion import wilson
from binas_deploy.search_result import SearchResult
from binas_deploy.shipped import supernet_path
from binas_deploy.steps.estimate import training_data
from binas_deploy.steps.quantise import MAX_DROP, InPrecision, in_precision, require_table_precision
from binas_deploy.steps.tables import table_of_digest
from binas_deploy.steps.torch_extra import import_torch
from binas_deploy.supernet_info import SupernetInfo
from binas_deploy.table import LatencyTable, table_path

if TYPE_CHECKING:
    from binas_deploy.supernet.network import Network

VECTORS: Final = 8
RECALIBRATION_IMAGES: Final = 2000
_MADE_WITH: Final = ("binas-deploy", "torch", "onnx", "numpy")


def export(
    result: SearchResult,
    *,
    table: LatencyTable | None = None,
    workspace: Path,
    output: Path | None = None,
    supernet: Path | None = None,
    data: str = "cifar10",
    precision: str | None = None,
    max_drop: float = MAX_DROP,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Path:
    """The folder of a complete bundle; an older one of the same name is replaced only by a complete new one.

    Weights come from the supernet with batch normalisation recalibrated on its training images. ``table`` is the one
    that the result was searched with (default: found in the workspace by its digest). ``output`` defaults to
    ``export/<space>-<device>-<budget>`` of the workspace. The precision is that of the table; ``precision``, where
    given, must be the same. In int8 at most ``max_drop`` points of accuracy are lost: see `steps.quantise`.

    Raises:
        InputError: the images or the table are missing, ``output`` is a folder of something else, or the result was
            searched without a budget of latency.
        MismatchError: supernet, images or table are not those of the result, or the precision is not the table's.
        TooLossyError: int8 costs more than ``max_drop``, whatever is kept in fp32.
    """
    import_torch("exporting from a supernet")
    table = _table(result, table, workspace)
    require_table_precision(precision, table.conditions.identity)
    folder = supernet_path(result.space, supernet)
    info = SupernetInfo.load(folder)
    info.require_space(result.space)
    dataset = training_data(info, data)
    target = output or workspace / "export" / bundle_name(result)
    with progress.task("export: recalibrate, evaluate, write", 3) as advance:
        network = _network(result, info, folder, dataset)
        advance(1)
        holdout = _holdout_accuracy(network, dataset)
        advance(1)
        with _replacing(target) as temporary:
            made = _write_files(network, temporary, table.conditions.identity, dataset, max_drop, seed, progress)
            _manifest(result, table, info, made.model, temporary, made.accuracy or holdout).save(temporary)
        advance(1)
    return target


def bundle_name(result: SearchResult) -> str:
    """``<space>-<device>-<budget>``."""
    return f"{result.space.name}-{result.device}-{result.latency_budget.budget}"


def _table(result: SearchResult, given: LatencyTable | None, workspace: Path) -> LatencyTable:
    searched_with = result.latency_budget.table_digest
    if given is None:
        return table_of_digest(workspace, result.device, result.space, searched_with)
    if given.digest != searched_with:
        raise MismatchError(
            f"the network was searched with the latency table {searched_with[:12]}, given is {given.digest[:12]}. "
            "Give the one that it was searched with, or search again."
        )
    return given


def _network(result: SearchResult, info: SupernetInfo, folder: Path, dataset: Dataset) -> Network:
    from binas_deploy.supernet.evaluate import recalibrated
    from binas_deploy.supernet.network import Supernet, extract
    from binas_deploy.supernet.store import load_weights

    supernet = load_weights(Supernet(info.space), info.checked_weights(folder))
    return recalibrated(extract(supernet, result.architecture), dataset, images=RECALIBRATION_IMAGES)


def _holdout_accuracy(network: Network, dataset: Dataset) -> Estimate:
    """Evaluated directly on the held-out images: an accuracy model at its own maximum is optimistic."""
    from binas_deploy.supernet.evaluate import predictions

    split = dataset.holdout
    return wilson(int(np.sum(predictions(network, dataset, split) == split.labels)), len(split))


def _write_files(
    network: Network,
    folder: Path,
    identity: Mapping[str, str],
    dataset: Dataset,
    max_drop: float,
    seed: int,
    progress: Progress,
) -> InPrecision:
    """The model, and seeded inputs (n, c, r, r) with what torch makes of them (n, classes): to verify without torch."""
    import torch

    from binas_deploy.supernet.network import folded_weights

    fp32 = build_network(network.space, network.arch, folded_weights(network), batch=int(identity["batch"]))
    made = in_precision(
        fp32, network.space, network.arch, dataset, identity=identity, max_drop=max_drop, progress=progress
    )
    write_atomic(folder / MODEL_NAME, made.model.payload)
    if made.sensitivity:
        made.sensitivity.save(folder)
    inputs = np.random.default_rng(seed).standard_normal((VECTORS, *network.space.input_shape), dtype=np.float32)
    with torch.inference_mode():
        save_vectors(folder, inputs, network(torch.from_numpy(inputs)).numpy())
    return made


def _manifest(
    result: SearchResult, table: LatencyTable, info: SupernetInfo, model: OnnxModel, folder: Path, holdout: Estimate
) -> Manifest:
    return Manifest(
        name=bundle_name(result),
        created=timestamp(),
        versions={name: metadata.version(name) for name in _MADE_WITH},
        files={name: file_entry(folder / name) for name in (MODEL_NAME, VECTORS_NAME)},
        space=result.space,
        architecture=result.architecture,
        input=Tensor(INPUT_NAME, model.input_shape),
        output=Tensor(OUTPUT_NAME, model.output_shape),
        preprocessing=Preprocessing(info.data.mean, info.data.std, result.space.resolution),
        labels=info.data.classes,
        asked=Asked.of(result, table),
        identity=table.conditions.identity,
        table=TableSource(table.digest, _table_name(table), table.calibration.noise),
        anchors=anchors_of(table),
        accuracy_model_digest=result.accuracy_digest,
        supernet_digest=info.digest,
        data=DataSource(info.data.name, info.data.fingerprint, info.data.seed),
        predicted=Predicted(result.latency_budget.as_made, result.accuracy, holdout),
        seed=result.seed,
        simulated=result.simulated,
    )


def _table_name(table: LatencyTable) -> str:
    """Where a table of these conditions stands, below ``latency_tables/``."""
    return table_path(Path(), table.device, table.space.name, table.conditions).as_posix()


@contextmanager
def _replacing(target: Path) -> Iterator[Path]:
    """A temporary folder beside ``target`` that takes its place when the block ends well, and goes when not."""
    if target.exists() and any(target.iterdir()) and not (target / MANIFEST_NAME).is_file():
        raise InputError(f"{target} exists and is no bundle. Choose another --output, or remove it.")
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent))
    try:
        yield temporary
        with writing(target):
            temporary.chmod(0o755)
            if target.exists():
                old = temporary.with_suffix(".old")
                target.rename(old)
                temporary.rename(target)
                shutil.rmtree(old)
            else:
                temporary.rename(target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
