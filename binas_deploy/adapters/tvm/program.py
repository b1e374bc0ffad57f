"""A compiled network on the machine that runs it: called, and timed where it runs."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from binas_deploy.adapters.base import Feed
from binas_deploy.adapters.runtime import Runtime
from binas_deploy.model import OUTPUT_NAME

RUNTIME: Final = Runtime(
    name="TVM",
    package="tvm",
    distributions=("apache-tvm",),
    extra="tvm",
    purpose="Running networks by TVM",
)
_MAIN: Final = "main"
_ALL_CORES: Final = 1
"""TVM's mode of a thread pool that is not confined to small cores."""


class LoadedProgram:
    """A virtual machine with its program. The feed last used stays set, so repeated samples of it copy nothing.

    TVM's thread pool belongs to the calling thread, so it is set before each use.
    """

    def __init__(self, tvm: Any, machine: Any, module: Any, kind: int, threads: int) -> None:
        self._tvm, self._device, self._threads = tvm, machine.device(kind), threads
        self._configure = machine.function("runtime.config_threadpool")
        self._machine = tvm.relax.VirtualMachine(module, self._device)
        self._input = str(self._machine.module["get_function_param_name"](_MAIN, 0))
        self._set: Feed | None = None

    def close(self) -> None:
        """Let go of the runtime's objects, also where a caller keeps this one."""
        self._machine = self._set = self._configure = None

    def run(self, feed: Feed) -> dict[str, NDArray[np.float32]]:
        """Outputs by name."""
        with RUNTIME.running():
            self._prepare(feed)
            self._machine.invoke_stateful(_MAIN)
            return {OUTPUT_NAME: np.array(self._machine.get_outputs(_MAIN).numpy())}

    def sample(self, feed: Feed, *, count: int) -> NDArray[np.int64]:
        """Latency of each of ``count`` back-to-back calls in ns, shape (count,), after one untimed call."""
        with RUNTIME.running():
            self._prepare(feed)
            timer = self._machine.time_evaluator("invoke_stateful", self._device, number=1, repeat=count)
            seconds = timer(_MAIN).results
        return np.maximum(np.rint(np.array(seconds) * 1e9), 1).astype(np.int64)

    def _prepare(self, feed: Feed) -> None:
        if self._configure is not None:
            self._configure(_ALL_CORES, self._threads)
        if self._set is not feed:
            array = np.ascontiguousarray(feed[self._input])
            self._machine.set_input(_MAIN, self._tvm.runtime.tensor(array, device=self._device))
            self._set = feed
