"""How much each block of a network loses when it is quantised, and which to keep in fp32 for the whole to lose little.

A network is quantised once. From that, any choice of blocks to keep in fp32 follows at once (`quantised.in_float`), so
that what is judged here is what is shipped. A block's loss is told by quantising it alone. The other way round, keeping
it alone in fp32, tells worse which to keep: of the noise that ONNX Runtime's quantiser made in three networks of
`cifar10`, five blocks in fp32 left 16 to 33 % when chosen by the first, 52 to 57 % by the second; with NNCF both did as
well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from binas_deploy.bundle.sensitivity import BlockLoss
from binas_deploy.estimate import Estimate
from binas_deploy.progress import Progress
from binas_deploy.proportion import paired_difference
from binas_deploy.quantised import compute_nodes, in_float, nodes_of
from binas_deploy.quantisers.base import Images
from binas_deploy.quantisers.running import Floats, logits

SENSITIVITY_IMAGES: Final = 1000
_LARGEST_DB: Final = 200.0
"""Stands for no noise at all."""


@dataclass(frozen=True, eq=False)
class Judge:
    """``images`` (n, c, r, r), ``labels`` (n,) and the ``outputs`` (n, classes) of the network in fp32 for them."""

    images: Images
    labels: NDArray[np.int64]
    outputs: Floats

    @classmethod
    def of(cls, original: ModelProto, images: Images, labels: NDArray[np.int64]) -> Judge:
        """Runs the network in fp32.

        Raises:
            DeviceError: ONNX Runtime fails.
        """
        return cls(images, labels, logits(original, images))

    def first(self, count: int) -> Judge:
        """By the first ``count`` images alone."""
        return Judge(self.images[:count], self.labels[:count], self.outputs[:count])

    @property
    def right(self) -> NDArray[np.bool_]:
        """Which images the network in fp32 gets right."""
        return np.asarray(self.outputs.argmax(axis=1) == self.labels)

    def answers(self, model: ModelProto) -> NDArray[np.bool_]:
        """Which images ``model`` gets right."""
        return np.asarray(logits(model, self.images).argmax(axis=1) == self.labels)

    def loss(self, place: str, block: str, model: ModelProto) -> BlockLoss:
        """What ``model``, with that one block quantised, loses."""
        found = logits(model, self.images)
        drop = paired_difference(self.right, np.asarray(found.argmax(axis=1) == self.labels))
        return BlockLoss(place, block, drop.value, _cosine(found, self.outputs), _snr_db(found, self.outputs))


@dataclass(frozen=True)
class Chosen:
    """``model`` with the blocks at ``kept`` in fp32, its ``drop`` and how many images it gets ``correct``.

    ``whole``: the drop of nothing kept.
    """

    model: ModelProto
    kept: tuple[str, ...]
    drop: Estimate
    correct: int
    whole: Estimate


def block_losses(
    quantised: ModelProto, original: ModelProto, blocks: Sequence[tuple[str, str]], judge: Judge, progress: Progress
) -> tuple[BlockLoss, ...]:
    """The loss by each of ``blocks`` (place, text) quantised alone, those without any weights left out; noisiest first.

    Raises:
        DeviceError: ONNX Runtime fails.
    """
    every = {node.name for node in original.graph.node}
    weighty = {node.name for node in compute_nodes(original)}
    parts = [(place, text, nodes_of(original, [place])) for place, text in blocks]
    losses = []
    with progress.task("sensitivity of each block", len(parts)) as advance:
        for place, text, nodes in parts:
            if nodes & weighty:
                losses.append(judge.loss(place, text, in_float(quantised, original, every - nodes)))
            advance(1)
    return tuple(sorted(losses, key=lambda row: (row.snr_db, row.place)))


def keep_until_within(
    quantised: ModelProto,
    original: ModelProto,
    losses: Sequence[BlockLoss],
    judge: Judge,
    max_drop: float,
    progress: Progress,
) -> Chosen:
    """As few of the noisiest blocks kept in fp32 as bring the drop to at most ``max_drop`` points.

    Where none do, all but the least noisy one: with that in fp32 too, nothing would be left to quantise.

    Raises:
        DeviceError: ONNX Runtime fails.
    """
    places = [loss.place for loss in losses]
    found: list[Chosen] = []
    with progress.task("accuracy in int8, more and more blocks in fp32", len(places)) as advance:
        while not found or (found[-1].drop.value > max_drop and len(found) < len(places)):
            kept = tuple(places[: len(found)])
            model = in_float(quantised, original, nodes_of(original, kept)) if kept else quantised
            right = judge.answers(model)
            drop = paired_difference(judge.right, right)
            found.append(Chosen(model, kept, drop, int(right.sum()), found[0].drop if found else drop))
            advance(1)
    return found[-1]


def _cosine(found: Floats, reference: Floats) -> float:
    """Mean over the images; 1 is the same direction."""
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(reference, axis=1)
    return float(np.mean((found * reference).sum(axis=1) / np.maximum(lengths, np.finfo(np.float32).tiny)))


def _snr_db(found: Floats, reference: Floats) -> float:
    """10 log10 of the reference's power by that of the difference."""
    noise, signal = float(np.square(found - reference).sum()), float(np.square(reference).sum())
    if noise == 0 or signal == 0:
        return _LARGEST_DB if noise == 0 else -_LARGEST_DB
    return float(np.clip(10 * np.log10(signal / noise), -_LARGEST_DB, _LARGEST_DB))
