"""What a network needs wherever it runs, computed from its shape, in integers.

- ``params``: trainable parameters; a batch normalisation counts two a channel.
- ``macs``: multiply-accumulates of one input.
- ``weights``: bytes of the deployed weights, batch normalisation folded into one bias a channel: 4 bytes each in fp32,
  2 in fp16, in int8 1 for a weight and 4 for a bias (scales and zero points are not counted).
- ``memory``: bytes of activations at the peak of the execution: 4 each in fp32, 2 in fp16, 1 in int8.

The peak is that of this schedule of the ONNX graph (`graph`), so a runtime that fuses nodes needs less:

- nodes execute one after another, as the graph lists them, and none in place: at a node, its inputs, its output and
  all that a later node reads are there at once;
- a tensor lives from the node that makes it through the last node that reads it; the network's input from the start,
  its output to the end; so the input of a residual block lives until the add, and what squeeze-and-excitation scales
  lives through its whole branch;
- weights are no activations. A skipped block has no node.

Pieces meet in a single tensor, so the peak of a network is the highest of its pieces' peaks, the input of a piece
counted in its own. A maximum is no sum of choices, but ``peak <= limit`` says: none of the options whose own peak
exceeds the limit. That is linear (`Peak.forbidden`), so the exact search stays exact.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from binas_deploy.block import Activation, Block, Head, Op, Piece
from binas_deploy.errors import InputError
from binas_deploy.extremes import cheapest, dearest
from binas_deploy.problem import LinearForm, Resource
from binas_deploy.space import Architecture, SearchSpace

_BYTES: Final = {"fp32": (4, 4, 4), "fp16": (2, 2, 2), "int8": (1, 4, 1)}
"""Of each precision: bytes of a weight, of a bias and of an activation."""


@dataclass(frozen=True)
class Setting:
    """How a network runs: ``batch`` inputs at once, in numbers of ``precision`` (fp32, fp16 or int8).

    Raises:
        InputError: no such precision, or no such batch.
    """

    batch: int = 1
    precision: str = "fp32"

    def __post_init__(self) -> None:
        if self.precision not in _BYTES:
            raise InputError(f"bytes in precision {self.precision!r} are not known. Known: {', '.join(_BYTES)}.")
        if self.batch < 1:
            raise InputError(f"batch {self.batch}: the number of inputs in a batch is a whole number from 1 up.")

    @classmethod
    def of(cls, identity: Mapping[str, str]) -> Setting:
        """That of a device's conditions."""
        return cls(int(identity["batch"]), identity["precision"])

    def weight_bytes(self, piece: Piece) -> int:
        """Bytes of the deployed weights of a piece."""
        weight, bias, _ = _BYTES[self.precision]
        return weight * (piece.weight_count - piece.bias_count) + bias * piece.bias_count

    def peak_bytes(self, piece: Piece) -> int:
        """Peak activation memory of a piece in its network, its input included."""
        return _BYTES[self.precision][2] * self.batch * _peak(piece)


@dataclass(frozen=True)
class Footprint:
    """What one network needs: counts, and bytes in a setting of ``batch`` and ``precision``."""

    params: int
    macs: int
    weights: int
    memory: int
    batch: int
    precision: str

    @classmethod
    def of(cls, space: SearchSpace, arch: Architecture, setting: Setting) -> Footprint:
        """That of a network."""
        return cls(
            params=space.params(arch),
            macs=space.macs(arch),
            weights=sum(setting.weight_bytes(piece) for piece in space.pieces(arch)),
            memory=peak_memory(space, arch, setting.batch, setting.precision),
            batch=setting.batch,
            precision=setting.precision,
        )


def peak_memory(space: SearchSpace, arch: Architecture, batch: int, precision: str = "fp32") -> int:
    """Bytes of activations at the peak of executing a network, as the module's schedule says.

    Raises:
        InputError: no such batch or precision.
    """
    setting = Setting(batch, precision)
    return max(setting.peak_bytes(piece) for piece in space.pieces(arch))


@dataclass(frozen=True)
class Total:
    """A need that is the sum of what each choice needs; ``depths`` are those of the space."""

    form: LinearForm
    depths: tuple[tuple[int, ...], ...]

    def amount(self, arch: Architecture) -> int:
        """What a network needs, in base units."""
        return self.form.of(arch, self.depths)

    def least(self) -> Architecture:
        """The network that needs least."""
        return cheapest(self.form, self.depths)

    def most(self) -> int:
        """What no network exceeds, and one needs."""
        return self.amount(dearest(self.form, self.depths))


@dataclass(frozen=True)
class Peak:
    """Peak activation memory in bytes: the maximum over the pieces of a network."""

    space: SearchSpace
    setting: Setting

    def amount(self, arch: Architecture) -> int:
        """What a network needs."""
        return peak_memory(self.space, arch, self.setting.batch, self.setting.precision)

    def least(self) -> Architecture:
        """A network that needs least: the shallowest, of the options with the lowest peaks."""
        depths = tuple(stage.depths[0] for stage in self.space.stages)
        options = tuple(tuple(int(np.argmin(row)) for row in stage) for stage in self._form.option)
        return Architecture(depths, tuple(row[:depth] for row, depth in zip(options, depths, strict=True)))

    def most(self) -> int:
        """What no network exceeds, and one needs."""
        return max(self.setting.peak_bytes(piece) for piece in self.space.blocks())

    def forbidden(self, limit: int) -> LinearForm:
        """How many pieces of a network exceed ``limit`` bytes: 0 exactly where the network keeps the limit."""
        return piece_form(self.space, lambda piece: int(self.setting.peak_bytes(piece) > limit))

    def where(self, arch: Architecture) -> str:
        """The piece of a network that has its peak, in words; the stem and the head are in every network."""
        space = self.space
        piece = max(space.pieces(arch), key=self.setting.peak_bytes)
        fixed = {space.head: "the head, which every network has", space.stem: "the stem, which every network has"}
        return fixed.get(piece, f"block {piece.key}")

    @cached_property
    def _form(self) -> LinearForm:
        return piece_form(self.space, self.setting.peak_bytes)


Need = Total | Peak


def need(resource: str, space: SearchSpace, setting: Setting) -> Need:
    """What networks need of a computed resource: 'params', 'macs', 'weights' or 'memory'."""
    if resource == "memory":
        return Peak(space, setting)
    of_piece: dict[str, Callable[[Piece], int]] = {
        "params": lambda piece: piece.params,
        "macs": lambda piece: piece.macs,
        "weights": setting.weight_bytes,
    }
    return Total(piece_form(space, of_piece[resource]), space.depths)


def piece_form(space: SearchSpace, of_piece: Callable[[Piece], int]) -> LinearForm:
    """The sum of ``of_piece`` over the pieces of a network."""
    depth = tuple(np.zeros(len(stage.depths), np.int64) for stage in space.stages)
    option = tuple(
        tuple(
            np.array([of_piece(space.block(s, j, c)) for c in range(len(row))], np.int64)
            for j, row in enumerate(stage.options)
        )
        for s, stage in enumerate(space.stages)
    )
    return LinearForm(of_piece(space.stem) + of_piece(space.head), depth, option)


def excluding(resource: Resource, forbidden: LinearForm, depths: tuple[tuple[int, ...], ...]) -> Resource:
    """``resource`` as a limit that networks with something forbidden break too; the others cost what they did.

    ``forbidden`` counts what is forbidden in a network. Each costs more than all costs span from the cheapest network
    to the dearest, so a network with one costs more than the dearest, where the limit is cut off.
    """
    total = Total(resource.cost, depths)
    most = total.most()
    span = most - total.amount(total.least())
    return Resource(resource.name, resource.cost.plus(forbidden, span + 1), min(resource.limit, most))


def _peak(piece: Piece) -> int:
    """Numbers of one input that are live at the peak of a piece; a list of moments is in the order of its nodes."""
    if isinstance(piece, Head):
        return _head_peak(piece)
    if piece.option.op is Op.IDENTITY:
        return 0
    if piece.option.op is Op.CONV:
        out = piece.c_out * piece.resolution_out**2
        return max(piece.c_in * piece.resolution**2 + out, _activated(out, piece.activation))
    return _bottleneck_peak(piece)


def _bottleneck_peak(block: Block) -> int:
    area_in, area_out = block.resolution**2, block.resolution_out**2
    entered, left = block.c_in * area_in, block.c_out * area_out
    wide, narrow = block.mid * area_in, block.mid * area_out
    kept = entered if block.residual else 0
    if block.option.op is Op.INVERTED_RESIDUAL:
        depthwise = [entered + wide, kept + _activated(wide, block.activation), kept + wide + narrow]
    else:
        depthwise = [entered + narrow]
    excite = [kept + moment for moment in _excite_moments(narrow, block.mid, block.squeeze)] if block.squeeze else []
    project = [kept + narrow + left, kept + 2 * left if block.residual else 0]
    return max(*depthwise, kept + _activated(narrow, block.activation), *excite, *project)


def _excite_moments(scaled: int, mid: int, squeeze: int) -> list[int]:
    """Pool, squeeze, its activation, excite, gate, and the multiplication with what was ``scaled``."""
    branch = [mid, mid + squeeze, 2 * squeeze, squeeze + mid, 2 * mid]
    return [scaled + moment for moment in branch] + [2 * scaled + mid]


def _head_peak(head: Head) -> int:
    """Pool, hidden layer with its activation, flatten, classifier."""
    hidden = [head.c_in + head.hidden, _activated(head.hidden, head.activation)] if head.hidden else []
    return max(head.c_in * head.resolution**2 + head.c_in, *hidden, 2 * head.features, head.features + head.classes)


def _activated(numbers: int, activation: Activation) -> int:
    """Input and output of an activation; swish is two nodes, and its product reads both the input and the sigmoid."""
    return numbers * (3 if activation is Activation.SWISH else 2)
