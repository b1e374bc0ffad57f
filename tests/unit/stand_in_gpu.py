"""Stand-ins for `tensorrt` and `cuda.bindings.runtime` where there is no GPU: the calls as documented, on the CPU.

"Device" memory is the host's, a graph is a list of what was enqueued, an engine is its ONNX, run by ONNX's reference
evaluator. So the adapter's own logic can be tested: what it binds, copies, captures, times, keeps and frees. It says
nothing about TensorRT.
"""

from __future__ import annotations

import ctypes
import itertools
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from enum import IntEnum
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

VERSION = "10.13.0.35"


class Status(IntEnum):
    cudaErrorInvalidDevice = 101  # noqa: N815


class StandInCuda(ModuleType):
    """The functions that the adapter calls; each gives (status, ...). ``live``: what was made and not freed."""

    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)  # noqa: N815
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)  # noqa: N815

    def __init__(self) -> None:
        super().__init__("cuda.bindings.runtime")
        self.live: Counter[str] = Counter()
        self.memory: dict[int, Any] = {}
        self.events: dict[int, int] = {}
        self.here = threading.local()
        self.name, self.handles = b"NVIDIA Stand-in\0\0", itertools.count(1)
        for kind, names in {"malloc": ("cudaMalloc", "cudaMallocHost"), "free": ("cudaFree", "cudaFreeHost")}.items():
            for name in names:
                setattr(self, name, getattr(self, f"_{kind}"))

    def enqueue(self, work: Callable[[], object]) -> None:
        capturing: list[Callable[[], object]] | None = getattr(self.here, "capturing", None)
        if capturing is None:
            work()
        else:
            capturing.append(work)

    def cudaGetDeviceProperties(self, index: int) -> tuple[Any, ...]:  # noqa: N802
        if index:
            return Status.cudaErrorInvalidDevice, None
        return 0, SimpleNamespace(
            name=self.name, major=9, minor=0, multiProcessorCount=132, totalGlobalMem=2**37, integrated=0
        )

    def cudaDriverGetVersion(self) -> tuple[int, int]:  # noqa: N802
        return 0, 12080

    def cudaSetDevice(self, index: int) -> tuple[int]:  # noqa: N802
        return (0,)

    def _malloc(self, size: int) -> tuple[int, int]:
        memory = (ctypes.c_char * size)()
        self.memory[ctypes.addressof(memory)] = memory
        self.live["memory"] += 1
        return 0, ctypes.addressof(memory)

    def _free(self, address: int) -> tuple[int]:
        del self.memory[address]
        self.live["memory"] -= 1
        return (0,)

    def cudaMemcpyAsync(self, to: int, source: int, size: int, kind: int, stream: int) -> tuple[int]:  # noqa: N802
        self.enqueue(lambda: ctypes.memmove(to, source, size))
        return (0,)

    def _make(self, kind: str) -> tuple[int, int]:
        self.live[kind] += 1
        return 0, next(self.handles)

    def _drop(self, kind: str) -> tuple[int]:
        self.live[kind] -= 1
        return (0,)

    def cudaStreamCreate(self) -> tuple[int, int]:  # noqa: N802
        return self._make("stream")

    def cudaStreamDestroy(self, stream: int) -> tuple[int]:  # noqa: N802
        return self._drop("stream")

    def cudaStreamSynchronize(self, stream: int) -> tuple[int]:  # noqa: N802
        return (0,)

    def cudaEventCreate(self) -> tuple[int, int]:  # noqa: N802
        return self._make("event")

    def cudaEventDestroy(self, event: int) -> tuple[int]:  # noqa: N802
        return self._drop("event")

    def cudaEventRecord(self, event: int, stream: int) -> tuple[int]:  # noqa: N802
        self.events[event] = time.perf_counter_ns()
        return (0,)

    def cudaEventSynchronize(self, event: int) -> tuple[int]:  # noqa: N802
        return (0,)

    def cudaEventElapsedTime(self, start: int, end: int) -> tuple[int, float]:  # noqa: N802
        return 0, (self.events[end] - self.events[start]) / 1e6

    def cudaStreamBeginCapture(self, stream: int, mode: int) -> tuple[int]:  # noqa: N802
        self.here.capturing = []
        return (0,)

    def cudaStreamEndCapture(self, stream: int) -> tuple[int, Any]:  # noqa: N802
        graph, self.here.capturing = self.here.capturing, None
        self.live["graph"] += 1
        return 0, graph

    def cudaGraphInstantiate(self, graph: Any, flags: int) -> tuple[int, Any]:  # noqa: N802
        self.live["executable graph"] += 1
        return 0, graph

    def cudaGraphDestroy(self, graph: Any) -> tuple[int]:  # noqa: N802
        return self._drop("graph")

    def cudaGraphExecDestroy(self, graph: Any) -> tuple[int]:  # noqa: N802
        return self._drop("executable graph")

    def cudaGraphLaunch(self, graph: Any, stream: int) -> tuple[int]:  # noqa: N802
        for work in graph:
            work()
        return (0,)


class StandInTensorRt(ModuleType):
    """What the adapter uses of `tensorrt` 10: the same names. ``built``: how many engines, and with which flags."""

    ILogger = type("ILogger", (), {"Severity": SimpleNamespace(ERROR=1, INTERNAL_ERROR=0, WARNING=2)})
    IInt8EntropyCalibrator2 = type("IInt8EntropyCalibrator2", (), {})
    NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=1)
    BuilderFlag = SimpleNamespace(TF32="tf32", INT8="int8", FP16="fp16")
    MemoryPoolType = SimpleNamespace(WORKSPACE="workspace")
    TensorIOMode = SimpleNamespace(INPUT="in", OUTPUT="out")
    CudaGraphStrategy = SimpleNamespace(WHOLE_GRAPH_CAPTURE="whole")

    def __init__(self, name: str, cuda: StandInCuda, version: str = VERSION) -> None:
        super().__init__(name)
        self.__spec__ = ModuleSpec(name, None)
        self.__version__, self.cuda, self.log = version, cuda, None
        self.built: list[dict[str, Any]] = []
        self.calibration_batches = 0

    def nptype(self, dtype: Any) -> Any:
        return dtype

    def Builder(self, log: Any) -> Any:  # noqa: N802
        return SimpleNamespace(
            create_network=lambda flags: SimpleNamespace(flags=flags, payload=b"", get_input=self._input),
            create_builder_config=lambda: _Config(self),
            build_serialized_network=self._build,
        )

    def OnnxParser(self, network: Any, log: Any) -> Any:  # noqa: N802
        error = SimpleNamespace(node_operator=lambda: "Conv", desc=lambda: "no such thing")

        def parse(payload: bytes) -> bool:
            network.payload = payload
            model = onnx.load_model_from_string(payload)
            known = all(node.op_type != "Unheard" for node in model.graph.node)
            return bool(model.graph.output) and known and _valid(model)

        return SimpleNamespace(parse=parse, num_errors=1, get_error=lambda index: error)

    def _input(self, index: int) -> Any:
        return SimpleNamespace(shape=(2, 3, 16, 16))

    def _build(self, network: Any, config: Any) -> bytes:
        if calibrator := getattr(config, "int8_calibrator", None):
            while calibrator.read_calibration_cache() is None and calibrator.get_batch(["input"]):
                self.calibration_batches += 1
        self.built.append({"typed": bool(network.flags), "flags": set(config.flags), "level": config.level})
        config.timings += b"+"
        return bytes(network.payload)

    def Runtime(self, log: Any) -> Any:  # noqa: N802
        def deserialize(payload: bytes) -> Any:
            if payload == b"damaged":
                log.log(1, "magic tag does not match")
                return None
            return _Engine(onnx.load_model_from_string(payload), self.cuda)

        return SimpleNamespace(deserialize_cuda_engine=deserialize)


class _Config:
    def __init__(self, package: StandInTensorRt) -> None:
        self.flags, self.level, self.timings = {"tf32"}, 3, b""
        self.set_flag, self.clear_flag = self.flags.add, self.flags.discard

    builder_optimization_level = property(lambda self: self.level, lambda self, level: setattr(self, "level", level))

    def create_timing_cache(self, content: bytes) -> bytes:
        return content

    def set_timing_cache(self, cache: bytes, ignore_mismatch: bool) -> bool:
        self.timings = cache
        return cache != b"of another GPU"

    def get_timing_cache(self) -> Any:
        return SimpleNamespace(serialize=lambda: self.timings)


class _Engine:
    def __init__(self, model: Any, cuda: StandInCuda) -> None:
        self._ends = {value.name: value for value in (*model.graph.input, *model.graph.output)}
        self._inputs = {value.name for value in model.graph.input}
        self._evaluator, self._cuda = ReferenceEvaluator(model), cuda
        self.num_io_tensors = len(self._ends)
        self.get_tensor_name = list(self._ends).__getitem__

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(size.dim_value for size in self._ends[name].type.tensor_type.shape.dim)

    def get_tensor_dtype(self, name: str) -> Any:
        return np.float32

    def get_tensor_mode(self, name: str) -> str:
        return "in" if name in self._inputs else "out"

    def create_runtime_config(self) -> Any:
        kernels = SimpleNamespace(deserialize=lambda content: True, serialize=lambda: b"kernels")
        return SimpleNamespace(create_runtime_cache=lambda: kernels, set_runtime_cache=lambda cache: True)

    def create_execution_context(self, config: Any = None) -> Any:
        addresses: dict[str, int] = {}

        def array(name: str) -> Any:
            shape = self.get_tensor_shape(name)
            memory: Any = (ctypes.c_float * int(np.prod(shape))).from_address(addresses[name])
            return np.frombuffer(memory, np.float32).reshape(shape)

        def work() -> None:
            found = self._evaluator.run(None, {name: array(name).copy() for name in self._inputs})
            for name, value in zip(self._ends.keys() - self._inputs, found, strict=True):
                array(name)[...] = value

        def execute(stream: int) -> bool:
            self._cuda.enqueue(work)
            return True

        return SimpleNamespace(set_tensor_address=addresses.__setitem__, execute_async_v3=execute)


def stand_in(
    monkeypatch: pytest.MonkeyPatch, name: str = "tensorrt", version: str = VERSION
) -> tuple[StandInTensorRt, StandInCuda]:
    """Both, importable for one test."""
    cuda = StandInCuda()
    package, parent = StandInTensorRt(name, cuda, version), ModuleType("cuda.bindings")
    parent.__spec__ = ModuleSpec("cuda.bindings", None)
    for module in (package, parent, cuda):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return package, cuda


def _valid(model: onnx.ModelProto) -> bool:
    """As NVIDIA's parser, which says no to a node whose input nothing gives."""
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError:
        return False
    return True
