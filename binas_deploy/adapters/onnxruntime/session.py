"""A loaded model: its inputs and outputs bound beforehand, in the memory of what computes.

On a CPU that is the feed itself. On an NVIDIA GPU they are buffers on the device, made once and filled anew for another
feed: their addresses stay, as a captured CUDA graph needs it, and no call copies anything between host and device.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from binas_deploy.adapters.base import Feed
from binas_deploy.adapters.onnxruntime.runtime import RUNTIME


@dataclass(frozen=True)
class Memory:
    """Of accelerator ``kind`` number ``index``; ``info`` is how a plug-in describes its own (None: it is built in)."""

    kind: str
    index: int
    info: Any = None

    def buffer(self, package: Any, array: NDArray[np.float32]) -> Any:
        """A buffer there, filled with ``array``."""
        if self.info is None:
            return package.OrtValue.ortvalue_from_numpy(array, self.kind, self.index)
        made = package.OrtValue.ortvalue_from_shape_and_type(array.shape, np.float32, memory_info=self.info)
        self.fill(package, made, array)
        return made

    def fill(self, package: Any, buffer: Any, array: NDArray[np.float32]) -> None:
        """Copy ``array`` into a buffer of its shape."""
        if self.info is None:
            buffer.update_inplace(array)
        else:
            package.copy_tensors([package.OrtValue.ortvalue_from_numpy(array)], [buffer])


class HostSession:
    """A loaded model whose inputs and outputs lie in the host's memory.

    The feed last used stays bound, so repeated samples of it allocate nothing.
    """

    def __init__(self, package: Any, session: Any) -> None:
        self._package = package
        self._session = session
        self._bound: tuple[Feed, Any] | None = None
        self._rooms: list[Any] = []

    def close(self) -> None:
        """Let go of the runtime's objects, also where a caller keeps this one."""
        self._session = self._bound = None
        self._rooms = []

    def run(self, feed: Feed) -> dict[str, NDArray[np.float32]]:
        """Outputs by name."""
        with RUNTIME.running():
            names = [output.name for output in self._session.get_outputs()]
            return dict(zip(names, self._session.run(names, dict(feed)), strict=True))

    def sample(self, feed: Feed, *, count: int) -> NDArray[np.int64]:
        """Latency of each of ``count`` back-to-back calls in ns, shape (count,)."""
        with RUNTIME.running():
            binding, call, clock = self._binding(feed), self._session.run_with_iobinding, time.perf_counter_ns
            taken = []
            for _ in range(count):
                start = clock()
                call(binding)
                taken.append(clock() - start)
        return np.array(taken, dtype=np.int64)

    def _binding(self, feed: Feed) -> Any:
        if self._bound is None or self._bound[0] is not feed:
            self._bound = (feed, self._bind(feed))
        return self._bound[1]

    def _bind(self, feed: Feed) -> Any:
        binding = self._session.io_binding()
        for name, array in feed.items():
            binding.bind_cpu_input(name, array)
        # A binding does not keep what it writes to: without these lists ONNX Runtime 1.23 wrote to freed memory.
        arrays = [np.zeros(output.shape, np.float32) for output in self._session.get_outputs()]
        values = [self._package.OrtValue.ortvalue_from_numpy(array) for array in arrays]
        for output, value in zip(self._session.get_outputs(), values, strict=True):
            binding.bind_ortvalue_output(output.name, value)
        self._rooms = [*arrays, *values]
        return binding


class DeviceSession:
    """A loaded model whose inputs and outputs lie in an accelerator's ``memory``."""

    def __init__(self, package: Any, session: Any, memory: Memory) -> None:
        self._package = package
        self._session = session
        self._memory = memory
        self._binding: Any = None
        self._inputs: dict[str, Any] = {}
        self._outputs: dict[str, Any] = {}
        self._filled: Feed | None = None

    def close(self) -> None:
        """Let go of the runtime's objects and of the device's memory."""
        self._binding = self._filled = None
        self._inputs, self._outputs = {}, {}
        self._session = None

    def run(self, feed: Feed) -> dict[str, NDArray[np.float32]]:
        """Outputs by name, copied to the host."""
        with RUNTIME.running():
            self._fill(feed)
            self._session.run_with_iobinding(self._binding)
            self._binding.synchronize_outputs()
            return {name: np.array(value.numpy()) for name, value in self._outputs.items()}

    def sample(self, feed: Feed, *, count: int) -> NDArray[np.int64]:
        """Latency of each of ``count`` back-to-back calls in ns, shape (count,); each waits for the device."""
        with RUNTIME.running():
            self._fill(feed)
            binding, call, clock = self._binding, self._session.run_with_iobinding, time.perf_counter_ns
            taken = []
            for _ in range(count):
                start = clock()
                call(binding)
                binding.synchronize_outputs()
                taken.append(clock() - start)
        return np.array(taken, dtype=np.int64)

    def _fill(self, feed: Feed) -> None:
        if self._filled is feed:
            return
        if self._binding is None:
            self._bind(feed)
        for name, array in feed.items():
            self._memory.fill(self._package, self._inputs[name], np.ascontiguousarray(array))
        self._binding.synchronize_inputs()
        self._filled = feed

    def _bind(self, feed: Feed) -> None:
        binding = self._session.io_binding()
        for name, array in feed.items():
            self._inputs[name] = self._memory.buffer(self._package, np.ascontiguousarray(array))
            binding.bind_ortvalue_input(name, self._inputs[name])
        for output in self._session.get_outputs():
            room = self._memory.buffer(self._package, np.zeros(output.shape, np.float32))
            self._outputs[output.name] = room
            binding.bind_ortvalue_output(output.name, room)
        self._binding = binding
