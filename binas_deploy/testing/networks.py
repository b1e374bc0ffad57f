"""Small networks for testing devices, with every kind of block and activation between them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from binas_deploy.graph import build_network, build_piece, network_weight_shapes, random_weights, weight_shapes
from binas_deploy.model import INPUT_NAME, OnnxModel
from binas_deploy.space import Architecture, SearchSpace
from binas_deploy.space_file import parse_space

_SPACE = """\
format = "binas-deploy/space"
version = 1
name = "conformance"
classes = 7
input = {{ channels = 3, resolution = {resolution} }}
stem = {{ channels = 8, kernel = 3, stride = 2, activation = "hard_swish" }}
head = {{ hidden = 16, activation = "swish" }}

[[stages]]
op = "depthwise_separable"
channels = 8
stride = 1
activation = "relu"
depth = 1
kernel = [3]

[[stages]]
op = "inverted_residual"
channels = {width}
stride = 2
activation = "hard_swish"
depth = [1, 2]
expansion = [2, 3]
kernel = [3, 5]
se_ratio = [0, 0.25]
identity = true

[[stages]]
op = "conv"
channels = {width}
stride = 1
activation = "relu6"
depth = 1
kernel = [1]
"""


def small_space(resolution: int = 16, width: int = 16) -> SearchSpace:
    """A space of 80 networks: ``resolution`` px inputs, ``width`` channels in its last two stages."""
    return parse_space(_SPACE.format(resolution=resolution, width=width), Path("conformance.toml"))


def random_network(space: SearchSpace, arch: Architecture, seed: int, *, batch: int = 1) -> OnnxModel:
    """The network with random weights."""
    weights = random_weights(network_weight_shapes(space, arch), np.random.default_rng(seed))
    return build_network(space, arch, weights, batch=batch)


def every_piece(space: SearchSpace) -> list[OnnxModel]:
    """Each different piece of the largest and the smallest network alone, with random weights."""
    pieces = dict.fromkeys((*space.pieces(space.largest()), *space.pieces(space.smallest())))
    rng = np.random.default_rng(0)
    return [build_piece(piece, random_weights(weight_shapes(piece), rng)) for piece in pieces]


def random_feed(model: OnnxModel, seed: int) -> dict[str, NDArray[np.float32]]:
    """Standard normal input of the model's shape."""
    rng = np.random.default_rng(seed)
    return {INPUT_NAME: rng.standard_normal(model.input_shape, dtype=np.float32)}
