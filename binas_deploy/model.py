"""`OnnxModel`: the only thing that crosses from the network side to the device side."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Final

INPUT_NAME: Final = "input"
OUTPUT_NAME: Final = "output"


@dataclass(frozen=True)
class OnnxModel:
    """A serialised ONNX model with one float32 input and one float32 output of fixed shapes."""

    payload: bytes
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]

    @cached_property
    def sha256(self) -> str:
        """SHA-256 (hex) of the bytes."""
        return hashlib.sha256(self.payload).hexdigest()
