"""Search spaces and their networks.

A space is a stem, stages, and a head. A stage repeats one kind of block ``depth`` times and each of
its positions has a list of `Option`; the stride sits in the first. A network (`Architecture`) is a
depth for each stage and one option for each of its blocks. Space files are read by `load_space` in
``space_file``.
"""

from __future__ import annotations

import ast
import hashlib
import json
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import numpy as np

from binas_deploy.block import Activation, Block, Head, Option, Piece, block_text, parse_block_text
from binas_deploy.documents import shown
from binas_deploy.errors import InputError

LONGEST_TEXT: Final = 100_000
"""Characters of a network as text: twice what the deepest of a space of 32 stages, 32 blocks each, needs."""
_BEYOND: Final = 10**9


@dataclass(frozen=True)
class Architecture:
    """One network: ``depths[s]`` blocks in stage s, the j-th with option ``options[s][j]`` of its position."""

    depths: tuple[int, ...]
    options: tuple[tuple[int, ...], ...]

    def to_json(self) -> dict[str, Any]:
        """The tool's own JSON form."""
        return {"depths": list(self.depths), "options": [list(row) for row in self.options]}


@dataclass(frozen=True)
class Stage:
    """Blocks of one width: allowed ``depths`` ascending; ``options`` of each position of the deepest."""

    options: tuple[tuple[Option, ...], ...]
    depths: tuple[int, ...]
    channels: int
    stride: int
    activation: Activation

    @property
    def max_depth(self) -> int:
        """Blocks of the deepest variant."""
        return self.depths[-1]

    @property
    def elastic(self) -> bool:
        """Whether there is anything to choose."""
        return len(self.depths) > 1 or any(len(row) > 1 for row in self.options)


@dataclass(frozen=True)
class SearchSpace:
    """All networks that a supernet holds. ``resolution`` in px (square input); ``source`` is the file's text."""

    name: str
    in_channels: int
    resolution: int
    classes: int
    stem: Block
    stages: tuple[Stage, ...]
    head: Head
    source: str = field(default="", compare=False, repr=False)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one input."""
        return (self.in_channels, self.resolution, self.resolution)

    @property
    def depths(self) -> tuple[tuple[int, ...], ...]:
        """The allowed depths of each stage, ascending."""
        return tuple(stage.depths for stage in self.stages)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of everything that decides which networks exist; the name is left out."""
        rows = [self.stem.key, self.head.key]
        for index, stage in enumerate(self.stages):
            rows.append(f"stage{index} depths={stage.depths}")
            rows += [self.block(index, j, c).key for j, row in enumerate(stage.options) for c in range(len(row))]
        return hashlib.sha256("\n".join(rows).encode()).hexdigest()

    @property
    def size(self) -> int:
        """How many networks there are (inactive positions not counted)."""
        return math.prod(
            sum(math.prod(len(row) for row in stage.options[:depth]) for depth in stage.depths) for stage in self.stages
        )

    def block(self, stage: int, position: int, option: int) -> Block:
        """The block at (stage, position) with the option of that index."""
        here = self.stages[stage]
        c_in, resolution = self._inputs[stage]
        if position == 0:
            return Block(here.options[0][option], c_in, here.channels, resolution, here.stride, here.activation)
        after = (resolution - 1) // here.stride + 1
        return Block(here.options[position][option], here.channels, here.channels, after, 1, here.activation)

    @cached_property
    def _inputs(self) -> tuple[tuple[int, int], ...]:
        """(channels, resolution) that each stage receives."""
        rows, channels, resolution = [], self.stem.c_out, self.stem.resolution_out
        for stage in self.stages:
            rows.append((channels, resolution))
            channels, resolution = stage.channels, (resolution - 1) // stage.stride + 1
        return tuple(rows)

    def pieces(self, arch: Architecture) -> tuple[Piece, ...]:
        """Stem, blocks in order, head: what one network is made of."""
        blocks = [self.block(s, j, c) for s, row in enumerate(arch.options) for j, c in enumerate(row)]
        return (self.stem, *blocks, self.head)

    def blocks(self) -> tuple[Piece, ...]:
        """Every distinct piece of the space (by key), stem first and head last."""
        found: dict[str, Piece] = {self.stem.key: self.stem}
        for s, stage in enumerate(self.stages):
            for j, row in enumerate(stage.options):
                for c in range(len(row)):
                    block = self.block(s, j, c)
                    found.setdefault(block.key, block)
        found[self.head.key] = self.head
        return tuple(found.values())

    def params(self, arch: Architecture) -> int:
        """Trainable parameters of the network."""
        return sum(piece.params for piece in self.pieces(arch))

    def macs(self, arch: Architecture) -> int:
        """Multiply-accumulates of one input."""
        return sum(piece.macs for piece in self.pieces(arch))

    def sample(self, rng: np.random.Generator) -> Architecture:
        """A random network: each depth uniform, then each option uniform (per decision, not per network)."""
        depths = tuple(int(rng.choice(stage.depths)) for stage in self.stages)
        options = tuple(
            tuple(int(rng.integers(len(row))) for row in stage.options[:depth])
            for stage, depth in zip(self.stages, depths, strict=True)
        )
        return Architecture(depths, options)

    def largest(self) -> Architecture:
        """The deepest network with the option of most MACs at each position."""
        return self._extreme([stage.max_depth for stage in self.stages], sign=1)

    def smallest(self) -> Architecture:
        """The shallowest network with the option of fewest MACs at each position."""
        return self._extreme([stage.depths[0] for stage in self.stages], sign=-1)

    def _extreme(self, depths: list[int], sign: int) -> Architecture:
        def best(s: int, j: int) -> int:
            count = len(self.stages[s].options[j])
            return max(range(count), key=lambda c: (sign * self.block(s, j, c).macs, -c))

        options = tuple(tuple(best(s, j) for j in range(depth)) for s, depth in enumerate(depths))
        return Architecture(tuple(depths), options)

    def networks(self) -> Iterator[Architecture]:
        """Every network, in lexicographic order of (depth, options) stage by stage. For tiny spaces."""
        yield from self._networks_from(0)

    def _networks_from(self, index: int) -> Iterator[Architecture]:
        if index == len(self.stages):
            yield Architecture((), ())
            return
        stage = self.stages[index]
        for depth in stage.depths:
            for row in np.ndindex(*(len(options) for options in stage.options[:depth])):
                for rest in self._networks_from(index + 1):
                    yield Architecture((depth, *rest.depths), (tuple(int(c) for c in row), *rest.options))

    def validate(self, arch: Architecture) -> Architecture:
        """``arch`` itself when it belongs to this space.

        Raises:
            InputError: a depth or an option that this space does not have.
        """
        if len(arch.depths) != len(self.stages) or len(arch.options) != len(self.stages):
            raise InputError(f"the network has {len(arch.depths)} stages, space '{self.name}' has {len(self.stages)}.")
        for s, (stage, depth, row) in enumerate(zip(self.stages, arch.depths, arch.options, strict=True)):
            if depth not in stage.depths or len(row) != depth:
                allowed = ", ".join(map(str, stage.depths))
                raise InputError(f"stages[{s}]: {len(row)} blocks, space '{self.name}' allows depth {allowed}.")
            for j, option in enumerate(row):
                if not 0 <= option < len(stage.options[j]):
                    raise InputError(f"stages[{s}][{j}]: option {option} of {len(stage.options[j])} does not exist.")
        return arch

    def text(self, arch: Architecture) -> str:
        """Block strings of the stages, as a Python-style list of lists; the inverse of `architecture`."""
        rows = [[block_text(self.block(s, j, c)) for j, c in enumerate(row)] for s, row in enumerate(arch.options)]
        return str(rows)

    def architecture(self, text: str) -> Architecture:
        """Read block strings (EfficientNet/timm form) or the tool's own JSON (``{"depths", "options"}``).

        Anyone may have written the text.

        Raises:
            InputError: too long or malformed text, or a network that is not in this space.
        """
        parsed = _parse_literal(text)
        if isinstance(parsed, dict):
            return self._from_indices(parsed)
        if not _are_lists_of_text(parsed):
            raise InputError("a network is a list of stages, each a list of block strings.")
        if len(parsed) != len(self.stages):
            raise InputError(f"the network has {len(parsed)} stages, space '{self.name}' has {len(self.stages)}.")
        options = tuple(
            tuple(self._find_option(s, j, item) for j, item in enumerate(row)) for s, row in enumerate(parsed)
        )
        return self.validate(Architecture(tuple(len(row) for row in options), options))

    def _from_indices(self, parsed: dict[str, Any]) -> Architecture:
        try:
            depths = tuple(_whole(depth) for depth in parsed["depths"])
            options = tuple(tuple(_whole(option) for option in row) for row in parsed["options"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError("a network in JSON has 'depths' and 'options', both lists of integers.") from error
        return self.validate(Architecture(depths, options))

    def _find_option(self, s: int, j: int, text: str) -> int:
        stated = parse_block_text(text)
        stage = self.stages[s]
        if j >= stage.max_depth:
            raise InputError(f"stages[{s}]: more than {stage.max_depth} blocks, the most in space '{self.name}'.")
        for index in range(len(stage.options[j])):
            block = self.block(s, j, index)
            same_place = (block.stride, block.c_out) == (stated.stride, stated.c_out)
            if block.option == stated.option and same_place and block.activation is stated.activation:
                return index
        raise InputError(
            f"stages[{s}][{j}]: {text!r} is not in space '{self.name}'; allowed here are "
            + ", ".join(block_text(self.block(s, j, c)) for c in range(len(stage.options[j])))
        )


def _whole(value: Any) -> int:
    """Raises TypeError for anything that only looks like a whole number (text, 0.7, true) or is none of an index."""
    if type(value) is not int or not 0 <= value < _BEYOND:
        raise TypeError("not a whole number that could be a depth or an option")
    return value


def _are_lists_of_text(parsed: Any) -> bool:
    return isinstance(parsed, list) and all(
        isinstance(row, list) and all(isinstance(item, str) for item in row) for row in parsed
    )


def _parse_literal(text: str) -> Any:
    if len(text) > LONGEST_TEXT:
        raise InputError(f"a network of {len(text)} characters; at most {LONGEST_TEXT} are read.")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        with warnings.catch_warnings():  # Python's parser warns of odd literals
            warnings.simplefilter("ignore")
            return ast.literal_eval(text.strip())
    except (ArithmeticError, ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise InputError(f"cannot read a network from {shown(text)}: {error}") from error
