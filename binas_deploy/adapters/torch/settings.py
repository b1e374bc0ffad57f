"""What a device file may say of torch, checked; and what of it and of the surroundings a latency depends on.

Nothing here imports torch.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import re
import subprocess
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

from binas_deploy.adapters.base import Precision
from binas_deploy.adapters.runtime import Runtime
from binas_deploy.errors import InputError

RUNTIME: Final = Runtime(
    name="torch", package="torch", distributions=("torch",), extra="torch", purpose="Running networks by torch"
)
EAGER: Final = "eager"
COMPILED: Final = "compile"
MARK: Final = b"\n"
"""Between the precision and the ONNX model in what the adapter compiles."""
MODES: Final = ("default", "max-autotune-no-cudagraphs")
_GRAPH_MODES: Final = ("reduce-overhead", "max-autotune")
_TARGET: Final = re.compile(r"cpu|cuda(:(?P<index>\d{1,3}))?")
_ONLY_CUDA: Final = ("cuda_graphs", "transfers", "tf32", "cudnn_benchmark")
_COMMAND_SECONDS: Final = 10
_ENVIRONMENT: Final = (
    "ATEN_CPU_CAPABILITY",
    "CUDA_LAUNCH_BLOCKING",
    "DNNL_MAX_CPU_ISA",
    "GOMP_SPINCOUNT",
    "KMP_BLOCKTIME",
    "MKL_ENABLE_INSTRUCTIONS",
    "NVIDIA_TF32_OVERRIDE",
    "OMP_PROC_BIND",
    "OMP_WAIT_POLICY",
    "ONEDNN_MAX_CPU_ISA",
    "TORCHDYNAMO_DISABLE",
    "TORCHINDUCTOR_FREEZING",
    "TORCHINDUCTOR_MAX_AUTOTUNE",
    "TORCH_COMPILE_DISABLE",
)
"""Variables that change how fast torch is. Numbers of threads are not among them: the adapter sets its own."""


@dataclass(frozen=True)
class Settings:
    """The options of `TorchDevice`.

    Raises:
        InputError: no threads, an unknown word, something that is not true or false, or an option that only CUDA has.
    """

    threads: int
    target: str
    execution: str
    mode: str
    channels_last: bool
    cuda_graphs: bool
    transfers: bool
    tf32: bool
    cudnn_benchmark: bool

    def __post_init__(self) -> None:
        if self.threads < 1:
            raise InputError(f"threads = {self.threads}: a device runs on at least 1 thread.")
        if not isinstance(self.target, str) or not _TARGET.fullmatch(self.target):
            raise InputError(f"target = {self.target!r}: torch has 'cpu', 'cuda' and 'cuda:1' (any index) here.")
        self._check_execution()
        for name in (field.name for field in fields(self) if field.type == "bool"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"{name} = {getattr(self, name)!r}: write true or false.")
            if getattr(self, name) and not self.on_cuda and name in _ONLY_CUDA:
                raise InputError(f'{name} = true: only CUDA has that. Remove it, or set target = "cuda".')

    def _check_execution(self) -> None:
        if self.execution not in (EAGER, COMPILED):
            raise InputError(f"execution = {self.execution!r}: torch has '{EAGER}' and '{COMPILED}'.")
        if self.mode in _GRAPH_MODES:
            # torch ties the graphs of these modes to the thread that compiled, and profiles load in several.
            raise InputError(
                f"mode = {self.mode!r}: it replays CUDA graphs of its own, in one thread only. Set cuda_graphs = true "
                f"and mode = {MODES[0]!r} or {MODES[1]!r}."
            )
        if self.mode not in MODES:
            raise InputError(f"mode = {self.mode!r}: torch.compile has {' and '.join(MODES)} here.")
        if self.mode != MODES[0] and self.execution == EAGER:
            raise InputError(f'mode = {self.mode!r}: eager execution has no mode. Set execution = "{COMPILED}".')

    @property
    def on_cuda(self) -> bool:
        """Whether the target is a CUDA device."""
        return self.target != "cpu"

    @property
    def index(self) -> int:
        """Which CUDA device, from 0."""
        found = _TARGET.fullmatch(self.target)
        return int((found and found["index"]) or 0)

    def require_precision(self, precision: Precision) -> None:
        """Refuse what the target does not have.

        Raises:
            InputError: int8, or fp16 on a CPU.
        """
        if precision is Precision.INT8:
            raise InputError("precision 'int8': the torch adapter runs fp32, and fp16 on CUDA. Use another adapter.")
        if precision is Precision.FP16 and not self.on_cuda:
            raise InputError(
                "precision 'fp16': on CPUs torch is slower in half precision than in single, most having no such "
                'arithmetic. Set precision = "fp32", or target = "cuda".'
            )

    def identity(self) -> dict[str, object]:
        """What a latency depends on, by name, as far as it is known without torch."""
        found: dict[str, object] = {"execution": self.execution, "channels_last": int(self.channels_last)}
        if self.execution == COMPILED:
            found |= {"mode": self.mode, **self._compiler()}
        if self.on_cuda:
            found |= {name: int(getattr(self, name)) for name in _ONLY_CUDA}
        return found | {name: os.environ[name].replace(";", ",") for name in _ENVIRONMENT if os.environ.get(name)}

    def _compiler(self) -> dict[str, str]:
        """What torch.compile makes machine code with."""
        if self.on_cuda:
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                return {"triton": ".".join(importlib.metadata.version("triton").split(".")[:2])}
            return {"triton": "none"}
        compiler = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            told = subprocess.run(
                [compiler, "-dumpversion"], capture_output=True, text=True, timeout=_COMMAND_SECONDS, check=True
            )
            return {"cxx": f"{Path(compiler).name} {told.stdout.strip()}"}
        return {"cxx": f"{Path(compiler).name} unknown"}
