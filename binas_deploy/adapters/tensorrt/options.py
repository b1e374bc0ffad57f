"""The options of a device file for TensorRT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from binas_deploy.adapters.base import Precision
from binas_deploy.adapters.tensorrt.recipe import Recipe
from binas_deploy.errors import InputError

_HIGHEST_LEVEL: Final = 5


@dataclass(frozen=True)
class Options:
    """What a device file's ``[options]`` may say; see devices/gpu.toml and devices/jetson.toml.

    Raises:
        InputError: an optimization level TensorRT does not have, or a negative number.
    """

    gpu: int = 0
    optimization_level: int = 3
    tf32: bool = False
    workspace_mib: int = 0
    cuda_graph: bool = True
    copies: bool = False
    calibration: str = ""
    timing_cache: str = ""
    power_mode: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.optimization_level <= _HIGHEST_LEVEL:
            raise InputError(
                f"optimization_level = {self.optimization_level}: TensorRT has levels from 0 to {_HIGHEST_LEVEL}."
            )
        if self.gpu < 0 or self.workspace_mib < 0:
            raise InputError(f"gpu = {self.gpu}, workspace_mib = {self.workspace_mib}: neither can be negative.")

    def recipe(self, precision: Precision) -> Recipe:
        """How engines are built."""
        return Recipe(precision, self.optimization_level, self.tf32, self.workspace_mib, self.calibration)

    def stated(self) -> dict[str, object]:
        """All that a latency depends on."""
        built = self.recipe(Precision.FP32).options()
        return {**built, "cuda_graph": int(self.cuda_graph), "io": "pinned" if self.copies else "device"}
