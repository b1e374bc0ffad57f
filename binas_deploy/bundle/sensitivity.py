"""`Sensitivity`: what quantising a bundle's network cost, block by block and as a whole. ``sensitivity.json``.

Format history of ``binas-deploy/sensitivity``:

1. The first: the loss by each block quantised alone, which were kept in fp32, and the drop of accuracy that is left.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from binas_deploy.documents import read_document, seal, validation_message, write_document
from binas_deploy.errors import DocumentError
from binas_deploy.estimate import Estimate, EstimateDocument
from binas_deploy.table.names import TIME_PATTERN

SENSITIVITY_NAME: Final = "sensitivity.json"
SENSITIVITY_KIND: Final = "sensitivity"
SENSITIVITY_VERSION: Final = 1


@dataclass(frozen=True)
class BlockLoss:
    """What is lost when the block at ``place`` alone is quantised: ``loss`` of accuracy in points.

    ``cosine`` between outputs and those in fp32, mean over the images; ``snr_db``: 10 log10 of signal by difference.
    """

    place: str
    block: str
    loss: float
    cosine: float
    snr_db: float


@dataclass(frozen=True)
class JudgedOn:
    """How many images gave ranges, told blocks apart and judged the drop, and of which split those last are."""

    calibration: int
    sensitivity: int
    drop: int
    split: Literal["holdout", "holdout and train"]


@dataclass(frozen=True)
class Sensitivity:
    """``blocks``, the most sensitive first, of which those at ``kept`` stay in fp32, so that ``drop`` is what it is.

    ``drop``: points of accuracy lost against fp32 on the same images, with its interval; ``whole``: that of nothing
    kept; ``allowed``: the most that was asked for. ``fp32`` and ``int8``: the accuracies in percent. ``model_sha256``:
    of the network that all this is about; ``quantiser``: what made it, with its version.
    """

    created: str
    model_sha256: str
    quantiser: str
    images: JudgedOn
    allowed: float
    fp32: Estimate
    int8: Estimate
    drop: Estimate
    whole: Estimate
    kept: tuple[str, ...]
    blocks: tuple[BlockLoss, ...]

    @classmethod
    def load(cls, bundle: Path) -> Sensitivity:
        """Read that of a bundle folder.

        Raises:
            InputError: it has none.
            DocumentError: truncated, edited by hand, foreign or newer.
        """
        path = bundle / SENSITIVITY_NAME
        content = read_document(path, SENSITIVITY_KIND, SENSITIVITY_VERSION)
        try:
            return _Document.model_validate(content).sensitivity()
        except ValidationError as error:
            raise DocumentError(validation_message(path, error)) from error

    def save(self, bundle: Path) -> None:
        """Write ``sensitivity.json`` of a bundle folder atomically.

        Raises:
            EnvironmentFault: no permission, no space, or the folder cannot be made.
        """
        write_document(bundle / SENSITIVITY_NAME, self.to_document())

    def to_document(self) -> dict[str, Any]:
        """The sealed document."""
        estimates = {key: getattr(self, key).to_json() for key in ("fp32", "int8", "drop", "whole")}
        content = {**asdict(self), **estimates, "kept": list(self.kept), "blocks": [asdict(row) for row in self.blocks]}
        return seal(SENSITIVITY_KIND, SENSITIVITY_VERSION, content)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


_Number = Annotated[float, Field(allow_inf_nan=False)]
_Count = Annotated[int, Field(ge=0)]
_Text = Annotated[str, Field(min_length=1, max_length=255)]


class _Block(_Strict):
    place: _Text
    block: _Text
    loss: _Number
    cosine: _Number
    snr_db: _Number


class _Images(_Strict):
    calibration: _Count
    sensitivity: _Count
    drop: _Count
    split: Literal["holdout", "holdout and train"]


class _Document(_Strict):
    format: str
    version: int
    digest: str
    created: Annotated[str, Field(pattern=TIME_PATTERN)]
    model_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    quantiser: _Text
    images: _Images
    allowed: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    fp32: EstimateDocument
    int8: EstimateDocument
    drop: EstimateDocument
    whole: EstimateDocument
    kept: list[_Text]
    blocks: list[_Block]

    def sensitivity(self) -> Sensitivity:
        """The value itself."""
        return Sensitivity(
            created=self.created,
            model_sha256=self.model_sha256,
            quantiser=self.quantiser,
            images=JudgedOn(**self.images.model_dump()),
            allowed=self.allowed,
            fp32=self.fp32.estimate(),
            int8=self.int8.estimate(),
            drop=self.drop.estimate(),
            whole=self.whole.estimate(),
            kept=tuple(self.kept),
            blocks=tuple(BlockLoss(**row.model_dump()) for row in self.blocks),
        )
