"""torch: the network as a `torch.export` program, ``model.pt2``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from binas_deploy.adapters.base import Device, Precision, Program
from binas_deploy.adapters.torch.settings import RUNTIME
from binas_deploy.errors import InputError
from binas_deploy.exporters.required import required
from binas_deploy.model import OnnxModel

PROGRAM_NAME: Final = "model.pt2"


class TorchExporter:
    """A program in torch's operators, with its weights; torch.compile, where a device asks for it, is at loading."""

    name: Final = "torch"
    adapters: Final = ("torch",)
    device: Final = "torch"
    made_by_runtime: Final = True
    portable: Final = True
    distributions: Final = ("torch",)

    def files(
        self, model: OnnxModel, device: Callable[[], Device], *, precision: Precision, cache: Path
    ) -> dict[str, bytes]:
        """The program.

        Raises:
            InputError: int8.
            MissingExtraError: torch is not installed.
            DeviceError: an operator that the torch adapter does not have.
        """
        if precision is Precision.INT8:
            raise InputError("precision 'int8': the format 'torch' is fp32 or fp16. Choose other formats.")
        RUNTIME.imported()
        from binas_deploy.adapters.torch.exported import exported

        with RUNTIME.translated(f"cannot export model {model.sha256[:12]}"):
            return {PROGRAM_NAME: exported(model.payload, precision)}

    def program(self, model_sha256: str, files: Mapping[str, bytes]) -> Program:
        """The program as it is.

        Raises:
            InputError: it is missing.
        """
        return Program(model_sha256, required(self.name, files, PROGRAM_NAME))
