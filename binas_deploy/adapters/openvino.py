"""OpenVINO on an Intel CPU, GPU or NPU.

The package is imported when something is loaded, or where it has to be asked what is there. ONNX or IR is read as it
is, and compiled while loading. A call is timed with its input bound beforehand and its outputs shared: Python's copies
are not the device's. Only single targets are taken: AUTO, HETERO and MULTI would share a network out in silence.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from binas_deploy.adapters import host, intel, openvino_ir
from binas_deploy.adapters.base import QUANTISER_KEY, DeviceFacts, Feed, Precision, Program
from binas_deploy.adapters.openvino_settings import OpenVinoSettings
from binas_deploy.adapters.runtime import Runtime, brief
from binas_deploy.errors import DeviceError
from binas_deploy.model import OnnxModel

RUNTIME: Final = Runtime(
    name="OpenVINO",
    package="openvino",
    distributions=("openvino",),
    extra="openvino",
    purpose="Running networks by OpenVINO",
)
_BEST: Final = "best"
_DRIVER: Final = ("NPU_DRIVER_VERSION", "NPU_COMPILER_VERSION", "GPU_UARCH_VERSION", "GPU_EXECUTION_UNITS_COUNT")


class OpenVinoDevice:
    """``threads`` compute threads on ``target``, in ``precision``.

    ``target`` is 'CPU', 'GPU', 'GPU.1', 'NPU', or 'best': a GPU where OpenVINO finds one (a discrete one first), else
    the CPU. ``hint``, ``streams`` and ``inference_precision`` are as `OpenVinoSettings` has them. ``model_cache`` keeps
    what is compiled: loading is quicker the second time.

    Raises:
        InputError: a setting that makes no sense.
    """

    quantiser: str = "nncf"

    def __init__(
        self,
        threads: int,
        *,
        target: str = "CPU",
        hint: str = "LATENCY",
        streams: int = 1,
        inference_precision: str = "",
        model_cache: bool = False,
        precision: str = "fp32",
    ) -> None:
        self._target = target
        self._settings = OpenVinoSettings(
            threads, target, hint, streams, inference_precision, model_cache, Precision(precision)
        )
        self._cache: Path | None = None
        self._core: Any = None

    def facts(self) -> DeviceFacts:
        """CPU or accelerator, runtime and settings.

        Raises:
            MissingExtraError: openvino is not installed.
            InputError: more threads than this process may use, or a precision that the target does not have.
            DeviceError: the target is not there.
        """
        version = RUNTIME.version()
        host.require_threads(self._settings.threads)
        target = self._resolved()
        model = self._model(target)  # first: a plug-in tells its numbers where there is no such device too
        self._require_precision(target)
        facts = RUNTIME.facts(
            version,
            device_model=model,
            provider=target,
            options=self._settings.facts(),
            threads=self._settings.threads,
        )
        quantised = {QUANTISER_KEY: self.quantiser} if self._settings.precision is Precision.INT8 else {}
        context = {**facts.context, **intel.accelerator_context(), **self._drivers(target)}
        return DeviceFacts({**facts.identity, **quantised}, context)

    def compile(self, model: OnnxModel, *, precision: Precision, cache: Path) -> Program:
        """The model as it is: OpenVINO compiles it while loading.

        Raises:
            InputError: another precision than the device was opened for, or int8 of a network that is not quantised.
        """
        RUNTIME.require_precision(precision, self._settings.precision)
        RUNTIME.require_quantised(model, precision)
        self._cache = cache
        return Program(model.sha256, model.payload)

    @contextmanager
    def load(self, program: Program) -> Iterator[_Request]:
        """A compiled model with one request.

        Raises:
            MissingExtraError: openvino is not installed.
            InputError: the target does not have the precision.
            DeviceError: OpenVINO refuses the model or the target, or computes otherwise than it was told.
        """
        package, core, target = RUNTIME.imported(), self._opened(), self._resolved()
        self._require_precision(target)
        with RUNTIME.loading(program):
            model = openvino_ir.read(core, program.payload)
            compiled = core.compile_model(model, target, self._properties(target))
            self._settings.require_kept(compiled, target)
            request = compiled.create_infer_request()
        with closing(_Request(package, compiled, request)) as opened:
            yield opened

    def _properties(self, target: str) -> dict[str, str]:
        properties = self._settings.properties(target)
        if not self._settings.model_cache or self._cache is None:
            return properties
        made_by = {"openvino": RUNTIME.imported().__version__, "model": self._model(target), **self._drivers(target)}
        return properties | {"CACHE_DIR": str(self._settings.cache_folder(self._cache, target, made_by))}

    def _resolved(self) -> str:
        """The target that 'best' stands for here."""
        if self._target != _BEST:
            return self._target
        core = self._opened()
        found = [name for name in core.available_devices if name.startswith("GPU")]
        discrete = [name for name in found if "DISCRETE" in str(core.get_property(name, "DEVICE_TYPE")).upper()]
        return next(iter([*discrete, *found]), "CPU")

    def _model(self, target: str) -> str:
        return host.cpu_model() if target == "CPU" else str(self._property(target, "FULL_DEVICE_NAME"))

    def _drivers(self, target: str) -> dict[str, str]:
        """What OpenVINO tells of an accelerator's driver."""
        if target == "CPU":
            return {}
        known = self._property(target, "SUPPORTED_PROPERTIES")
        return {name.lower(): str(self._property(target, name)) for name in _DRIVER if name in known}

    def _require_precision(self, target: str) -> None:
        if target != "CPU" or self._settings.arithmetic != "f32":  # every CPU has that
            self._settings.require_had(target, list(self._property(target, "OPTIMIZATION_CAPABILITIES")))

    def _property(self, target: str, name: str) -> Any:
        try:
            return self._opened().get_property(target, name)
        except Exception as error:
            there = ", ".join(self._opened().available_devices)
            raise DeviceError(f"OpenVINO has no device '{target}' here (there: {there}): {brief(error)}") from error

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
