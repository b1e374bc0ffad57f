"""ONNX Runtime on this machine's CPU.

The package is imported when something is loaded, not before. Models are optimised by the runtime as they load, so
compiling keeps them as they are. A call is timed with inputs and outputs bound beforehand: Python's own handling of
them (some 6 us a call) is not the device's.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from binas_deploy.adapters import host
from binas_deploy.adapters.base import DeviceFacts, Feed, Precision, Program
from binas_deploy.errors import DeviceError, InputError, MissingExtraError
from binas_deploy.model import OnnxModel

_DISTRIBUTIONS: Final = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-directml")
_ONLY_ERRORS: Final = 3
_KEPT_TEXT: Final = 300


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
        version = _version()
        host.require_threads(self._threads)
        identity = {
            "device_model": host.cpu_model(),
            "runtime": "onnxruntime",
            "runtime_version": ".".join(version.split(".")[:2]),
            "provider": self._provider,
            "provider_options": self._options_text(),
            "threads": str(self._threads),
            "affinity": host.affinity(),
        }
        return DeviceFacts(identity, {"runtime_version_full": version, **host.host_context()})

    def compile(self, model: OnnxModel, *, precision: Precision, cache: Path) -> Program:
        """The model as it is: the runtime optimises it while loading.

        Raises:
            InputError: a precision other than fp32.
        """
        if precision is not Precision.FP32:
            raise InputError(
                f"precision '{precision.value}': the onnxruntime adapter runs fp32 only. Set precision = \"fp32\" in "
                "the device's file."
            )
        return Program(model.sha256, model.payload)

    @contextmanager
    def load(self, program: Program) -> Iterator[_Session]:
        """An open session.

        Raises:
            MissingExtraError: onnxruntime is not installed.
            DeviceError: the runtime refuses the model, or runs it on another provider.
        """
        runtime = _import()
        try:
            session = runtime.InferenceSession(program.payload, self._settings(runtime), providers=[self._provider])
        except Exception as error:
            raise DeviceError(f"ONNX Runtime cannot load model {program.model_sha256[:12]}: {_brief(error)}") from error
        self._require_provider(session.get_providers())
        opened = _Session(runtime, session)
        try:
            yield opened
        finally:
            opened.close()

    def _options_text(self) -> str:
        spinning = int(self._allow_spinning)
        return f"allow_spinning={spinning};execution=sequential;graph_optimization=all;inter_op=1;io=bound"

    def _settings(self, runtime: Any) -> Any:
        settings = runtime.SessionOptions()
        settings.intra_op_num_threads = self._threads
        settings.inter_op_num_threads = 1
        settings.execution_mode = runtime.ExecutionMode.ORT_SEQUENTIAL
        settings.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_ALL
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

    def __init__(self, runtime: Any, session: Any) -> None:
        self._runtime = runtime
        self._session = session
        self._bound: tuple[Feed, Any] | None = None

    def close(self) -> None:
        """Let go of the runtime's objects, also where a caller keeps this one."""
        self._session = self._bound = None

    def run(self, feed: Feed) -> dict[str, NDArray[np.float32]]:
        """Outputs by name."""
        with _translated():
            names = [output.name for output in self._session.get_outputs()]
            return dict(zip(names, self._session.run(names, dict(feed)), strict=True))

    def sample(self, feed: Feed, *, count: int) -> NDArray[np.int64]:
        """Latency of each of ``count`` back-to-back calls in ns, shape (count,)."""
        with _translated():
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
            room = self._runtime.OrtValue.ortvalue_from_numpy(np.zeros(output.shape, np.float32))
            binding.bind_ortvalue_output(output.name, room)
        return binding


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise DeviceError(f"ONNX Runtime failed while running: {_brief(error)}") from error


def _brief(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= _KEPT_TEXT else text[:_KEPT_TEXT] + "..."


def _import() -> Any:
    try:
        return importlib.import_module("onnxruntime")
    except ModuleNotFoundError as error:
        raise _missing() from error
    except ImportError as error:
        raise DeviceError(f"ONNX Runtime is installed and cannot be imported: {_brief(error)}") from error


def _version() -> str:
    """From the package's metadata where that is unambiguous: importing the runtime costs a tenth of a second."""
    loaded = sys.modules.get("onnxruntime")
    installed = [] if loaded else _installed_versions()
    return installed[0] if len(installed) == 1 else str((loaded or _import()).__version__)


def _installed_versions() -> list[str]:
    found = (_metadata_version(name) for name in _DISTRIBUTIONS)
    return [version for version in found if version]


def _metadata_version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _missing() -> MissingExtraError:
    return MissingExtraError("onnxruntime", "cpu", "Running networks on this CPU")
