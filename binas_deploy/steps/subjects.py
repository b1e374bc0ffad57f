"""What profiling times: pieces and whole networks as ONNX, with weights and inputs that their keys determine.

Weights do not change how fast a network is, as long as its activations stay in range. So pieces and anchors get
random ones, drawn from a seed that is a hash of the key: any later run measures the same bytes again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import numpy as np

from binas_deploy.adapters.base import Device, Executable, Precision, Program, RunsElsewhere
from binas_deploy.adapters.host import usable_cpus
from binas_deploy.block import Piece
from binas_deploy.cache import cache_folder
from binas_deploy.graph import build_network, build_piece, network_weight_shapes, random_weights, weight_shapes
from binas_deploy.measure import Subject
from binas_deploy.model import INPUT_NAME, OnnxModel
from binas_deploy.progress import SILENT, Progress
from binas_deploy.quality import Machine, ThisMachine
from binas_deploy.space import Architecture, SearchSpace
from binas_deploy.table import LatencyTable

_KEY_DIGITS: Final = 12
_MEMORY_PER_BYTE: Final = 4
"""A loaded model takes its weights, as read and as packed for the kernels, and room for activations."""
_SHARE_OF_MEMORY: Final = 0.5


def network_key(space: SearchSpace, arch: Architecture) -> str:
    """Text that names one network of one space, such as ``network-3f2a...``."""
    text = f"{space.fingerprint} {json.dumps(arch.to_json(), sort_keys=True)}"
    return f"network-{hashlib.sha256(text.encode()).hexdigest()[:_KEY_DIGITS]}"


def piece_model(piece: Piece, batch: int) -> OnnxModel:
    """The piece with the random weights of its key."""
    return build_piece(piece, random_weights(weight_shapes(piece), _rng(piece.key)), batch=batch)


def network_model(space: SearchSpace, arch: Architecture, batch: int) -> OnnxModel:
    """The network with the random weights of its key."""
    weights = random_weights(network_weight_shapes(space, arch), _rng(network_key(space, arch)))
    return build_network(space, arch, weights, batch=batch)


def anchor_models(table: LatencyTable) -> dict[str, OnnxModel]:
    """The anchors of a table by key, byte for byte as they were measured, to measure them again."""
    batch = int(table.conditions.identity["batch"])
    networks = (anchor.arch for anchor in table.anchors)
    return {network_key(table.space, arch): network_model(table.space, arch, batch) for arch in networks}


@contextlib.contextmanager
def open_subjects(
    device: Device,
    models: Mapping[str, OnnxModel],
    *,
    precision: Precision = Precision.FP32,
    progress: Progress = SILENT,
) -> Iterator[list[Subject]]:
    """Each model compiled, as a subject to measure. All stay loaded until the end where memory allows it.

    Raises:
        DeviceError: the device cannot take one of them.
    """
    machine = device.machine() if isinstance(device, RunsElsewhere) else None
    with contextlib.ExitStack() as stack:
        keep = stack if _fit_in_memory(models, machine or ThisMachine()) else None

        def subject(key: str) -> Subject:
            program = device.compile(models[key], precision=precision, cache=_cache())
            return Subject(key, _opener(device, program, keep), _feed(key, models[key]), machine)

        # Runtimes optimise a network on one thread: half a second each by OpenVINO, for some hundred of them.
        with ThreadPoolExecutor(usable_cpus()) as pool, progress.task("compiling", len(models)) as advance:
            subjects = []
            for opened in pool.map(subject, models):
                subjects.append(opened)
                advance(1)
        yield subjects


@contextlib.contextmanager
def anchor_subjects(table: LatencyTable, device: Device) -> Iterator[list[Subject]]:
    """The anchors of a table, ready to be measured again on ``device``."""
    precision = Precision(table.conditions.identity["precision"])
    with open_subjects(device, anchor_models(table), precision=precision) as subjects:
        yield subjects


def _opener(
    device: Device, program: Program, stack: contextlib.ExitStack | None
) -> Callable[[], contextlib.AbstractContextManager[Executable]]:
    if stack is None:
        return lambda: device.load(program)
    executable = stack.enter_context(device.load(program))
    return lambda: contextlib.nullcontext(executable)


def _feed(key: str, model: OnnxModel) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    return {INPUT_NAME: _rng(f"input of {key}").standard_normal(model.input_shape, dtype=np.float32)}


def _rng(text: str) -> np.random.Generator:
    return np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big"))


def _fit_in_memory(models: Mapping[str, OnnxModel], machine: Machine) -> bool:
    needed = _MEMORY_PER_BYTE * sum(len(model.payload) for model in models.values())
    return needed < _SHARE_OF_MEMORY * machine.available_memory()


def _cache() -> Path:
    return cache_folder() / "compiled"
