"""The document of a bundle's manifest: its fields as they stand in the file.

Format history of ``binas-deploy/bundle-manifest``:

1. The first: files with hashes, the formats that they are, network and space, what was asked, made of and predicted,
   the table's anchors, and the command that makes the bundle again.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from binas_deploy.bundle.files import FILE_PATTERN
from binas_deploy.estimate import EstimateDocument
from binas_deploy.space import Architecture
from binas_deploy.table.names import NAME_PATTERN, TIME_PATTERN

MANIFEST_KIND: Final = "bundle-manifest"
MANIFEST_VERSION: Final = 1

_Number = Annotated[float, Field(allow_inf_nan=False)]
_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Text = Annotated[str, Field(min_length=1, max_length=1000)]
_Name = Annotated[str, Field(pattern=NAME_PATTERN)]
_Count = Annotated[int, Field(ge=1, le=2**31)]
Noise = Annotated[float, Field(gt=0, le=1e6)]
"""Relative standard deviation of one measured network."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


_FileName = Annotated[str, Field(pattern=FILE_PATTERN)]
"""No separator and no second dot, so that none leads out of the folder."""


class _File(_Strict):
    sha256: _Digest
    bytes: Annotated[int, Field(ge=1)]


class _Format(_Strict):
    files: Annotated[list[_FileName], Field(min_length=1, max_length=64)]
    precision: Literal["fp32", "fp16", "int8"]
    versions: dict[str, str]
    program_sha256: _Digest
    device_model: Annotated[str, Field(max_length=1000)]


class _Tensor(_Strict):
    name: _Text
    shape: Annotated[list[_Count], Field(min_length=1, max_length=8)]
    dtype: Literal["float32"]


class _Preprocessing(_Strict):
    layout: Literal["NCHW"]
    colour: Literal["RGB"]
    divide_by: Literal[255]
    mean: Annotated[list[_Number], Field(max_length=64)]
    std: Annotated[list[Annotated[float, Field(gt=0, allow_inf_nan=False)]], Field(max_length=64)]
    resolution: _Count


class _Asked(_Strict):
    budget: Annotated[str, Field(max_length=64)]
    device: _Name
    statistic: Literal["p25", "median", "p90", "p95", "p99"]
    cadence: _Text
    threads: _Count
    precision: _Text
    batch: _Count


class _Table(_Strict):
    digest: _Digest
    path: Annotated[str, Field(max_length=4096)]
    noise: Noise


class _Network(_Strict):
    depths: list[int]
    options: list[list[int]]


class _Anchor(_Strict):
    architecture: _Network
    kind: _Name
    median_ns: Annotated[float, Field(ge=1, le=1e18)]

    def arch(self) -> Architecture:
        return Architecture(tuple(self.architecture.depths), tuple(tuple(row) for row in self.architecture.options))


class _Data(_Strict):
    name: _Text
    fingerprint: _Digest
    seed: Annotated[int, Field(ge=0)]


class _Latency(EstimateDocument):
    unit: Literal["ns"]


class _Accuracy(EstimateDocument):
    unit: Literal["%"]


class _Predicted(_Strict):
    latency: _Latency
    accuracy: _Accuracy
    holdout_accuracy: _Accuracy | None

    def estimates(self) -> dict[str, Any]:
        holdout = self.holdout_accuracy and self.holdout_accuracy.estimate()
        return {
            "latency": self.latency.estimate(),
            "accuracy": self.accuracy.estimate(),
            "holdout_accuracy": holdout,
        }


class ManifestDocument(_Strict):
    """The whole document. ``space`` is what `space_document` embeds, ``architecture`` block strings."""

    PLAIN: ClassVar[tuple[str, ...]] = (
        "name",
        "created",
        "versions",
        "identity",
        "accuracy_model_digest",
        "supernet_digest",
        "seed",
        "simulated",
    )
    """The fields that a manifest takes as they are."""

    format: str
    version: int
    digest: str
    name: Annotated[str, Field(min_length=1, max_length=255)]
    created: Annotated[str, Field(pattern=TIME_PATTERN)]
    simulated: bool
    versions: dict[str, str]
    files: dict[_FileName, _File]
    formats: dict[_Name, _Format]
    space: dict[str, Any]
    architecture: Annotated[str, Field(max_length=100_000)]
    input: _Tensor
    output: _Tensor
    preprocessing: _Preprocessing
    labels: list[str]
    asked: _Asked
    identity: dict[str, str]
    table: _Table
    anchors: list[_Anchor]
    accuracy_model_digest: _Digest
    supernet_digest: Annotated[str, Field(max_length=128)]
    data: _Data
    predicted: _Predicted
    seed: Annotated[int, Field(ge=0)]
    reproduce: Annotated[list[_Text], Field(max_length=1000)]
