"""TVM: the library that its adapter compiled, linked (``model.so``) or to be linked by a board (``model.tar``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from binas_deploy.adapters.base import Device, Precision, Program
from binas_deploy.exporters.required import required
from binas_deploy.model import OnnxModel

LIBRARY_NAME: Final = "model.so"
OBJECTS_NAME: Final = "model.tar"
_TAR_MARK: Final = slice(257, 262)
"""Where every tar file says ``ustar``."""


class TvmExporter:
    """Machine code for one kind of CPU or accelerator, with the program around it."""

    name: Final = "tvm"
    adapters: Final = ("tvm",)
    device: Final = "tvm"
    made_by_runtime: Final = True
    portable: Final = False
    distributions: Final = ("apache-tvm", "apache-tvm-ffi")

    def files(
        self, model: OnnxModel, device: Callable[[], Device], *, precision: Precision, cache: Path
    ) -> dict[str, bytes]:
        """The library that ``device`` compiles, or compiled before.

        Raises:
            InputError: a precision other than fp32.
            MissingExtraError: apache-tvm is not installed.
            DeviceError: TVM does not have an operator, or nothing here links.
        """
        payload = device().compile(model, precision=precision, cache=cache).payload
        return {OBJECTS_NAME if payload[_TAR_MARK] == b"ustar" else LIBRARY_NAME: payload}

    def program(self, model_sha256: str, files: Mapping[str, bytes]) -> Program:
        """The library as it is.

        Raises:
            InputError: it is missing.
        """
        return Program(model_sha256, required(self.name, files, LIBRARY_NAME, OBJECTS_NAME))
