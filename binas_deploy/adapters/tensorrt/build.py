"""ONNX to a TensorRT engine.

How the three generations differ (NVIDIA, "Migrating from TensorRT 10.x to 11.x"; TensorRT for RTX, "Porting Guide" and
"Timing Cache Migration"), and what is done here:

============  =============================  =========================  ===============================
..            TensorRT 10                    TensorRT 11                TensorRT for RTX
types         weak or strong                 strong                     strong
fp16          all three: a strongly typed network, converted to float16 before (`half`)
int8          Q/DQ, or a calibration cache   Q/DQ in the network        Q/DQ in the network
timing cache  kept and used again            kept and used again        none; a runtime cache of kernels
============  =============================  =========================  ===============================

TF32 is off unless asked for: it rounds fp32 to 10 bits.
"""

from __future__ import annotations

import functools
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnx
from filelock import FileLock

from binas_deploy.adapters import cuda
from binas_deploy.adapters.base import Precision
from binas_deploy.adapters.tensorrt.recipe import RANDOM, RTX, Place, Recipe, calibrates
from binas_deploy.documents import write_atomic
from binas_deploy.errors import DeviceError, InputError
from binas_deploy.half import in_half, is_quantized

if TYPE_CHECKING:
    import tensorrt as trt

_KEPT_MESSAGES: Final = 5
_ONE_LOGGER: Final = threading.Lock()


class Messages:
    """What TensorRT had against something: the last errors it logged. It has one log for all it does."""

    def __init__(self) -> None:
        self._kept: deque[str] = deque(maxlen=_KEPT_MESSAGES)

    def add(self, text: str) -> None:
        """One more."""
        self._kept.append(" ".join(text.split()))

    def take(self) -> str:
        """All in one line, and forget them."""
        text = "; ".join(self._kept) or "it does not say why"
        self._kept.clear()
        return text


def logger(package: Any) -> tuple[Any, Messages]:
    """The log of this package: TensorRT takes the first logger of a process for all that follow."""
    with _ONE_LOGGER:
        return _logger(package)


@functools.lru_cache
def _logger(package: Any) -> tuple[Any, Messages]:
    messages = Messages()

    class Log(package.ILogger):  # type: ignore[misc]  # known when the package is
        def __init__(self) -> None:
            package.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            if severity in (package.ILogger.Severity.ERROR, package.ILogger.Severity.INTERNAL_ERROR):
                messages.add(msg)

    return Log(), messages


def prepared(payload: bytes, recipe: Recipe, place: Place) -> bytes:
    """The network as TensorRT takes it in that precision.

    Raises:
        InputError: it cannot be had in that precision; says what can be done.
        DeviceError: these bytes are no ONNX.
    """
    model = _parsed(payload)
    if recipe.precision is Precision.FP16:
        return bytes(in_half(model).SerializeToString(deterministic=True))
    if recipe.precision is Precision.INT8 and not is_quantized(model) and not calibrates(recipe, place):
        other = f", or give options.calibration a calibration cache or '{RANDOM}'" if place.calibrates else ""
        raise InputError(
            f"precision 'int8': the network has no QuantizeLinear, and nothing else tells {place.package} "
            f"{place.version} how to quantize it. Quantize it before (NVIDIA's ModelOpt and ONNX Runtime's "
            f"quantize_static write Q/DQ){other}."
        )
    return payload


def build(package: Any, payload: bytes, recipe: Recipe, place: Place, timing_cache: Path) -> bytes:
    """The engine of a prepared network; what was timed goes into ``timing_cache``, which all builds share.

    One at a time on this machine: builds time kernels, and would time one another.

    Raises:
        DeviceError: TensorRT refuses the network.
    """
    timing_cache.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(timing_cache.with_suffix(".lock")), ExitStack() as stack:
        log, messages = logger(package)
        messages.take()
        builder: trt.Builder = package.Builder(log)
        weak = calibrates(recipe, place) and not is_quantized(_parsed(payload))
        network = _network(package, builder, payload, typed=not weak)
        config = _config(package, builder, recipe, place, timing_cache)
        if weak:
            stack.enter_context(_calibrated(package, network, config, recipe))
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise DeviceError(f"TensorRT cannot build an engine: {messages.take()}.")
        if place.package != RTX:
            write_atomic(timing_cache, bytes(config.get_timing_cache().serialize()))
        return bytes(plan)


def sizes(dims: trt.Dims) -> tuple[int, ...]:
    """A shape as Python has it; -1 where it is open."""
    return tuple(int(dims[axis]) for axis in range(len(dims)))


def _parsed(payload: bytes) -> onnx.ModelProto:
    try:
        return onnx.load_model_from_string(payload)
    except Exception as error:  # protobuf's own, which has no types
        raise DeviceError(f"TensorRT: these bytes are no ONNX model: {error}") from error


def _network(package: Any, builder: trt.Builder, payload: bytes, *, typed: bool) -> trt.INetworkDefinition:
    # TensorRT 11 and RTX know strongly typed networks only, and may lack the flag.
    flag = getattr(package.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    network = builder.create_network(1 << int(flag) if typed and flag is not None else 0)
    parser: trt.OnnxParser = package.OnnxParser(network, logger(package)[0])
    if not parser.parse(payload):
        errors = [parser.get_error(index) for index in range(parser.num_errors)]
        said = "; ".join(f"{error.node_operator() or 'network'}: {error.desc()}" for error in errors)
        raise DeviceError(f"TensorRT cannot read the network: {said or logger(package)[1].take()}.")
    return network


def _config(package: Any, builder: trt.Builder, recipe: Recipe, place: Place, timing_cache: Path) -> trt.IBuilderConfig:
    config = builder.create_builder_config()
    if place.package != RTX:  # which optimises as it loads
        config.builder_optimization_level = recipe.optimization_level
    if not recipe.tf32 and hasattr(package.BuilderFlag, "TF32"):
        config.clear_flag(package.BuilderFlag.TF32)
    if recipe.workspace_mib:
        config.set_memory_pool_limit(package.MemoryPoolType.WORKSPACE, recipe.workspace_mib << 20)
    if place.package != RTX:
        known = timing_cache.read_bytes() if timing_cache.is_file() else b""
        # One of another version or GPU is not taken; then what is timed now starts a new one.
        if not config.set_timing_cache(config.create_timing_cache(known), ignore_mismatch=False):
            config.set_timing_cache(config.create_timing_cache(b""), ignore_mismatch=False)
    return config


@contextmanager
def _calibrated(
    package: Any, network: trt.INetworkDefinition, config: trt.IBuilderConfig, recipe: Recipe
) -> Iterator[None]:
    """Let TensorRT 10 choose int8, and fp16 for what it cannot quantize."""
    cache = None if recipe.calibration == RANDOM else Path(recipe.calibration).read_bytes()
    with cuda.buffer(sizes(network.get_input(0).shape), np.float32) as buffer:
        buffer.host[...] = np.random.default_rng(0).standard_normal(buffer.host.shape, dtype=np.float32)
        buffer.to_device(0)
        cuda.call("cudaStreamSynchronize", 0)
        batches = [] if cache else [[buffer.device]]

        class Calibrator(package.IInt8EntropyCalibrator2):  # type: ignore[misc]  # known when the package is
            def __init__(self) -> None:
                package.IInt8EntropyCalibrator2.__init__(self)

            def get_batch_size(self) -> int:
                return int(buffer.host.shape[0])

            def get_batch(self, names: list[str]) -> list[int] | None:
                return batches.pop() if batches else None

            def read_calibration_cache(self) -> bytes | None:
                return cache

            def write_calibration_cache(self, cache: bytes) -> None:
                """The engine cache keeps what comes of it."""

        for flag in (package.BuilderFlag.INT8, package.BuilderFlag.FP16):
            config.set_flag(flag)
        calibrator = Calibrator()  # the configuration does not keep it alive
        config.int8_calibrator = calibrator
        yield
