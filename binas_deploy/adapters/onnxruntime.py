"""ONNX Runtime on this machine's CPU.

The package is imported when something is loaded, not before. Models are optimised by the runtime as they load, so
compiling keeps them as they are. A call is timed with inputs and outputs bound beforehand: Python's own handling of
them (some 6 us a call) is not the device's.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from binas_deploy.adapters import host
from binas_deploy.adapters.base import DeviceFacts, Feed, Precision, Program
from binas_deploy.adapters.runtime import Runtime
from binas_deploy.errors import DeviceError, InputError
from binas_deploy.model import OnnxModel

RUNTIME: Final = Runtime(
    name="ONNX Runtime",
    package="onnxruntime",
    distributions=("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-directml"),
    extra="cpu",
    purpose="Running networks on this CPU",
)
_ONLY_ERRORS: Final = 3


class OnnxRuntimeDevice:
    """``threads`` compute threads on ``provider``.

    ``allow_spinning`` keeps idle threads of a pool busy-waiting. It is off, since with many sessions open at once
    the idle pools would take the time of the one that is measured; with one thread there is no pool.
    """

    def __init__(self, threads: int, *, provider: str = "CPUExecutionProvider", allow_spinning: bool = False) -> None:
        if threads < 1:
            raise InputError(f"threads = {threads}: a device runs on at least 1 thread.")
        self._threads = threads
        self._provider = provider
        self._allow_spinning = allow_spinning

    def facts(self) -> DeviceFacts:
        """CPU, runtime and settings.

        Raises:
            MissingExtraError: onnxruntime is not installed.
            InputError: more threads than this process may use.
        """
        version = RUNTIME.version()
        host.require_threads(self._threads)
        return RUNTIME.facts(
            version,
            device_model=host.cpu_model(),
            provider=self._provider,
            options=self._options(),
            threads=self._threads,
        )

    def compile(self, model: OnnxModel, *, precision: Precision, cache: Path) -> Program:
        """The model as it is: the runtime optimises it while loading.

        Raises:
            InputError: a precision other than fp32.
        """
        RUNTIME.require_fp32(precision)
        return Program(model.sha256, model.payload)

    @contextmanager
    def load(self, program: Program) -> Iterator[_Session]:
        """An open session.

        Raises:
            MissingExtraError: onnxruntime is not installed.
            DeviceError: the runtime refuses the model, or runs it on another provider.
        """
        package = RUNTIME.imported()
        with RUNTIME.loading(program):
            session = package.InferenceSession(program.payload, self._settings(package), providers=[self._provider])
        self._require_provider(session.get_providers())
        with closing(_Session(package, session)) as opened:
            yield opened

    def _options(self) -> dict[str, object]:
        """What `_settings` and `_Session` set, as facts."""
        return {
            "allow_spinning": int(self._allow_spinning),
            "execution": "sequential",
            "graph_optimization": "all",
            "inter_op": 1,
            "io": "bound",
        }

    def _settings(self, package: Any) -> Any:
        settings = package.SessionOptions()
        settings.intra_op_num_threads = self._threads
        settings.inter_op_num_threads = 1
        settings.execution_mode = package.ExecutionMode.ORT_SEQUENTIAL
        settings.graph_optimization_level = package.GraphOptimizationLevel.ORT_ENABLE_ALL
        settings.log_severity_level = _ONLY_ERRORS
        settings.add_session_config_entry("session.intra_op.allow_spinning", str(int(self._allow_spinning)))
        return settings

    def _require_provider(self, found: list[str]) -> None:
        # ONNX Runtime falls back to the CPU with no more than a warning; a table must not take that for the device.
        if not found or found[0] != self._provider:
            raise DeviceError(
                f"provider '{self._provider}' asked, ONNX Runtime took {', '.join(found) or 'none'}. Install the build "
                "of ONNX Runtime that has it, or name another provider in the device's file."
            )


class _Session:
    """A loaded model. The feed last used stays bound, so repeated samples of it allocate nothing."""

    def __init__(self, package: Any, session: Any) -> None:
        self._package = package
        self._session = session
        self._bound: tuple[Feed, Any] | None = None

    def close(self) -> None:
        """Let go of the runtime's objects, also where a caller keeps this one."""
        self._session = self._bound = None

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
        for output in self._session.get_outputs():
            room = self._package.OrtValue.ortvalue_from_numpy(np.zeros(output.shape, np.float32))
            binding.bind_ortvalue_output(output.name, room)
        return binding
