"""Blocks: the units that are measured, weighted and chosen. Equal work has an equal `key`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

from binas_deploy.documents import shown
from binas_deploy.errors import InputError


class Op(str, Enum):
    """What a block computes; the value is its code in block strings (EfficientNet/timm form)."""

    CONV = "cn"
    DEPTHWISE_SEPARABLE = "ds"
    INVERTED_RESIDUAL = "ir"
    IDENTITY = "id"


class Activation(str, Enum):
    """Activations; the value is the code in block strings (``n<code>``)."""

    RELU = "re"
    RELU6 = "r6"
    HARD_SWISH = "hs"
    SWISH = "sw"


DEFAULT_ACTIVATION: Final = Activation.HARD_SWISH


def round8(value: float) -> int:
    """``value`` rounded to a multiple of 8 (at least 8), up when rounding down loses over 10 %."""
    rounded = max(8, int(value + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * value else rounded


@dataclass(frozen=True)
class Option:
    """One choice for an elastic block. ``se_ratio`` 0 is no squeeze-and-excitation."""

    op: Op
    kernel: int = 1
    expansion: float = 1.0
    se_ratio: float = 0.0


@dataclass(frozen=True)
class Block:
    """One block in its place: `option` with channels, input ``resolution`` (px, square) and stride."""

    option: Option
    c_in: int
    c_out: int
    resolution: int
    stride: int
    activation: Activation

    @property
    def mid(self) -> int:
        """Channels between the 1x1 convolutions of an inverted residual, ``c_in`` elsewhere."""
        if self.option.op is Op.INVERTED_RESIDUAL:
            return round8(self.c_in * self.option.expansion)
        return self.c_in

    @property
    def squeeze(self) -> int:
        """Channels inside squeeze-and-excitation, 0 without it."""
        return round8(self.option.se_ratio * self.mid) if self.option.se_ratio else 0

    @property
    def residual(self) -> bool:
        """Whether the input is added to the output."""
        bottleneck = self.option.op in (Op.DEPTHWISE_SEPARABLE, Op.INVERTED_RESIDUAL)
        return bottleneck and self.stride == 1 and self.c_in == self.c_out

    @property
    def resolution_out(self) -> int:
        """Output resolution in px ('same' padding: k // 2 on each side)."""
        return (self.resolution - 1) // self.stride + 1

    @property
    def key(self) -> str:
        """Canonical text: two blocks with equal keys do equal work and are measured once."""
        option = self.option
        if option.op is Op.IDENTITY:
            return f"id-c{self.c_in}-r{self.resolution}"
        return (
            f"{option.op.value}-k{option.kernel}-s{self.stride}-i{self.c_in}-m{self.mid}-o{self.c_out}"
            f"-se{self.squeeze}-n{self.activation.value}-r{self.resolution}"
        )

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one input: convolutions and squeeze-and-excitation."""
        option, area_in, area_out = self.option, self.resolution**2, self.resolution_out**2
        if option.op is Op.IDENTITY:
            return 0
        if option.op is Op.CONV:
            return option.kernel**2 * self.c_in * self.c_out * area_out
        expand = self.c_in * self.mid * area_in if option.op is Op.INVERTED_RESIDUAL else 0
        depthwise = option.kernel**2 * self.mid * area_out
        return expand + depthwise + 2 * self.mid * self.squeeze + self.mid * self.c_out * area_out

    @property
    def params(self) -> int:
        """Trainable parameters; a batch normalisation counts two a channel."""
        option = self.option
        if option.op is Op.IDENTITY:
            return 0
        if option.op is Op.CONV:
            return option.kernel**2 * self.c_in * self.c_out + 2 * self.c_out
        expand = self.c_in * self.mid + 2 * self.mid if option.op is Op.INVERTED_RESIDUAL else 0
        depthwise = option.kernel**2 * self.mid + 2 * self.mid
        excite = 2 * self.mid * self.squeeze + self.squeeze + self.mid if self.squeeze else 0
        return expand + depthwise + excite + self.mid * self.c_out + 2 * self.c_out

    @property
    def normalised(self) -> int:
        """Channels that a batch normalisation follows."""
        if self.option.op is Op.IDENTITY:
            return 0
        if self.option.op is Op.CONV:
            return self.c_out
        return self.mid * (2 if self.option.op is Op.INVERTED_RESIDUAL else 1) + self.c_out

    @property
    def weight_count(self) -> int:
        """Numbers of the deployed block, biases included: folding leaves one of a batch normalisation's two."""
        return self.params - self.normalised

    @property
    def bias_count(self) -> int:
        """Biases of the deployed block."""
        return self.normalised + (self.squeeze + self.mid if self.squeeze else 0)


@dataclass(frozen=True)
class Head:
    """Global average pool, an optional hidden layer (1x1 convolution with bias), and the classifier."""

    c_in: int
    resolution: int
    hidden: int
    classes: int
    activation: Activation

    @property
    def key(self) -> str:
        """Canonical text, as for `Block.key`."""
        return f"head-i{self.c_in}-h{self.hidden}-o{self.classes}-n{self.activation.value}-r{self.resolution}"

    @property
    def features(self) -> int:
        """Inputs of the classifier."""
        return self.hidden or self.c_in

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one input."""
        return self.c_in * self.hidden + self.features * self.classes

    @property
    def params(self) -> int:
        """Trainable parameters, biases included."""
        hidden = self.c_in * self.hidden + self.hidden
        return hidden + self.features * self.classes + self.classes

    @property
    def weight_count(self) -> int:
        """Numbers of the deployed head, biases included."""
        return self.params

    @property
    def bias_count(self) -> int:
        """Biases of the deployed head."""
        return self.hidden + self.classes


Piece = Block | Head

_WHOLE: Final = "[0-9]{1,9}"
_DECIMAL: Final = rf"{_WHOLE}(?:\.{_WHOLE})?"
_BLOCK_TEXT: Final = re.compile(
    rf"(?P<op>cn|ds|ir|id)_r1(?:_k(?P<k>{_WHOLE}))?(?:_s(?P<s>{_WHOLE}))?(?:_e(?P<e>{_DECIMAL}))?_c(?P<c>{_WHOLE})"
    rf"(?:_n(?P<n>re|r6|hs|sw))?(?:_se(?P<se>{_DECIMAL}))?"
)


def block_text(block: Block) -> str:
    """The block string of the EfficientNet/timm form, such as ``ir_r1_k5_s2_e3_c24_nre_se0.25``."""
    option = block.option
    parts = [option.op.value, "r1"]
    if option.op is not Op.IDENTITY:
        parts += [f"k{option.kernel}", f"s{block.stride}"]
    if option.op in (Op.DEPTHWISE_SEPARABLE, Op.INVERTED_RESIDUAL):
        parts.append(f"e{option.expansion:g}")
    parts.append(f"c{block.c_out}")
    if block.activation is not DEFAULT_ACTIVATION:
        parts.append(f"n{block.activation.value}")
    if option.se_ratio:
        parts.append(f"se{option.se_ratio:g}")
    return "_".join(parts)


@dataclass(frozen=True)
class BlockText:
    """What a block string states."""

    option: Option
    stride: int
    c_out: int
    activation: Activation


def parse_block_text(text: str) -> BlockText:
    """The inverse of `block_text`.

    Raises:
        InputError: not a block string of this form.
    """
    match = _BLOCK_TEXT.fullmatch(text)
    if match is None:
        raise InputError(f"{shown(text)} is not a block string such as 'ir_r1_k5_s2_e3_c24_nre_se0.25'.")
    op = Op(match["op"])
    option = Option(op, int(match["k"] or 1), float(match["e"] or 1), float(match["se"] or 0))
    activation = Activation(match["n"]) if match["n"] else DEFAULT_ACTIVATION
    return BlockText(option, int(match["s"] or 1), int(match["c"]), activation)
