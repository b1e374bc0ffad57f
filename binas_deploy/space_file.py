"""Space files: TOML in, `SearchSpace` out, refused with file, field path, value and what is allowed.

::

    format = "binas-deploy/space"
    version = 1
    name = "mine"
    classes = 10
    input = { channels = 3, resolution = 32 }
    stem = { channels = 16, kernel = 3, stride = 1, activation = "hard_swish" }
    head = { hidden = 0, activation = "hard_swish" }       # hidden 0: pool, then the classifier

    [[stages]]
    op = "inverted_residual"      # or "depthwise_separable", "conv"
    channels = 24
    stride = 2                    # of the first block
    activation = "relu"           # relu, relu6, hard_swish, swish
    depth = [2, 4]                # from-to, or one number for a fixed depth
    expansion = [3, 4, 6]         # the options of a block are the product of these three lists,
    kernel = [3, 5]               # in this order, the last one varying fastest
    se_ratio = [0, 0.25]
    identity = false              # true adds "skip this block" where shapes agree
"""

from __future__ import annotations

import itertools
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from binas_deploy.block import Activation, Block, Head, Op, Option
from binas_deploy.documents import validation_message
from binas_deploy.errors import DocumentError, InputError
from binas_deploy.space import SearchSpace, Stage
from binas_deploy.toml_files import parse_toml, read_toml_text

SPACE_VERSION: Final = 1
_ACTIVATIONS: Final = {
    "relu": Activation.RELU,
    "relu6": Activation.RELU6,
    "hard_swish": Activation.HARD_SWISH,
    "swish": Activation.SWISH,
}
_OPS: Final = {
    "conv": Op.CONV,
    "depthwise_separable": Op.DEPTHWISE_SEPARABLE,
    "inverted_residual": Op.INVERTED_RESIDUAL,
}
_ActivationName = Literal["relu", "relu6", "hard_swish", "swish"]
_Channels = Annotated[int, Field(ge=1, le=16384)]
_Kernel = Literal[1, 3, 5, 7, 9]
_Stride = Literal[1, 2]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _Input(_Strict):
    channels: Annotated[int, Field(ge=1, le=64)]
    resolution: Annotated[int, Field(ge=4, le=4096)]


class _Stem(_Strict):
    channels: _Channels
    kernel: _Kernel
    stride: _Stride
    activation: _ActivationName


class _Head(_Strict):
    hidden: Annotated[int, Field(ge=0, le=65536)] = 0
    activation: _ActivationName = "hard_swish"


class _Stage(_Strict):
    op: Literal["conv", "depthwise_separable", "inverted_residual"]
    channels: _Channels
    stride: _Stride
    activation: _ActivationName
    depth: Annotated[int, Field(ge=1, le=32)] | list[Annotated[int, Field(ge=1, le=32)]] = 1
    kernel: Annotated[list[_Kernel], Field(min_length=1)]
    expansion: Annotated[list[Annotated[float, Field(gt=0, le=64)]], Field(min_length=1)] = [1.0]
    se_ratio: Annotated[list[Annotated[float, Field(ge=0, le=1)]], Field(min_length=1)] = [0.0]
    identity: bool = False

    @field_validator("depth")
    @classmethod
    def _ascending(cls, depth: int | list[int]) -> int | list[int]:
        if isinstance(depth, list) and (len(depth) != 2 or depth[0] > depth[1]):
            raise ValueError("a depth is one number, or [from, to] with from <= to")
        return depth

    @field_validator("kernel", "expansion", "se_ratio")
    @classmethod
    def _distinct(cls, values: list[float]) -> list[float]:
        if len(set(values)) != len(values):
            raise ValueError("each value may stand once")
        return values

    @model_validator(mode="after")
    def _only_what_the_op_has(self) -> _Stage:
        """Options that change nothing would be counted, and measured, as different networks."""
        if self.op != "inverted_residual" and self.expansion != [1.0]:
            raise ValueError(f"expansion belongs to inverted_residual; leave it out for {self.op}")
        if self.op == "conv" and self.se_ratio != [0.0]:
            raise ValueError("se_ratio belongs to inverted_residual and depthwise_separable; leave it out for conv")
        return self


class _SpaceFile(_Strict):
    format: Literal["binas-deploy/space"]
    version: Literal[1]
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
    classes: Annotated[int, Field(ge=2, le=100_000)]
    input: _Input
    stem: _Stem
    head: _Head
    stages: Annotated[list[_Stage], Field(min_length=1, max_length=32)]


def space_names() -> list[str]:
    """Names of the spaces that ship with the tool."""
    return sorted(entry.name[: -len(".toml")] for entry in _folder().iterdir() if entry.name.endswith(".toml"))


def load_space(name_or_path: str | Path) -> SearchSpace:
    """A shipped space by name, or a file by path (anything with a separator or ``.toml``).

    Raises:
        InputError: unknown name, or no such file.
        DocumentError: the file is not a space; the message names field path, value and what is allowed.
    """
    text = str(name_or_path)
    if isinstance(name_or_path, Path) or text.endswith(".toml") or "/" in text or "\\" in text:
        return parse_space(read_toml_text(Path(text), "space"), Path(text))
    if text not in space_names():
        raise InputError(
            f"unknown space {text!r}. Known: {', '.join(space_names())}; or give the path of a space file (.toml)."
        )
    return parse_space((_folder() / f"{text}.toml").read_text(encoding="utf-8"), Path(f"{text}.toml"))


def parse_space(text: str, path: Path) -> SearchSpace:
    """Parse the text of a space file; ``path`` is named in errors.

    Raises:
        DocumentError: not TOML, or not a valid space.
    """
    raw = parse_toml(text, path, "space", SPACE_VERSION)
    try:
        return _build(_SpaceFile.model_validate(raw), text)
    except ValidationError as error:
        raise DocumentError(validation_message(path, error)) from error


def space_document(space: SearchSpace) -> dict[str, str]:
    """What other documents embed of a space, so that they can be used without its file."""
    return {"name": space.name, "fingerprint": space.fingerprint, "source": space.source}


def space_from_document(embedded: Any, path: Path) -> SearchSpace:
    """The space that `space_document` embedded in the document ``path``.

    Raises:
        DocumentError: malformed, or its fingerprint is not the one stated.
    """
    if not isinstance(embedded, dict) or not isinstance(embedded.get("source"), str):
        raise DocumentError(f"{path}: space: expected name, fingerprint and source.")
    space = parse_space(embedded["source"], path)
    if space.fingerprint != embedded.get("fingerprint"):
        raise DocumentError(f"{path}: space.fingerprint does not match the space that the file holds.")
    return space


def _build(file: _SpaceFile, source: str) -> SearchSpace:
    stem_option = Option(Op.CONV, file.stem.kernel)
    stem = Block(
        stem_option,
        file.input.channels,
        file.stem.channels,
        file.input.resolution,
        file.stem.stride,
        _ACTIVATIONS[file.stem.activation],
    )
    stages, channels, resolution = [], stem.c_out, stem.resolution_out
    for row in file.stages:
        stages.append(_stage(row, channels))
        channels, resolution = row.channels, (resolution - 1) // row.stride + 1
    head = Head(channels, resolution, file.head.hidden, file.classes, _ACTIVATIONS[file.head.activation])
    return SearchSpace(
        file.name, file.input.channels, file.input.resolution, file.classes, stem, tuple(stages), head, source
    )


def _stage(row: _Stage, c_in: int) -> Stage:
    low, high = row.depth if isinstance(row.depth, list) else (row.depth, row.depth)
    regular = tuple(
        Option(_OPS[row.op], kernel, float(expansion), float(se_ratio))
        for expansion, kernel, se_ratio in itertools.product(row.expansion, row.kernel, row.se_ratio)
    )
    skip = (Option(Op.IDENTITY),) if row.identity else ()
    first = regular + (skip if row.stride == 1 and c_in == row.channels else ())
    options = (first, *((regular + skip,) * (high - 1)))
    return Stage(options, tuple(range(low, high + 1)), row.channels, row.stride, _ACTIVATIONS[row.activation])


def _folder() -> Any:
    return resources.files("binas_deploy") / "spaces"
