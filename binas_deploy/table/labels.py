"""What a person calls the pieces of a space, and where they can stand in a network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from binas_deploy.block import Block, Head, Piece, block_text
from binas_deploy.space import SearchSpace
from binas_deploy.table.parts import is_skip, measured_pieces


@dataclass(frozen=True)
class Label:
    """``text``: the block string (two pieces may share it), 'stem ...' or 'head'.

    ``places``: (stage, position), both from 0, wherever the piece can stand; none for stem and head.
    """

    key: str
    text: str
    places: tuple[tuple[int, int], ...]

    def to_json(self) -> dict[str, Any]:
        """The document form."""
        return asdict(self)


def labels(space: SearchSpace) -> tuple[Label, ...]:
    """Of every piece that a table holds, in the table's order."""
    places: dict[str, dict[tuple[int, int], None]] = {}
    for s, j, _, block in option_blocks(space):
        places.setdefault(block.key, {})[(s, j)] = None
    return tuple(
        Label(piece.key, piece_text(space, piece), tuple(places.get(piece.key, ()))) for piece in measured_pieces(space)
    )


def piece_text(space: SearchSpace, piece: Piece) -> str:
    """The text of a `Label`."""
    if isinstance(piece, Head):
        return "head"
    return f"stem {block_text(piece)}" if piece == space.stem else block_text(piece)


def option_blocks(space: SearchSpace) -> Iterator[tuple[int, int, int, Block]]:
    """(stage, position, option, block) of every option that is not a skip, in order."""
    for s, stage in enumerate(space.stages):
        for j, row in enumerate(stage.options):
            for c in range(len(row)):
                block = space.block(s, j, c)
                if not is_skip(block):
                    yield s, j, c, block
