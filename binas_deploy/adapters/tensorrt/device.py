"""The device: an NVIDIA GPU, or the one of a Jetson, by TensorRT or TensorRT for RTX.

Packages are imported when something is compiled or loaded, not before. Neither TensorRT is among this project's extras:
a Jetson has it from JetPack, elsewhere NVIDIA's own packages bring it; what is called besides is `cuda-bindings`.

Written against the documented APIs and type stubs of TensorRT 10.13; not yet verified on hardware.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from binas_deploy.adapters import cuda
from binas_deploy.adapters.base import DeviceFacts, Precision, Program
from binas_deploy.adapters.jetson import Jetson
from binas_deploy.adapters.registry import find_adapter, missing_package
from binas_deploy.adapters.runtime import Runtime
from binas_deploy.adapters.tensorrt.build import build, logger, prepared
from binas_deploy.adapters.tensorrt.engine import EngineExecutable, Play, opened
from binas_deploy.adapters.tensorrt.options import Options
from binas_deploy.adapters.tensorrt.recipe import RTX, Place, engine_key, packed, unpacked
from binas_deploy.documents import digest, write_atomic
from binas_deploy.errors import DeviceError, InputError
from binas_deploy.model import OnnxModel

if TYPE_CHECKING:
    import tensorrt as trt

_PROVIDER: Final = "CUDA"
_HASH_DIGITS: Final = 16
TIMING_CACHE: Final = "timing-cache"


class TensorRtDevice:
    """The GPU number ``gpu``; the options are those of `Options`. ``threads`` is 1: one thread feeds a GPU.

    Raises:
        InputError: other threads, or options that make no sense.
    """

    runtime = Runtime(
        name="TensorRT",
        package="tensorrt",
        distributions=("tensorrt", "tensorrt-cu12", "tensorrt-cu13"),
        extra=cuda.EXTRA,
        purpose="Running networks by TensorRT",
    )

    def __init__(
        self,
        threads: int,
        *,
        gpu: int = 0,
        optimization_level: int = 3,
        tf32: bool = False,
        workspace_mib: int = 0,
        cuda_graph: bool = True,
        copies: bool = False,
        calibration: str = "",
        timing_cache: str = "",
        power_mode: int | str = "",
    ) -> None:
        if threads != 1:
            raise InputError(f"threads = {threads}: one thread feeds a GPU. Set threads = 1 in the device's file.")
        self._options = Options(
            gpu, optimization_level, tf32, workspace_mib, cuda_graph, copies, calibration, timing_cache, str(power_mode)
        )
        self._board = Jetson()
        self._folder: Path | None = None

    def facts(self) -> DeviceFacts:
        """GPU or board, runtime, settings, power mode; and what to do about clocks and modes that are not as asked.

        Raises:
            DeviceError: no TensorRT, no GPU, or a Jetson that throttles.
            MissingExtraError: cuda-bindings is not installed.
            InputError: a power mode or calibration cache that is not there.
        """
        place = self._place
        stated = self.runtime.facts(
            place.version,
            device_model=self._board.model if self._on_board else self._gpu.model,
            provider=_PROVIDER,
            options=self._options.stated(),
            threads=1,
        )
        found = self._board_facts(stated) if self._on_board else stated
        context = {**found.context, "gpu_driver": self._gpu.driver, "cuda_driver": self._gpu.cuda}
        if timing := self.artefacts().get(TIMING_CACHE):
            context["timing_cache"] = hashlib.sha256(timing).hexdigest()[:_HASH_DIGITS]
        return replace(found, context={key: text for key, text in context.items() if text})

    def compile(self, model: OnnxModel, *, precision: Precision, cache: Path) -> Program:
        """The engine, from the cache where it was built before. Building takes seconds to minutes.

        Raises:
            InputError: a precision that the network cannot be had in.
            DeviceError: TensorRT or CUDA refuses.
        """
        package, place, recipe = self._package(), self._place, self._options.recipe(precision)
        self._folder = cache / self.runtime.package
        path = self._folder / f"{engine_key(model.sha256, place, recipe)}.engine"
        if (kept := _kept(path, place)) is not None:
            return Program(model.sha256, kept)
        payload = prepared(model.payload, recipe, place)
        cuda.use(self._options.gpu)
        engine = packed(build(package, payload, recipe, place, self._seeded_timing_cache(self._folder)), place)
        write_atomic(path, engine)
        return Program(model.sha256, engine)

    @contextmanager
    def load(self, program: Program) -> Iterator[EngineExecutable]:
        """An open engine.

        Raises:
            DeviceError: it is of another version or GPU, or there is no room for it.
        """
        package = self._package()
        built, payload = unpacked(program.payload)
        self._place.require(built)
        cuda.use(self._options.gpu)
        log, messages = logger(package)
        runtime: trt.Runtime = package.Runtime(log)
        engine = runtime.deserialize_cuda_engine(payload)
        if engine is None:
            raise DeviceError(f"TensorRT cannot load model {program.model_sha256[:12]}: {messages.take()}.")
        options = self._options
        context, keep = self._context(package, engine, program)
        if context is None:
            raise DeviceError(f"TensorRT has no room for model {program.model_sha256[:12]}: {messages.take()}.")
        # TensorRT for RTX captures by itself: it may load kernels at any call.
        play = Play(options.gpu, options.cuda_graph and self.runtime.package != RTX, options.copies)
        with opened(package, engine, context, play, self._watch) as executable:
            keep()
            yield executable

    def artefacts(self) -> Mapping[str, bytes]:
        """What the engines came of beside the networks: the timing cache, once something was built."""
        path = self._timing_cache(self._folder) if self._folder else None
        return {TIMING_CACHE: path.read_bytes()} if path and path.is_file() else {}

    def _board_facts(self, facts: DeviceFacts) -> DeviceFacts:
        if now := self._board.throttling():
            raise DeviceError(f"the board throttles ({', '.join(now)}): let it cool, then give the same command again.")
        mode = self._board.power_mode
        identity = {**facts.identity, "power_mode": str(mode) if mode else "unknown"}
        advice = self._board.advice(self._options.power_mode)
        return DeviceFacts(identity, {**facts.context, **self._board.context()}, facts.simulated, advice)

    def _context(
        self, package: Any, engine: trt.ICudaEngine, program: Program
    ) -> tuple[trt.IExecutionContext | None, Callable[[], None]]:
        """A context, and what to call once it has run."""
        return engine.create_execution_context(), lambda: None

    def _watch(self) -> Callable[[], None]:
        """What to call once samples were taken: raises where the board throttled since this."""
        if not self._on_board:
            return lambda: None
        before = self._board.throttle_counts()
        return lambda: self._board.require_unthrottled(before)

    def _timing_cache(self, folder: Path) -> Path:
        """Of this place, shared by all builds."""
        name = digest({"package": self._place.package, "version": self._place.version, "gpu": self._gpu.model})
        return folder / f"timing-{name[:_HASH_DIGITS]}.cache"

    def _seeded_timing_cache(self, folder: Path) -> Path:
        """The same, begun with the one that the options name where there is none yet."""
        path, given = self._timing_cache(folder), self._options.timing_cache
        if given and not path.exists():
            if not Path(given).is_file():
                raise InputError(f"options.timing_cache = {given!r}: no such file; one lies beside each table.")
            write_atomic(path, Path(given).read_bytes())
        return path

    def _package(self) -> Any:
        if (fault := missing_package(find_adapter(self.runtime.package))) is not None:
            raise fault
        return self.runtime.imported()

    @property
    def _on_board(self) -> bool:
        return self._board.present

    @cached_property
    def _gpu(self) -> cuda.Gpu:
        return cuda.gpu(self._options.gpu)

    @cached_property
    def _place(self) -> Place:
        self._package()
        return Place(self.runtime.package, self.runtime.version(), self._gpu.name, self._gpu.capability)


class TensorRtRtxDevice(TensorRtDevice):
    """The same by TensorRT for RTX. Engines are built in seconds and compiled as they load."""

    runtime = Runtime(
        name="TensorRT for RTX",
        package=RTX,
        distributions=("tensorrt-rtx", "tensorrt_rtx"),
        extra=cuda.EXTRA,
        purpose="Running networks by TensorRT for RTX",
    )

    def _context(
        self, package: Any, engine: trt.ICudaEngine, program: Program
    ) -> tuple[trt.IExecutionContext | None, Callable[[], None]]:
        """With its own CUDA graphs, and with the kernels that it compiled for this engine at an earlier load."""
        config: Any = engine.create_runtime_config()
        if self._options.cuda_graph:
            config.cuda_graph_strategy = package.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        kernels = config.create_runtime_cache()
        path = self._folder and self._folder / f"{hashlib.sha256(program.payload).hexdigest()}.kernels"
        if path and path.is_file():
            kernels.deserialize(path.read_bytes())
        config.set_runtime_cache(kernels)

        def keep() -> None:
            if path and not path.is_file():
                write_atomic(path, bytes(kernels.serialize()))

        return engine.create_execution_context(config), keep


def _kept(path: Path, place: Place) -> bytes | None:
    """The engine built before, None where there is none or it is damaged."""
    try:
        payload = path.read_bytes()
        place.require(unpacked(payload)[0])
    except (OSError, DeviceError):
        return None
    return payload
