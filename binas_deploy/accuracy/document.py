"""The document of an accuracy model: its fields as they stand in the file, and the way to contributions.

Format history of ``binas-deploy/accuracy-model``:

1. The first: contributions and standard errors in percentage points, the space's own text, quality on fresh networks.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from binas_deploy.accuracy.contributions import Contributions
from binas_deploy.columns import Columns
from binas_deploy.errors import DocumentError
from binas_deploy.space import SearchSpace

ACCURACY_KIND: Final = "accuracy-model"
ACCURACY_VERSION: Final = 1

Kind = Literal["ridge", "conditional"]
_Number = Annotated[float, Field(allow_inf_nan=False, ge=-1e6, le=1e6)]
_Error = Annotated[float, Field(allow_inf_nan=False, ge=0, le=1e6)]
_Correlation = Annotated[float, Field(allow_inf_nan=False, ge=-1.000001, le=1.000001)]
_Hash = Annotated[str, Field(max_length=128)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _Values(_Strict):
    base: _Number
    depth: list[list[_Number]]
    option: list[list[list[_Number]]]


class _Errors(_Strict):
    base: _Error
    depth: list[list[_Error]]
    option: list[list[list[_Error]]]


class _QualityDocument(_Strict):
    kendall_tau: _Correlation | None
    spearman: _Correlation | None
    pearson: _Correlation | None
    mse: _Error
    n: Annotated[int, Field(ge=2)]


class AccuracyDocument(_Strict):
    """The whole document. ``space`` is what `space_document` embeds."""

    format: str
    version: int
    digest: str
    unit: Literal["percentage point"]
    kind: Kind
    space: dict[str, str]
    samples: Annotated[int, Field(ge=3)]
    seed: Annotated[int, Field(ge=0)]
    supernet_digest: _Hash
    dataset_fingerprint: _Hash
    strength: Annotated[list[_Error], Field(min_length=2, max_length=2)] | None
    residual_std: _Error
    residual_method: Annotated[str, Field(max_length=200)]
    quality: _QualityDocument | None
    contributions: _Values
    standard_errors: _Errors


def contributions_json(values: Contributions) -> dict[str, Any]:
    """The document form."""
    option = [[row.tolist() for row in stage] for stage in values.option]
    return {"base": values.base, "depth": [row.tolist() for row in values.depth], "option": option}


def contributions_of(values: _Values | _Errors, space: SearchSpace, where: str) -> Contributions:
    """The inverse of `contributions_json`; ``where`` is named in errors.

    Raises:
        DocumentError: not one number for each depth and option of the space.
    """
    columns = Columns(space)
    expected = [[len(stage.depths), *map(len, stage.options)] for stage in space.stages]
    found = [[len(depth), *map(len, option)] for depth, option in zip(values.depth, values.option, strict=False)]
    if found != expected or len(values.depth) != len(values.option):
        raise DocumentError(f"{where}: not one number for each depth and option of the space '{space.name}'.")
    parts = [part for depth, rows in zip(values.depth, values.option, strict=True) for part in (depth, *rows)]
    return Contributions.from_flat(columns, np.array([values.base, *(x for part in parts for x in part)]))
