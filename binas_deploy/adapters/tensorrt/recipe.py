"""What a TensorRT engine depends on: the network, where it is built, and the recipe. How it is named and packed."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from binas_deploy.adapters.base import Precision
from binas_deploy.documents import digest, file_sha256
from binas_deploy.errors import DeviceError, InputError

RTX: Final = "tensorrt_rtx"
RANDOM: Final = "random"
"""Instead of a calibration cache: ranges from one random input. Fit for latencies, not for accuracy."""
_MAGIC: Final = b"binas-deploy engine 1\n"
_LAST_CALIBRATING: Final = 10


@dataclass(frozen=True)
class Place:
    """Where engines are built and run. An engine of another place is refused."""

    package: str
    version: str
    gpu: str
    capability: str

    @property
    def calibrates(self) -> bool:
        """Whether TensorRT quantizes networks here that do not say how: its last generation that did is 10."""
        return self.package != RTX and int(self.version.partition(".")[0]) <= _LAST_CALIBRATING

    def require(self, built: Place) -> None:
        """Raises DeviceError where an engine was built elsewhere."""
        mine, theirs = asdict(self), asdict(built)
        found = [f"{key}: built for {theirs[key]}, here is {mine[key]}" for key in mine if mine[key] != theirs[key]]
        if found:
            raise DeviceError(
                f"this engine is of another place: {'; '.join(found)}. TensorRT engines run where they were built: "
                "compile the network again here."
            )


@dataclass(frozen=True)
class Recipe:
    """All beside the network that an engine depends on. ``workspace_mib`` 0: as much as there is."""

    precision: Precision
    optimization_level: int = 3
    tf32: bool = False
    workspace_mib: int = 0
    calibration: str = ""

    def options(self) -> dict[str, object]:
        """By name, for identities and keys; a calibration cache by its content."""
        named: dict[str, object] = {
            "optimization_level": self.optimization_level,
            "tf32": int(self.tf32),
            "workspace_mib": self.workspace_mib,
        }
        if self.calibration == RANDOM:
            return {**named, "calibration": RANDOM}
        return {**named, "calibration": file_sha256(Path(self.calibration))[:12]} if self.calibration else named


def engine_key(model_sha256: str, place: Place, recipe: Recipe) -> str:
    """SHA-256 (hex) of everything that an engine depends on, as far as anyone can say: builds time kernels."""
    return digest(
        {"model": model_sha256, **asdict(place), "precision": recipe.precision.value, "options": recipe.options()}
    )


def packed(engine: bytes, place: Place) -> bytes:
    """An engine with the place it is for."""
    return _MAGIC + json.dumps(asdict(place), sort_keys=True).encode() + b"\n" + engine


def unpacked(payload: bytes) -> tuple[Place, bytes]:
    """The inverse of `packed`.

    Raises:
        DeviceError: these bytes are no engine of ours.
    """
    head, _, engine = payload.removeprefix(_MAGIC).partition(b"\n")
    try:
        place = Place(**json.loads(head)) if payload.startswith(_MAGIC) else None
    except (ValueError, TypeError):
        place = None
    if place is None or not engine:
        raise DeviceError("these bytes are no engine that binas-deploy packed; compile the network again.")
    return place, engine


def calibrates(recipe: Recipe, place: Place) -> bool:
    """Whether a network without Q/DQ is to be quantized by calibration.

    Raises:
        InputError: it is asked of a TensorRT that cannot.
    """
    if not recipe.calibration or recipe.precision is not Precision.INT8:
        return False
    if not place.calibrates:
        raise InputError(
            f"options.calibration: {place.package} {place.version} has no calibration (it went with TensorRT 11). "
            "Leave the option out and give networks with QuantizeLinear and DequantizeLinear."
        )
    return True
