"""ONNX: the network itself, which every other format is made of and ONNX Runtime loads as it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from binas_deploy.adapters.base import Device, Precision, Program
from binas_deploy.bundle.files import MODEL_NAME
from binas_deploy.exporters.required import required
from binas_deploy.model import OnnxModel


class OnnxExporter:
    """``model.onnx``."""

    name: Final = "onnx"
    adapters: Final = ("onnxruntime",)
    device: Final = "cpu"
    made_by_runtime: Final = False
    portable: Final = True
    distributions: Final = ("onnx",)

    def files(
        self, model: OnnxModel, device: Callable[[], Device], *, precision: Precision, cache: Path
    ) -> dict[str, bytes]:
        """The model as it is."""
        return {MODEL_NAME: model.payload}

    def program(self, model_sha256: str, files: Mapping[str, bytes]) -> Program:
        """The model as it is.

        Raises:
            InputError: it is missing.
        """
        return Program(model_sha256, required(self.name, files, MODEL_NAME))
