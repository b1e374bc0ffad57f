"""OpenVINO on an Intel CPU (other targets by their name).

The package is imported when something is loaded, not before. ONNX is read as it is, and compiled while loading. A call
is timed with its input bound beforehand and its outputs shared: Python's copies are not the device's.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from binas_deploy.adapters import host
from binas_deploy.adapters.base import DeviceFacts, Feed, Precision, Program
from binas_deploy.adapters.runtime import Runtime, brief
from binas_deploy.errors import DeviceError, InputError
from binas_deploy.model import OnnxModel

RUNTIME: Final = Runtime(
    name="OpenVINO",
    package="openvino",
    distributions=("openvino",),
    extra="openvino",
    purpose="Running networks by OpenVINO",
)
_HINTS: Final = ("LATENCY", "THROUGHPUT")


class OpenVinoDevice:
    """``threads`` compute threads on ``target`` ('CPU', 'GPU', 'NPU'), with a performance ``hint`` and ``streams``.

    Raises:
        InputError: no threads or streams, or an unknown hint.
    """

    def __init__(self, threads: int, *, target: str = "CPU", hint: str = "LATENCY", streams: int = 1) -> None:
        if threads < 1 or streams < 1:
            raise InputError(f"threads = {threads}, streams = {streams}: a device runs at least 1 of each.")
        if hint not in _HINTS:
            raise InputError(f"hint = {hint!r}: OpenVINO has {' and '.join(_HINTS)}.")
        self._threads = threads
        self._target = target
        self._hint = hint
        self._streams = streams
        self._core: Any = None

    def facts(self) -> DeviceFacts:
        """CPU or accelerator, runtime and settings.

        Raises:
            MissingExtraError: openvino is not installed.
            InputError: more threads than this process may use.
            DeviceError: the target is not there.
        """
        version = RUNTIME.version()
        host.require_threads(self._threads)
        return RUNTIME.facts(
            version,
            device_model=self._model(),
            provider=self._target,
            options={"hint": self._hint, "precision": "f32", "streams": self._streams},
            threads=self._threads,
        )

    def compile(self, model: OnnxModel, *, precision: Precision, cache: Path) -> Program:
        """The model as it is: OpenVINO compiles it while loading.

        Raises:
            InputError: a precision other than fp32.
        """
        RUNTIME.require_fp32(precision)
        return Program(model.sha256, model.payload)

    @contextmanager
    def load(self, program: Program) -> Iterator[_Request]:
        """A compiled model with one request.

        Raises:
            MissingExtraError: openvino is not installed.
            DeviceError: OpenVINO refuses the model or the target.
        """
        package, core = RUNTIME.imported(), self._opened()
        with RUNTIME.loading(program):
            compiled = core.compile_model(core.read_model(io.BytesIO(program.payload)), self._target, self._settings())
            request = compiled.create_infer_request()
        with closing(_Request(package, compiled, request)) as opened:
            yield opened

    def _settings(self) -> dict[str, str]:
        settings = {"PERFORMANCE_HINT": self._hint, "INFERENCE_PRECISION_HINT": "f32"}
        if self._target == "CPU":
            settings |= {"INFERENCE_NUM_THREADS": str(self._threads), "NUM_STREAMS": str(self._streams)}
        return settings

    def _model(self) -> str:
        if self._target == "CPU":
            return host.cpu_model()
        try:
            return str(self._opened().get_property(self._target, "FULL_DEVICE_NAME"))
        except Exception as error:
            there = ", ".join(self._opened().available_devices)
            raise DeviceError(
                f"OpenVINO has no device '{self._target}' here (there: {there}): {brief(error)}"
            ) from error

    def _opened(self) -> Any:
        if self._core is None:
            self._core = RUNTIME.imported().Core()
        return self._core


class _Request:
    """A loaded model. The feed last used stays bound, so repeated samples of it copy nothing."""

    def __init__(self, package: Any, compiled: Any, request: Any) -> None:
        self._package = package
        self._names = [output.get_any_name() for output in compiled.outputs]
        self._request = request
        self._bound: Feed | None = None

    def close(self) -> None:
        """Let go of the runtime's objects, also where a caller keeps this one."""
        self._request = self._bound = None

    def run(self, feed: Feed) -> dict[str, NDArray[np.float32]]:
        """Outputs by name."""
        with RUNTIME.running():
            self._bind(feed)
            self._request.infer()
            return {name: np.array(self._request.get_tensor(name).data) for name in self._names}

    def sample(self, feed: Feed, *, count: int) -> NDArray[np.int64]:
        """Latency of each of ``count`` back-to-back calls in ns, shape (count,)."""
        with RUNTIME.running():
            self._bind(feed)
            call, clock, taken = self._request.infer, time.perf_counter_ns, []
            for _ in range(count):
                start = clock()
                call(share_outputs=True)
                taken.append(clock() - start)
        return np.array(taken, dtype=np.int64)

    def _bind(self, feed: Feed) -> None:
        if self._bound is feed:
            return
        for name, array in feed.items():
            self._request.set_tensor(name, self._package.Tensor(np.ascontiguousarray(array), shared_memory=True))
        self._bound = feed
