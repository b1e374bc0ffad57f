"""OpenVINO IR: ``model.xml`` and ``model.bin``, with weights as they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from binas_deploy.adapters import openvino_ir
from binas_deploy.adapters.base import Device, Precision, Program
from binas_deploy.adapters.openvino import RUNTIME
from binas_deploy.adapters.openvino_ir import TEXT_NAME, WEIGHTS_NAME
from binas_deploy.exporters.required import required
from binas_deploy.model import OnnxModel


class OpenVinoExporter:
    """The network as OpenVINO reads it; a device compiles it for its target while loading, in its own precision."""

    name: Final = "openvino"
    adapters: Final = ("openvino",)
    device: Final = "intel"
    made_by_runtime: Final = True
    portable: Final = True
    distributions: Final = ("openvino",)

    def files(
        self, model: OnnxModel, device: Callable[[], Device], *, precision: Precision, cache: Path
    ) -> dict[str, bytes]:
        """Text and weights.

        Raises:
            MissingExtraError: openvino is not installed.
            DeviceError: OpenVINO does not have an operator.
        """
        package = RUNTIME.imported()
        with RUNTIME.translated(f"cannot convert model {model.sha256[:12]}"):
            text, weights = openvino_ir.converted(package, model.payload)
        return {TEXT_NAME: text, WEIGHTS_NAME: weights}

    def program(self, model_sha256: str, files: Mapping[str, bytes]) -> Program:
        """Text and weights as one payload.

        Raises:
            InputError: one is missing.
        """
        text, weights = (required(self.name, files, name) for name in (TEXT_NAME, WEIGHTS_NAME))
        return Program(model_sha256, openvino_ir.packed(text, weights))
