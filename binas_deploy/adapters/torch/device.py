"""torch on this machine's CPU or a CUDA device, eager or by torch.compile.

torch is imported when something is loaded, and to read which GPU there is. ONNX is rebuilt as a torch module, node by
node, and a torch.export program (``.pt2``) is loaded as it is; the first call, while loading, compiles it where that is
asked.

A latency is that of one call of the module, in inference mode, on an input that already lies on the device:

- CPU: wall time from Python's call to its return.
- CUDA: time between two CUDA events around the call, each call begun when the one before has ended. Launching from
  Python counts wherever the GPU waits for it, which eager networks of this size do: ``cuda_graphs`` replays all kernels
  from one launch. ``transfers`` counts copying the input from pinned memory of the host, and the output back.

`process` says what torch shares between devices of one process. All of them together load and run one at a time, so
compiling, 30 to 40 s for a network of 224 px on two cores, does not get faster by threads.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from binas_deploy.adapters import host
from binas_deploy.adapters.base import DeviceFacts, Precision, Program
from binas_deploy.adapters.torch.settings import COMPILED, EAGER, MARK, MODES, RUNTIME, Settings
from binas_deploy.kernel_files import text_of
from binas_deploy.model import OnnxModel

if TYPE_CHECKING:
    from binas_deploy.adapters.torch.executable import Executable
    from binas_deploy.adapters.torch.place import Place

_DRIVER: Final = Path("/proc/driver/nvidia/version")


class TorchDevice:
    """``threads`` compute threads of the CPU, or a CUDA device.

    ``target`` is 'cpu', 'cuda' or 'cuda:1'; ``execution`` 'eager' or 'compile', that in torch.compile's ``mode``;
    ``channels_last`` lays tensors out with the channels innermost. Of CUDA only: ``cuda_graphs`` and ``transfers`` as
    above; ``tf32`` lets products of fp32 numbers be rounded to 10 bits; ``cudnn_benchmark`` lets cuDNN choose its
    kernels by timing them, which may come out differently in each process.

    Raises:
        InputError: settings that do not go together; the message says which.
    """

    def __init__(
        self,
        threads: int,
        *,
        target: str = "cpu",
        execution: str = EAGER,
        mode: str = MODES[0],
        channels_last: bool = False,
        cuda_graphs: bool = False,
        transfers: bool = False,
        tf32: bool = False,
        cudnn_benchmark: bool = False,
    ) -> None:
        self._settings = Settings(
            threads, target, execution, mode, channels_last, cuda_graphs, transfers, tf32, cudnn_benchmark
        )

    def facts(self) -> DeviceFacts:
        """CPU or GPU, torch and settings; on CUDA the CPU that launches too, and CUDA's and cuDNN's versions.

        Raises:
            MissingExtraError: torch is not installed.
            InputError: more threads than this process may use.
            DeviceError: torch sees no such CUDA device.
        """
        version, threads = RUNTIME.version(), self._settings.threads
        host.require_threads(threads)
        model, found = self._gpu() if self._settings.on_cuda else (host.cpu_model(), {})
        facts = RUNTIME.facts(
            version,
            device_model=model,
            provider="CUDA" if self._settings.on_cuda else "CPU",
            options=self._settings.identity() | found,
            threads=threads,
        )
        driver = text_of(_DRIVER).partition("\n")[0] if self._settings.on_cuda else ""
        return DeviceFacts(facts.identity, {**facts.context, **({"gpu_driver": driver} if driver else {})})

    def compile(self, model: OnnxModel, *, precision: Precision, cache: Path) -> Program:
        """The model as it is, with the precision that it is to run in: torch compiles while loading.

        Raises:
            InputError: a precision that the target does not have.
        """
        self._settings.require_precision(precision)
        return Program(model.sha256, precision.value.encode() + MARK + model.payload)

    @contextmanager
    def load(self, program: Program) -> Iterator[Executable]:
        """A module that has run once, with its weights on the device.

        Raises:
            MissingExtraError: torch is not installed.
            DeviceError: no such CUDA device, a model with operators that are not those of our networks, or one that
                torch fails at.
        """
        place = self._place()
        from binas_deploy.adapters.torch.executable import Executable
        from binas_deploy.adapters.torch.process import program_open

        with program_open(place, compiled=self._settings.execution == COMPILED):
            with RUNTIME.loading(program):
                executable = Executable(self._settings, place, program.payload)
            with closing(executable):
                yield executable

    def _place(self) -> Place:
        RUNTIME.imported()
        from binas_deploy.adapters.torch.place import CudaPlace, Place

        return CudaPlace(self._settings) if self._settings.on_cuda else Place(self._settings)

    def _gpu(self) -> tuple[str, dict[str, object]]:
        """Its name, and what else a latency there depends on: libraries, and the CPU that launches its kernels."""
        RUNTIME.imported()
        from binas_deploy.adapters.torch.place import CudaPlace

        place = CudaPlace(self._settings)
        return place.model(), {"host": host.cpu_model(), **place.versions()}
