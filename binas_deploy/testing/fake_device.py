"""A device without hardware: outputs by ONNX's reference evaluator, latencies by a simple formula with seeded noise.

Its facts say that it is simulated, so whatever is made of it is marked. It is in no list of devices; a test adds it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray

from binas_deploy.adapters.base import DeviceFacts, Feed, Precision, Program
from binas_deploy.errors import DeviceError, InputError
from binas_deploy.model import OnnxModel

if TYPE_CHECKING:
    from onnx.reference import ReferenceEvaluator

CALL_NS: Final = 4_000.0
NODE_NS: Final = 600.0
NS_PER_MAC: Final = 0.05
NS_PER_BYTE: Final = 0.02
_BYTES: Final = 4
_BITS_OF_SEED: Final = 8


@dataclass(frozen=True)
class Work:
    """What a model does in one call."""

    nodes: int
    macs: int
    moved_bytes: int

    @property
    def latency_ns(self) -> float:
        """Simulated: a call, each node, each multiply-accumulate and each byte has its price."""
        return CALL_NS + NODE_NS * self.nodes + NS_PER_MAC * self.macs + NS_PER_BYTE * self.moved_bytes


class FakeDevice:
    """Latencies are lognormal around `Work.latency_ns` with standard deviation ``noise``, the same for a ``seed``."""

    def __init__(self, threads: int = 1, *, noise: float = 0.01, seed: int = 0) -> None:
        self._threads = threads
        self._noise = noise
        self._seed = seed
        self._link = _Link()

    def unplug(self) -> None:
        """From now on this device is lost: whatever needs it is refused."""
        self._link.lost = True

    def facts(self) -> DeviceFacts:
        """Facts of no machine."""
        identity = {
            "device_model": "simulated",
            "runtime": "simulated",
            "runtime_version": "1",
            "provider": "simulated",
            "provider_options": f"noise={self._noise:g};seed={self._seed}",
            "threads": str(self._threads),
            "affinity": "all",
        }
        return DeviceFacts(identity, {}, simulated=True)

    def compile(self, model: OnnxModel, *, precision: Precision, cache: Path) -> Program:
        """The model as it is.

        Raises:
            InputError: a precision other than fp32.
        """
        if precision is not Precision.FP32:
            raise InputError(f"precision '{precision.value}': the simulated device runs fp32 only.")
        return Program(model.sha256, model.payload)

    @contextmanager
    def load(self, program: Program) -> Iterator[FakeExecutable]:
        """Ready to run.

        Raises:
            DeviceError: the bytes are no ONNX model, or the device is lost.
        """
        self._link.require()
        work = count_work(program.payload)
        entropy = [self._seed, int(program.model_sha256[:_BITS_OF_SEED], 16)]
        yield FakeExecutable(self._link, program.payload, work, self._noise, np.random.default_rng(entropy))


@dataclass
class _Link:
    """Whether the device is still there; its programs share it."""

    lost: bool = False

    def require(self) -> None:
        if self.lost:
            raise DeviceError("the simulated device is lost: it was unplugged. Make another.")


class FakeExecutable:
    """One loaded model."""

    def __init__(self, link: _Link, payload: bytes, work: Work, noise: float, rng: np.random.Generator) -> None:
        self._link = link
        self._payload = payload
        self._work = work
        self._noise = noise
        self._rng = rng
        self._evaluator: ReferenceEvaluator | None = None

    def run(self, feed: Feed) -> dict[str, NDArray[np.float32]]:
        """Outputs by name, by ONNX's reference evaluator (slow).

        Raises:
            DeviceError: the device is lost, or the evaluator refuses the model.
        """
        self._link.require()
        try:
            evaluator = self._opened()
            return dict(zip(evaluator.output_names, evaluator.run(None, dict(feed)), strict=True))
        except Exception as error:
            raise DeviceError(f"the simulated device cannot run this model: {error!r}") from error

    def sample(self, feed: Feed, *, count: int) -> NDArray[np.int64]:
        """Simulated latencies in ns, shape (count,). Raises DeviceError when the device is lost."""
        self._link.require()
        factors = np.exp(self._noise * self._rng.standard_normal(count))
        return np.rint(self._work.latency_ns * factors).astype(np.int64)

    def _opened(self) -> ReferenceEvaluator:
        if self._evaluator is None:
            from onnx.reference import ReferenceEvaluator  # here: only running needs it, timing does not

            self._evaluator = ReferenceEvaluator(onnx.load_model_from_string(self._payload))
        return self._evaluator


def count_work(payload: bytes) -> Work:
    """Nodes, multiply-accumulates and bytes of tensors written and weights read in one call of a model.

    Raises:
        DeviceError: not an ONNX model with known shapes.
    """
    try:
        read = onnx.load_model_from_string(payload)
        onnx.checker.check_model(read)  # no bytes at all are a model too, without a graph
        model = onnx.shape_inference.infer_shapes(read, strict_mode=True)
    except Exception as error:
        raise DeviceError(f"not a model that can be simulated: {error}") from error
    graph = model.graph
    shapes = {value.name: _shape(value) for value in [*graph.input, *graph.value_info, *graph.output]}
    weights = {array.name: tuple(array.dims) for array in graph.initializer}
    macs = sum(_macs(node, shapes, weights) for node in graph.node)
    moved = sum(math.prod(shape) for shape in [*shapes.values(), *weights.values()])
    return Work(len(graph.node), macs, _BYTES * moved)


def _macs(node: onnx.NodeProto, shapes: dict[str, tuple[int, ...]], weights: dict[str, tuple[int, ...]]) -> int:
    """Every output of a convolution or linear layer takes one multiplication for each weight of its channel."""
    if node.op_type not in ("Conv", "Gemm"):
        return 0
    return math.prod(shapes[node.output[0]]) * math.prod(weights[node.input[1]][1:])


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(int(dimension.dim_value) for dimension in value.type.tensor_type.shape.dim)
