"""`SupernetInfo`: what a trained supernet is, readable without torch. It stands beside the weights.

A supernet on disk is a folder with ``supernet.json`` (this document) and ``weights.safetensors``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from binas_deploy.documents import file_sha256, read_document, seal, validation_message, write_document
from binas_deploy.errors import DocumentError, InputError, MismatchError
from binas_deploy.space import SearchSpace
from binas_deploy.space_file import space_document, space_from_document

SUPERNET_KIND: Final = "supernet"
SUPERNET_VERSION: Final = 1
INFO_NAME: Final = "supernet.json"
WEIGHTS_NAME: Final = "weights.safetensors"


@dataclass(frozen=True)
class TrainingData:
    """The images that it was trained on and how they are normalised: (pixel / 255 - mean) / std by channel."""

    name: str
    fingerprint: str
    seed: int
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Figures:
    """Test-set top-1 in percent of the two extreme networks, inherited weights, batch norm recalibrated."""

    largest_top1: float
    smallest_top1: float
    images: int


@dataclass(frozen=True)
class SupernetInfo:
    """``recipe`` as trained; ``command`` made it; ``figures`` were measured at the end."""

    space: SearchSpace
    data: TrainingData
    recipe: dict[str, Any]
    command: str
    torch_version: str
    created: str
    figures: Figures
    weights_sha256: str

    def to_document(self) -> dict[str, Any]:
        """The sealed document."""
        content = {
            "space": space_document(self.space),
            "data": asdict(self.data),
            "recipe": self.recipe,
            "command": self.command,
            "torch_version": self.torch_version,
            "created": self.created,
            "figures": asdict(self.figures),
            "weights_sha256": self.weights_sha256,
        }
        return seal(SUPERNET_KIND, SUPERNET_VERSION, content)

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of the document's content; it covers the weights through their hash."""
        return str(self.to_document()["digest"])

    def save(self, folder: Path) -> None:
        """Write ``supernet.json`` atomically."""
        write_document(folder / INFO_NAME, self.to_document())

    @classmethod
    def load(cls, folder: Path) -> SupernetInfo:
        """Read ``supernet.json`` of a folder.

        Raises:
            InputError: the folder holds no finished supernet.
            DocumentError: the document is damaged, foreign or newer.
        """
        path = folder / INFO_NAME
        if not path.is_file():
            raise InputError(
                f"{folder} holds no finished supernet ({INFO_NAME} is missing). Finish 'binas-deploy train' into it, "
                "or give another --supernet folder."
            )
        content = read_document(path, SUPERNET_KIND, SUPERNET_VERSION)
        try:
            document = _Document.model_validate(content)
        except ValidationError as error:
            raise DocumentError(validation_message(path, error)) from error
        return cls(
            space_from_document(document.space, path),
            TrainingData(**{key: _tuple(value) for key, value in document.data.model_dump().items()}),
            document.recipe,
            document.command,
            document.torch_version,
            document.created,
            Figures(**document.figures.model_dump()),
            document.weights_sha256,
        )

    def checked_weights(self, folder: Path) -> Path:
        """The weights file of the folder, its hash compared.

        Raises:
            DocumentError: other bytes than those that this document describes.
        """
        path = folder / WEIGHTS_NAME
        found = file_sha256(path)
        if found != self.weights_sha256:
            raise DocumentError(
                f"{path}: SHA-256 {found[:12]}..., {INFO_NAME} says {self.weights_sha256[:12]}...: the weights are "
                "damaged or belong to another run. Restore them, or train again."
            )
        return path

    def require_space(self, space: SearchSpace) -> None:
        """Refuse to use this supernet for another space.

        Raises:
            MismatchError: its networks are not those of ``space``.
        """
        if space.fingerprint != self.space.fingerprint:
            raise MismatchError(
                f"the supernet holds space '{self.space.name}' ({self.space.fingerprint[:8]}), asked for "
                f"'{space.name}' ({space.fingerprint[:8]}). Give the supernet of that space with --supernet."
            )


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Data(_Strict):
    name: str
    fingerprint: str
    seed: int
    classes: list[str]
    mean: list[float]
    std: list[Annotated[float, Field(gt=0)]]


class _Figures(_Strict):
    largest_top1: Annotated[float, Field(ge=0, le=100)]
    smallest_top1: Annotated[float, Field(ge=0, le=100)]
    images: Annotated[int, Field(ge=1)]


class _Document(_Strict):
    format: str
    version: int
    digest: str
    space: dict[str, str]
    data: _Data
    recipe: dict[str, Any]
    command: str
    torch_version: str
    created: str
    figures: _Figures
    weights_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
