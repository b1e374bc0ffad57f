"""Networks run by ONNX Runtime on this machine's CPU, to find ranges and to judge what quantising does to outputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper

from binas_deploy.adapters.host import usable_cpus
from binas_deploy.adapters.runtime import Runtime
from binas_deploy.model import INPUT_NAME, OUTPUT_NAME
from binas_deploy.quantised import with_any_batch
from binas_deploy.quantisers.base import Images

RUNTIME: Final = Runtime(
    name="ONNX Runtime",
    package="onnxruntime",
    distributions=("onnxruntime",),
    extra="cpu",
    purpose="Quantising networks",
)
Floats = NDArray[np.float32]
_RANGE_BATCH: Final = (16, 2**20)
"""Images at once, and values of theirs, where every activation is looked at; at most either."""
_BATCH: Final = (100, 2**22)
_ONLY_ERRORS: Final = 3
_CPU: Final = ("CPUExecutionProvider",)


def logits(model: ModelProto, images: Images) -> Floats:
    """Outputs (n, classes) for ``images`` (n, c, r, r), whatever the network's batch is.

    Raises:
        MissingExtraError: ONNX Runtime is not installed.
        DeviceError: it refuses the network, or fails.
    """
    package = RUNTIME.imported()
    with RUNTIME.translated("cannot run a quantised network"):
        session = _session(package, with_any_batch(model), threads=usable_cpus(), optimised=True)
        parts = [session.run([OUTPUT_NAME], {INPUT_NAME: part})[0] for part in _parts(images, _BATCH)]
    return np.concatenate(parts)


def activation_ranges(model: ModelProto, images: Images) -> dict[str, tuple[np.float32, np.float32]]:
    """(low, high) of every activation by name: means over the images of each one's least and greatest value.

    Means, since a single outlier among the images would make the steps of all values coarser. One thread computes
    them, so that they are the same on any number of cores.

    Raises:
        MissingExtraError: ONNX Runtime is not installed.
        DeviceError: it refuses the network, or fails.
    """
    package, names = RUNTIME.imported(), [name for node in model.graph.node for name in node.output]
    with RUNTIME.translated("cannot run a network to find its ranges"):
        session = _session(package, _telling(with_any_batch(model), names), threads=1, optimised=False)
        found = [_extremes(session.run(names, {INPUT_NAME: part}), part) for part in _parts(images, _RANGE_BATCH)]
    means = np.concatenate(found, axis=1).mean(axis=1, dtype=np.float64).astype(np.float32)
    return {name: (low, high) for name, (low, high) in zip((*names, INPUT_NAME), means, strict=True)}


def _extremes(values: Sequence[Floats], images: Images) -> NDArray[np.float32]:
    """(values, n, 2): the least and the greatest of each value for each of n images."""
    flat = [np.asarray(value).reshape(len(images), -1) for value in (*values, images)]
    return np.stack([np.stack([value.min(axis=1), value.max(axis=1)], axis=1) for value in flat])


def _telling(model: ModelProto, names: Sequence[str]) -> ModelProto:
    """``model`` with all of its values as outputs."""
    have = {value.name for value in model.graph.output}
    more = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names if name not in have]
    model.graph.output.extend(more)
    return model


def _session(package: Any, model: ModelProto, *, threads: int, optimised: bool) -> Any:
    options, levels = package.SessionOptions(), package.GraphOptimizationLevel
    options.intra_op_num_threads = threads
    options.log_severity_level = _ONLY_ERRORS
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimised else levels.ORT_DISABLE_ALL
    return package.InferenceSession(model.SerializeToString(), options, providers=list(_CPU))


def _parts(images: Images, most: tuple[int, int]) -> Iterator[Images]:
    size = max(1, min(most[0], most[1] // images[0].size))
    for start in range(0, len(images), size):
        yield np.ascontiguousarray(images[start : start + size])
