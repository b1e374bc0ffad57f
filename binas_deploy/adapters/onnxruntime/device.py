"""ONNX Runtime on this machine: its CPU, or any of its execution providers.

The package is imported when something is loaded, not before. Models are optimised by the runtime as they load, so
compiling keeps them as they are. A call is timed with inputs and outputs bound beforehand: Python's own handling of
them (some 6 us a call) is not the device's. A model is refused where a single node would run elsewhere than asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from binas_deploy.adapters import host
from binas_deploy.adapters.base import QUANTISER_KEY, DeviceFacts, Precision, Program
from binas_deploy.adapters.onnxruntime.hardware import hardware_of
from binas_deploy.adapters.onnxruntime.placement import RECORD, STRICT, require_placed
from binas_deploy.adapters.onnxruntime.plugin import plugin_device
from binas_deploy.adapters.onnxruntime.provider import CPU, make_provider
from binas_deploy.adapters.onnxruntime.runtime import RUNTIME
from binas_deploy.adapters.onnxruntime.session import DeviceSession, HostSession, Memory
from binas_deploy.adapters.onnxruntime.settings import SessionSettings
from binas_deploy.errors import DeviceError
from binas_deploy.model import OnnxModel


class OnnxRuntimeDevice:
    """``threads`` compute threads on ``provider``, with its own ``provider_options``, in ``precision``.

    ``allow_spinning`` keeps idle threads of a pool busy-waiting. It is off, since with many sessions open at once
    the idle pools would take the time of the one that is measured; with one thread there is no pool.
    ``inter_op_threads`` above 1 run branches of a network at once; ``graph_optimization`` is how far the runtime
    rewrites a model ('none', 'basic', 'extended', 'layout', 'all'); ``session_config``: more of its settings, by key.
    A provider that is a plug-in comes from ``library``, a package's name or a file, and ``hardware`` chooses among its
    devices ('cpu', 'gpu', 'npu', 'gpu:1').

    Raises:
        InputError: a setting that makes no sense, or a precision that the provider does not have.
    """

    quantiser: str = "onnxruntime"

    def __init__(
        self,
        threads: int,
        *,
        provider: str = CPU,
        provider_options: Mapping[str, object] | None = None,
        library: str = "",
        hardware: str = "",
        allow_spinning: bool = False,
        inter_op_threads: int = 1,
        graph_optimization: str = "all",
        session_config: Mapping[str, object] | None = None,
        precision: str = "fp32",
    ) -> None:
        self._settings = SessionSettings(
            threads, allow_spinning, inter_op_threads, graph_optimization, session_config or {}
        )
        self._provider = make_provider(
            provider, provider_options or {}, library=library, hardware=hardware, threads=threads, precision=precision
        )
        self._precision = Precision(precision)

    def facts(self) -> DeviceFacts:
        """What computes, runtime and settings.

        Raises:
            MissingExtraError: onnxruntime is not installed.
            InputError: more threads than this process may use, or no such plug-in.
            DeviceError: the provider's hardware is not there.
        """
        version = RUNTIME.version()
        host.require_threads(self._settings.threads)
        hardware = hardware_of(self._provider)
        options = self._settings.facts("device" if self._provider.kind == "nvidia" else "bound")
        facts = RUNTIME.facts(
            version,
            device_model=hardware.model,
            provider=self._provider.name,
            options={**options, **self._provider.facts, **hardware.options},
            threads=self._settings.threads,
        )
        quantised = {QUANTISER_KEY: self.quantiser} if self._precision is Precision.INT8 else {}
        return DeviceFacts({**facts.identity, **quantised}, {**facts.context, **hardware.context})

    def compile(self, model: OnnxModel, *, precision: Precision, cache: Path) -> Program:
        """The model as it is: the runtime optimises it while loading.

        Raises:
            InputError: another precision than the device was opened for, or int8 of a network that is not quantised.
        """
        RUNTIME.require_precision(precision, self._precision)
        RUNTIME.require_quantised(model, precision)
        return Program(model.sha256, model.payload)

    @contextmanager
    def load(self, program: Program) -> Iterator[HostSession | DeviceSession]:
        """An open session.

        Raises:
            MissingExtraError: onnxruntime is not installed.
            DeviceError: the runtime lacks the provider, refuses the model, or would run a part of it elsewhere.
        """
        package = RUNTIME.imported()
        plugin = plugin_device(package, self._provider) if self._provider.library else None
        if plugin is None:
            self._require_built_in(package.get_available_providers())
        session = self._opened(package, program, plugin)
        if self._provider.name != CPU:
            require_placed(session, self._provider.name)
        with closing(self._executable(package, session, plugin)) as opened:
            yield opened

    def _require_built_in(self, there: list[str]) -> None:
        if self._provider.name not in there:
            raise DeviceError(
                f"provider '{self._provider.name}' asked, this build of ONNX Runtime has {', '.join(there) or 'none'}. "
                "Install the build that has it, give its plug-in as 'library', or another 'provider', in the device's "
                "file."
            )

    def _opened(self, package: Any, program: Program, plugin: Any) -> Any:
        try:
            with RUNTIME.loading(program):
                return self._session(package, program, plugin, strict=self._provider.name != CPU)
        except DeviceError:
            if self._provider.name != CPU:
                self._explain(package, program, plugin)
            raise

    def _explain(self, package: Any, program: Program, plugin: Any) -> None:
        """Say where the nodes would go, if that is why the model was refused."""
        try:
            lenient = self._session(package, program, plugin, strict=False)
        except Exception:  # noqa: BLE001  it is refused for itself: the first error tells why
            return
        require_placed(lenient, self._provider.name)

    def _session(self, package: Any, program: Program, plugin: Any, *, strict: bool) -> Any:
        checks = {} if self._provider.name == CPU else {STRICT: str(int(strict)), RECORD: "1"}
        settings, options = self._settings.made(package, checks), dict(self._provider.options)
        given: dict[str, Any] = {"providers": [(self._provider.name, options)]}
        if plugin is not None:
            settings.add_provider_for_devices([plugin], options)
            given = {}
        # With its fallback the package prints a provider's failure to stdout and goes on with the CPU.
        return package.InferenceSession(program.payload, settings, enable_fallback=0, **given)

    def _executable(self, package: Any, session: Any, plugin: Any) -> HostSession | DeviceSession:
        if self._provider.kind != "nvidia":
            return HostSession(package, session)
        info = plugin.memory_info(package.OrtDeviceMemoryType.DEFAULT) if plugin is not None else None
        return DeviceSession(package, session, Memory("cuda", self._provider.index, info))
