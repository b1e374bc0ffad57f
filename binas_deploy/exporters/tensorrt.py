"""TensorRT: the engine that its adapter built, with the timing cache that builds the same one again.

Written against the adapter, whose own tests run on stand-ins; not yet verified on hardware.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from binas_deploy.adapters.base import Device, KeepsArtefacts, Precision, Program
from binas_deploy.adapters.tensorrt.device import TIMING_CACHE
from binas_deploy.exporters.required import required
from binas_deploy.model import OnnxModel

ENGINE_NAME: Final = "model.engine"
TIMING_NAME: Final = "timing.cache"


class TensorRtExporter:
    """An engine of one GPU and one version, behind two lines of text that name them (``tail -n +3`` takes them off)."""

    name: Final = "tensorrt"
    adapters: Final = ("tensorrt", "tensorrt_rtx")
    device: Final = "gpu"
    made_by_runtime: Final = True
    portable: Final = False
    distributions: Final = ("tensorrt", "tensorrt-cu12", "tensorrt-cu13", "tensorrt-rtx")

    def files(
        self, model: OnnxModel, device: Callable[[], Device], *, precision: Precision, cache: Path
    ) -> dict[str, bytes]:
        """The engine that ``device`` builds, or built before; and what was timed for it, which RTX does not keep.

        Raises:
            InputError: a precision that the network cannot be had in.
            DeviceError: TensorRT is absent or refuses the network.
        """
        opened = device()
        engine = opened.compile(model, precision=precision, cache=cache).payload
        timed = opened.artefacts().get(TIMING_CACHE) if isinstance(opened, KeepsArtefacts) else None
        return {ENGINE_NAME: engine, **({TIMING_NAME: timed} if timed else {})}

    def program(self, model_sha256: str, files: Mapping[str, bytes]) -> Program:
        """The engine as it is.

        Raises:
            InputError: it is missing.
        """
        return Program(model_sha256, required(self.name, files, ENGINE_NAME))
