"""What the bodies of frames hold: float32 tensors and int64 samples, little-endian, or files."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from binas_deploy.errors import InputError
from binas_deploy.remote.frames import ProtocolError
from binas_deploy.remote.messages import ArrayHead

_FLOAT: Final = np.dtype("<f4")
_NANOSECONDS: Final = np.dtype("<i8")


def packed(arrays: Mapping[str, NDArray[np.float32]]) -> tuple[list[ArrayHead], bytes]:
    """Arrays as a message and its body hold them.

    Raises:
        InputError: one is not float32.
    """
    for name, array in arrays.items():
        if array.dtype != np.float32:
            raise InputError(f"'{name}' is {array.dtype}; devices take and give float32.")
    heads = [ArrayHead(name=name, shape=list(array.shape)) for name, array in arrays.items()]
    return heads, b"".join(np.ascontiguousarray(array, _FLOAT).tobytes() for array in arrays.values())


def unpacked(heads: Sequence[ArrayHead], body: bytes) -> dict[str, NDArray[np.float32]]:
    """The inverse of `packed`.

    Raises:
        ProtocolError: the body is longer or shorter than the shapes say, or a name comes twice.
    """
    sizes = [math.prod(head.shape) for head in heads]
    names = {head.name for head in heads}
    if _FLOAT.itemsize * sum(sizes) != len(body) or len(names) != len(heads):
        raise ProtocolError(f"a body of {len(body)} bytes does not hold the {len(heads)} arrays it should.")
    values = np.frombuffer(body, _FLOAT).astype(np.float32)
    parts = np.split(values, np.cumsum(sizes)[:-1])
    return {head.name: part.reshape(head.shape) for head, part in zip(heads, parts, strict=True)}


def unpacked_parts(sizes: Mapping[str, int], body: bytes) -> dict[str, bytes]:
    """The bytes of each name, which follow one another in ``body``.

    Raises:
        ProtocolError: the body is longer or shorter than that.
    """
    if sum(sizes.values()) != len(body):
        raise ProtocolError(f"a body of {len(body)} bytes does not hold the {len(sizes)} files it should.")
    ends = np.cumsum(list(sizes.values())).tolist()
    return {name: body[end - size : end] for (name, size), end in zip(sizes.items(), ends, strict=True)}


def packed_samples(samples: NDArray[np.int64]) -> bytes:
    """Latencies (n,) in ns as a body."""
    return samples.astype(_NANOSECONDS).tobytes()


def unpacked_samples(body: bytes, count: int | None) -> NDArray[np.int64]:
    """The inverse of `packed_samples`; None takes any number of them, but for none.

    Raises:
        ProtocolError: not ``count`` positive latencies.
    """
    found = np.frombuffer(body[: len(body) // 8 * 8], _NANOSECONDS).astype(np.int64)
    if 8 * found.size != len(body) or found.size == 0 or found.min() < 1 or count not in (None, found.size):
        raise ProtocolError(f"{count or 'some'} latencies expected, found {len(body)} bytes of something else.")
    return found
