"""Pieces and whole networks as ONNX, with weights that their keys determine.

Weights do not change how fast a network is, as long as its activations stay in range. So what is measured gets random
ones, drawn from a seed that is a hash of the key: any later run measures the same bytes again.
"""

from __future__ import annotations

import hashlib
import json
from typing import Final

import numpy as np

from binas_deploy.block import Piece
from binas_deploy.graph import build_network, build_piece, network_weight_shapes, random_weights, weight_shapes
from binas_deploy.model import OnnxModel
from binas_deploy.space import Architecture, SearchSpace

_KEY_DIGITS: Final = 12


def network_key(space: SearchSpace, arch: Architecture) -> str:
    """Text that names one network of one space, such as ``network-3f2a...``."""
    text = f"{space.fingerprint} {json.dumps(arch.to_json(), sort_keys=True)}"
    return f"network-{hashlib.sha256(text.encode()).hexdigest()[:_KEY_DIGITS]}"


def piece_model(piece: Piece, batch: int) -> OnnxModel:
    """The piece with the random weights of its key."""
    return build_piece(piece, random_weights(weight_shapes(piece), seeded(piece.key)), batch=batch)


def network_model(space: SearchSpace, arch: Architecture, batch: int) -> OnnxModel:
    """The network with the random weights of its key."""
    weights = random_weights(network_weight_shapes(space, arch), seeded(network_key(space, arch)))
    return build_network(space, arch, weights, batch=batch)


def seeded(text: str) -> np.random.Generator:
    """A generator that ``text`` determines."""
    return np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big"))
