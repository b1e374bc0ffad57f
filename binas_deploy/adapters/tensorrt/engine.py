"""A loaded TensorRT engine: its buffers on the GPU, its graph, and the events that time it.

A latency is the time between two CUDA events around one inference whose input and output stay on the GPU: launching it
(a CUDA graph is replayed, some microseconds) and all that the GPU computes. With ``copies`` it is that of the input's
copy from pinned host memory and the output's copy back besides. The CPU waits for each call before it makes the next.
Not in it: Python, filling the pinned memory, and the CPU's waking up after the wait. Events count in steps of about
0.5 us (CUDA Runtime API, cudaEventElapsedTime).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from binas_deploy.adapters import cuda
from binas_deploy.adapters.base import Feed
from binas_deploy.adapters.tensorrt.build import sizes
from binas_deploy.errors import DeviceError, InputError

if TYPE_CHECKING:
    import tensorrt as trt

_WARMUP_CALLS: Final = 3
"""The first calls of an engine allocate and, with TensorRT for RTX, compile kernels; a capture may do neither."""


@dataclass(frozen=True)
class Play:
    """How an engine is called: on which GPU, as a captured graph or not, with copies or on data that is there."""

    gpu: int
    graph: bool
    copies: bool


class EngineExecutable:
    """An open engine. The feed last used stays in the GPU's memory, so repeated samples of it copy nothing."""

    def __init__(
        self,
        play: Play,
        stream: Any,
        inputs: Mapping[str, cuda.Buffer],
        outputs: Mapping[str, cuda.Buffer],
        launch: Callable[[], Any],
        events: tuple[Any, Any],
        watch: Callable[[], Callable[[], None]],
    ) -> None:
        self._play, self._stream = play, stream
        self._inputs, self._outputs = inputs, outputs
        self._launch, self._events, self._watch = launch, events, watch
        self._bound: Feed | None = None
        self._open = True

    def close(self) -> None:
        """Refuse further calls: the memory is about to be freed."""
        self._open, self._bound = False, None

    def run(self, feed: Feed) -> dict[str, NDArray[np.float32]]:
        """Outputs by name."""
        self._bind(feed)
        cuda.require(self._launch(), "launch")
        for output in self._outputs.values():
            output.to_host(self._stream)
        cuda.call("cudaStreamSynchronize", self._stream)
        return {name: output.host.copy() for name, output in self._outputs.items()}

    def sample(self, feed: Feed, *, count: int) -> NDArray[np.int64]:
        """Latency of each of ``count`` back-to-back calls in ns, shape (count,); see the module for what is in it.

        Raises:
            DeviceError: CUDA fails, or the board throttled meanwhile.
        """
        self._bind(feed)
        package, (start, end) = cuda.runtime(), self._events
        record, wait, elapsed = package.cudaEventRecord, package.cudaEventSynchronize, package.cudaEventElapsedTime
        launch, stream, taken = self._launch, self._stream, []
        require_unthrottled = self._watch()
        for _ in range(count):
            record(start, stream)
            status = launch()
            record(end, stream)
            # A fault of any call before shows here too: CUDA's errors stay.
            cuda.require(status, "launch")
            cuda.require(wait(end)[0], "cudaEventSynchronize")
            taken.append(elapsed(start, end)[1])
        require_unthrottled()
        return np.maximum(1, np.rint(np.array(taken) * 1e6)).astype(np.int64)

    def _bind(self, feed: Feed) -> None:
        if not self._open:
            raise DeviceError("this engine is closed.")
        cuda.use(self._play.gpu)
        if self._bound is feed:
            return
        for name, buffer in self._inputs.items():
            if name not in feed or feed[name].shape != buffer.host.shape:
                found = feed[name].shape if name in feed else "nothing"
                raise InputError(f"input '{name}' takes shape {buffer.host.shape}, found {found}.")
            buffer.host[...] = feed[name]
            buffer.to_device(self._stream)
        cuda.call("cudaStreamSynchronize", self._stream)
        self._bound = feed


@contextmanager
def opened(
    package: Any,
    engine: trt.ICudaEngine,
    context: trt.IExecutionContext,
    play: Play,
    watch: Callable[[], Callable[[], None]],
) -> Iterator[EngineExecutable]:
    """The engine ready to be called in ``context``; leaving frees all that was made for it.

    ``watch`` is called before samples are taken, and what it gives afterwards, to refuse them.
    """
    with ExitStack() as stack:
        stream = stack.enter_context(cuda.owned("cudaStreamCreate", "cudaStreamDestroy"))
        inputs, outputs = _buffers(package, engine, context, stack)
        stack.callback(cuda.call, "cudaStreamSynchronize", stream)
        enqueue = _enqueue(context, stream, inputs, outputs, copies=play.copies)
        for _ in range(_WARMUP_CALLS):
            enqueue()
        cuda.call("cudaStreamSynchronize", stream)
        launch: Callable[[], Any] = enqueue
        if play.graph:
            replay, graph = cuda.runtime().cudaGraphLaunch, stack.enter_context(cuda.captured(stream, enqueue))

            def launch() -> Any:
                return replay(graph, stream)[0]

        start, end = (stack.enter_context(cuda.owned("cudaEventCreate", "cudaEventDestroy")) for _ in range(2))
        executable = EngineExecutable(play, stream, inputs, outputs, launch, (start, end), watch)
        stack.callback(executable.close)
        yield executable


def _buffers(
    package: Any, engine: trt.ICudaEngine, context: trt.IExecutionContext, stack: ExitStack
) -> tuple[dict[str, cuda.Buffer], dict[str, cuda.Buffer]]:
    """(inputs, outputs) by name, each bound to the context."""
    found: tuple[dict[str, cuda.Buffer], dict[str, cuda.Buffer]] = {}, {}
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        shape = sizes(engine.get_tensor_shape(name))
        if min(shape, default=0) < 0:
            raise InputError(f"tensor '{name}' has the open shape {shape}; give a network of fixed shapes.")
        buffer = stack.enter_context(cuda.buffer(shape, package.nptype(engine.get_tensor_dtype(name))))
        context.set_tensor_address(name, buffer.device)
        found[engine.get_tensor_mode(name) != package.TensorIOMode.INPUT][name] = buffer
    return found


def _enqueue(
    context: trt.IExecutionContext,
    stream: Any,
    inputs: Mapping[str, cuda.Buffer],
    outputs: Mapping[str, cuda.Buffer],
    *,
    copies: bool,
) -> Callable[[], int]:
    """A function that enqueues one inference and gives 0."""
    handle = int(stream)
    before = list(inputs.values()) if copies else []
    after = list(outputs.values()) if copies else []

    def enqueue() -> int:
        for buffer in before:
            buffer.to_device(stream)
        if not context.execute_async_v3(handle):
            raise DeviceError("TensorRT refuses to run the engine (execute_async_v3).")
        for buffer in after:
            buffer.to_host(stream)
        return 0

    return enqueue
