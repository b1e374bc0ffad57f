"""Write a searched network as a bundle: its formats, test vectors, manifest, README. All of it or nothing."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from binas_deploy.bundle.manifest import (
    MANIFEST_NAME,
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
from binas_deploy.bundle.sensitivity import SENSITIVITY_NAME
from binas_deploy.data.base import Dataset
from binas_deploy.devices import DeviceSpec
from binas_deploy.documents import timestamp, writing
from binas_deploy.errors import InputError, MismatchError
from binas_deploy.estimate import Estimate
from binas_deploy.graph import build_network
from binas_deploy.model import INPUT_NAME, OUTPUT_NAME, OnnxModel
from binas_deploy.onnx_versions import version_for
from binas_deploy.progress import SILENT, Progress
from binas_deploy.proportion import wilson
from binas_deploy.search_result import SearchResult
from binas_deploy.shipped import supernet_path
from binas_deploy.steps.estimate import training_data
from binas_deploy.steps.formats import formats_to_make, known_device, write_formats
from binas_deploy.steps.model_notes import model_notes
from binas_deploy.steps.quantise import MAX_DROP, in_precision, require_table_precision
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
    formats: Sequence[str] | None = None,
    device: DeviceSpec | None = None,
    precision: str | None = None,
    max_drop: float = MAX_DROP,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Path:
    """The folder of a complete bundle; an older one of the same name is replaced only by a complete new one.

    Weights come from the supernet with batch normalisation recalibrated on its training images. ``table`` is the one
    that the result was searched with (default: found in the workspace by its digest). ``output`` defaults to
    ``export/<space>-<device>-<budget>`` of the workspace. ``formats`` are by name (default: that of the device); ONNX
    is always among them. ``device`` is the one of the result (default: as the workspace or the tool describes it). The
    precision is that of the table; ``precision``, where given, must be the same. In int8 at most ``max_drop`` points of
    accuracy are lost: see `steps.quantise`.

    Raises:
        InputError: the images or the table are missing, ``output`` is a folder of something else, the result was
            searched without a budget of latency, or there is no such format.
        MismatchError: supernet, images or table are not those of the result, the precision is not the table's, or a
            format that runs only where it is made is to be made on another machine than the table's.
        TooLossyError: int8 costs more than ``max_drop``, whatever is kept in fp32.
        MissingExtraError, DeviceError: the runtime of a format is absent, or refuses the network.
    """
    import_torch("exporting from a supernet")
    table = _table(result, table, workspace)
    identity = table.conditions.identity
    require_table_precision(precision, identity)
    own = _own_device(device, table, workspace, progress)
    makings = formats_to_make(formats, own, precision=identity["precision"], workspace=workspace)
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
            fp32 = _model(network, table, info)
            made = in_precision(
                fp32, network.space, network.arch, dataset, identity=identity, max_drop=max_drop, progress=progress
            )
            if made.sensitivity:
                made.sensitivity.save(temporary)
            _write_vectors(network, made.model if made.sensitivity else None, temporary, seed)
            written = write_formats(makings, made.model, temporary, conditions=table.conditions)
            accuracy = made.accuracy or holdout
            manifest = _manifest(result, table, info, made.model, temporary, accuracy, written)
            words = reproduce_words(result, table, list(written), data=data, seed=seed)
            with_readme(temporary, replace(manifest, reproduce=words)).save(temporary)
        advance(1)
    return target


def bundle_name(result: SearchResult) -> str:
    """``<space>-<device>-<budget>``."""
    return f"{result.space.name}-{result.device}-{result.latency_budget.budget}"


def _table(result: SearchResult, given: LatencyTable | None, workspace: Path) -> LatencyTable:
    searched_with = result.latency_budget.table_digest
    if given is None:
        return table_of_digest(workspace, result.device, result.space, searched_with)
    if searched_with not in given.digests:
        raise MismatchError(
            f"the network was searched with the latency table {searched_with[:12]}, given is {given.digest[:12]}. "
            "Give the one that it was searched with, or search again."
        )
    return given


def _own_device(
    given: DeviceSpec | None, table: LatencyTable, workspace: Path, progress: Progress
) -> DeviceSpec | None:
    """The device that the table was measured on, as it was; None where this machine does not know it."""
    identity, spec = table.conditions.identity, given or known_device(table.device, workspace)
    if spec is None:
        progress.note(f"device '{table.device}' is not known here: unless --format says more, only ONNX is written")
        return None
    asked = spec.with_threads(int(identity["threads"])).with_precision(identity["precision"])
    return asked.with_cadence(identity["cadence"])


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


def _model(network: Network, table: LatencyTable, info: SupernetInfo) -> OnnxModel:
    """In the version of ONNX that the table's runtime reads, and saying itself what it takes and gives."""
    from binas_deploy.supernet.network import folded_weights

    identity = table.conditions.identity
    return build_network(
        network.space,
        network.arch,
        folded_weights(network),
        batch=int(identity["batch"]),
        metadata=model_notes(network.space, network.arch, _preprocessing(info), info.data.classes),
        version=version_for(identity["runtime"], identity["runtime_version"]),
    )


def _write_vectors(network: Network, quantised: OnnxModel | None, folder: Path, seed: int) -> None:
    """Seeded inputs (n, c, r, r) with what they give (n, classes): to verify without torch.

    By torch, or by ONNX's own evaluator where the network was ``quantised``: what that changed is judged by accuracy,
    and whether a runtime computes what was exported is another question.
    """
    import torch

    inputs = np.random.default_rng(seed).standard_normal((VECTORS, *network.space.input_shape), dtype=np.float32)
    with torch.inference_mode():
        outputs = network(torch.from_numpy(inputs)).numpy()
    save_vectors(folder, inputs, outputs if quantised is None else _by_definition(quantised, inputs, outputs.shape[1]))


def _by_definition(model: OnnxModel, inputs: NDArray[np.float32], classes: int) -> NDArray[np.float32]:
    from onnx import load_model_from_string
    from onnx.reference import ReferenceEvaluator

    evaluator: Any = ReferenceEvaluator(load_model_from_string(model.payload))
    batch = model.input_shape[0]
    filled = np.resize(inputs, (-(-len(inputs) // batch) * batch, *inputs.shape[1:]))
    found = [evaluator.run(None, {INPUT_NAME: part})[0] for part in np.split(filled, len(filled) // batch)]
    return np.concatenate(found)[: len(inputs)].reshape(len(inputs), classes).astype(np.float32)


def _manifest(
    result: SearchResult,
    table: LatencyTable,
    info: SupernetInfo,
    model: OnnxModel,
    folder: Path,
    holdout: Estimate,
    formats: Mapping[str, Format],
) -> Manifest:
    told = [SENSITIVITY_NAME] if (folder / SENSITIVITY_NAME).is_file() else []
    names = [*(name for entry in formats.values() for name in entry.files), VECTORS_NAME, *told]
    return Manifest(
        name=bundle_name(result),
        created=timestamp(),
        versions={name: metadata.version(name) for name in _MADE_WITH},
        files={name: file_entry(folder / name) for name in names},
        formats=formats,
        space=result.space,
        architecture=result.architecture,
        input=Tensor(INPUT_NAME, model.input_shape),
        output=Tensor(OUTPUT_NAME, model.output_shape),
        preprocessing=_preprocessing(info),
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


def _preprocessing(info: SupernetInfo) -> Preprocessing:
    return Preprocessing(info.data.mean, info.data.std, info.space.resolution)


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
