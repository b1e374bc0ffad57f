"""The CUDA runtime, as much of it as timing takes: memory, a stream, events and a graph, by NVIDIA's cuda-bindings.

Every call is checked. What is made is given as a context that frees it, so that nothing outlives an executable. The
package is imported when the first call is made.
"""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from binas_deploy.errors import DeviceError, MissingExtraError
from binas_deploy.kernel_files import text_of

PACKAGE: Final = "cuda.bindings.runtime"
EXTRA: Final = "cuda"
_DRIVER: Final = Path("/proc/driver/nvidia/version")
_WHAT_TO_DO: Final = {
    "cudaErrorInsufficientDriver": "there is no NVIDIA driver here, or one older than the CUDA runtime: see nvidia-smi",
    "cudaErrorNoDevice": "there is no NVIDIA GPU here, or CUDA_VISIBLE_DEVICES hides it",
    "cudaErrorInvalidDevice": "there are fewer GPUs: see nvidia-smi -L, and 'gpu' in the device's file",
    "cudaErrorMemoryAllocation": "the GPU's memory is full: close what else uses it, or lower 'batch' or 'networks'",
}


def runtime() -> Any:
    """The package.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return importlib.import_module(PACKAGE)
    except ImportError as error:
        raise MissingExtraError("cuda-bindings", EXTRA, "Running networks on an NVIDIA GPU") from error


def call(function: str, *arguments: object) -> Any:
    """What a function of the CUDA runtime gives beside its status: nothing, one thing or a tuple.

    Raises:
        DeviceError: CUDA reports an error; the message has its name and what to do where that is known.
        MissingExtraError: as `runtime`.
    """
    status, *found = getattr(runtime(), function)(*arguments)
    require(status, function)
    return found[0] if len(found) == 1 else tuple(found)


def require(status: Any, function: str) -> None:
    """Raises DeviceError unless ``status`` is success, which is 0."""
    if not int(status):
        return
    name = getattr(status, "name", str(status))
    advice = _WHAT_TO_DO.get(name)
    raise DeviceError(f"CUDA: {function} failed with {name}{f': {advice}' if advice else ''}.")


@dataclass(frozen=True)
class Gpu:
    """What a latency depends on: which chip, how much of it is there. ``driver`` may merely matter."""

    name: str
    capability: str
    multiprocessors: int
    memory_mib: int
    integrated: bool
    cuda: str
    driver: str

    @property
    def model(self) -> str:
        """Such as 'NVIDIA H200 (compute capability 9.0, 132 multiprocessors)'."""
        return f"{self.name} (compute capability {self.capability}, {self.multiprocessors} multiprocessors)"


def gpu(index: int) -> Gpu:
    """The GPU of that number among those CUDA shows. Raises DeviceError where there is none."""
    found = call("cudaGetDeviceProperties", index)
    name = found.name.decode(errors="replace") if isinstance(found.name, bytes) else str(found.name)
    return Gpu(
        name=name.rstrip("\0").strip(),
        capability=f"{found.major}.{found.minor}",
        multiprocessors=int(found.multiProcessorCount),
        memory_mib=int(found.totalGlobalMem) >> 20,
        integrated=bool(found.integrated),
        cuda=_cuda_version(call("cudaDriverGetVersion")),
        driver=text_of(_DRIVER).partition("\n")[0],
    )


def use(index: int) -> None:
    """Make that GPU the current one of this thread, as CUDA asks of every thread."""
    call("cudaSetDevice", index)


@contextmanager
def owned(make: str, free: str, *arguments: object) -> Iterator[Any]:
    """What the function ``make`` gives, freed by ``free`` in the end."""
    handle = call(make, *arguments)
    try:
        yield handle
    finally:
        call(free, handle)


@dataclass(frozen=True)
class Buffer:
    """One tensor: its place on the GPU, and as much pinned host memory as the array ``host`` shows."""

    device: int
    pinned: int
    host: NDArray[Any]

    def to_device(self, stream: Any) -> None:
        """Enqueue the copy of ``host`` to the GPU."""
        kind = runtime().cudaMemcpyKind.cudaMemcpyHostToDevice
        call("cudaMemcpyAsync", self.device, self.pinned, self.host.nbytes, kind, stream)

    def to_host(self, stream: Any) -> None:
        """Enqueue the copy from the GPU to ``host``."""
        kind = runtime().cudaMemcpyKind.cudaMemcpyDeviceToHost
        call("cudaMemcpyAsync", self.pinned, self.device, self.host.nbytes, kind, stream)


@contextmanager
def buffer(shape: tuple[int, ...], dtype: Any) -> Iterator[Buffer]:
    """Room for a tensor of this shape and type."""
    size = max(1, int(np.prod(shape)) * np.dtype(dtype).itemsize)
    with owned("cudaMalloc", "cudaFree", size) as device, owned("cudaMallocHost", "cudaFreeHost", size) as pinned:
        memory = (ctypes.c_char * size).from_address(int(pinned))
        yield Buffer(int(device), int(pinned), np.frombuffer(memory, dtype=dtype).reshape(shape))


@contextmanager
def captured(stream: Any, enqueue: Callable[[], object]) -> Iterator[Any]:
    """What ``enqueue`` puts into ``stream``, as a graph that `cudaGraphLaunch` replays.

    Only this thread's calls are watched while it is captured: others may be allocating memory meanwhile.
    """
    call("cudaStreamBeginCapture", stream, runtime().cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal)
    try:
        enqueue()
    finally:
        graph = call("cudaStreamEndCapture", stream)
    try:
        executable = call("cudaGraphInstantiate", graph, 0)
    finally:
        call("cudaGraphDestroy", graph)
    try:
        yield executable
    finally:
        call("cudaGraphExecDestroy", executable)


def _cuda_version(number: int) -> str:
    """12060 is '12.6'."""
    return f"{number // 1000}.{number % 1000 // 10}"
