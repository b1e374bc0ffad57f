"""Inputs and outputs as files: NumPy's ``.npy``, or raw little-endian float32 in C order."""

from __future__ import annotations

import io
from typing import Final

import numpy as np
from numpy.typing import NDArray

from binas_deploy.errors import DeviceError

_RAW: Final = np.dtype("<f4")


def packed(array: NDArray[np.float32], arrays: str) -> bytes:
    """The bytes of a file; ``arrays`` is 'npy' or 'raw'."""
    if arrays == "raw":
        return np.ascontiguousarray(array, _RAW).tobytes()
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


def unpacked(payload: bytes, arrays: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """The inverse of `packed`: an array of ``shape``.

    Raises:
        DeviceError: no such file, or an array of another shape or of no numbers.
    """
    try:
        flat = np.frombuffer(payload, _RAW) if arrays == "raw" else np.load(io.BytesIO(payload), allow_pickle=False)
        return np.asarray(flat, np.float32).reshape(shape)
    except (ValueError, TypeError, EOFError) as error:
        raise DeviceError(
            f"the file of outputs is no {arrays} file of {shape} float32 numbers ({len(payload)} bytes): {error}"
        ) from error
