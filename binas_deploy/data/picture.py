"""The only file that decodes and resizes pictures: bytes of a PNG or JPEG, or pixels, to arrays."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Final

import numpy as np
from PIL import Image, ImageOps

from binas_deploy.data.base import Images
from binas_deploy.errors import DocumentError

_MODES: Final = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"})
_BROKEN: Final = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)


def decode_picture(payload: bytes, resolution: int, name: str) -> Images:
    """A PNG or JPEG as RGB, shape (3, resolution, resolution): upright, shorter side resized, centre cropped.

    Raises:
        DocumentError: not a whole picture of 8 bits per channel; ``name`` is named.
    """
    try:
        with Image.open(io.BytesIO(payload), formats=("PNG", "JPEG")) as picture:
            return fit_picture(picture, resolution)
    except _BROKEN as error:
        raise DocumentError(f"{name}: not a whole PNG or JPEG image ({error}). Replace it or remove it.") from error


def fit_picture(picture: Image.Image, resolution: int) -> Images:
    """A picture as RGB, shape (3, resolution, resolution): upright, shorter side resized, centre cropped.

    Raises:
        ValueError: its pixels are of more than 8 bits per channel.
        OSError, SyntaxError, EOFError: of a picture that is read only now, and is damaged.
    """
    upright = _rgb(ImageOps.exif_transpose(picture))
    fitted = ImageOps.fit(upright, (resolution, resolution), Image.Resampling.BILINEAR)
    return np.ascontiguousarray(np.asarray(fitted, np.uint8).transpose(2, 0, 1))


def decode_rows(payload: bytes, count: int, side: int, name: str) -> Images:
    """A PNG that holds one square RGB image of ``side`` px in each of its ``count`` rows: (count, 3, side, side).

    Raises:
        DocumentError: not a whole PNG, or of another size or kind; ``name`` is named.
    """
    try:
        with Image.open(io.BytesIO(payload), formats=("PNG",)) as picture:
            if picture.size != (side * side, count) or picture.mode != "RGB":
                raise ValueError(f"found {picture.mode} of {picture.size}")
            rows = np.asarray(picture)
    except _BROKEN as error:
        raise DocumentError(f"{name}: expected {side * side} x {count} RGB pixels ({error}).") from error
    return np.ascontiguousarray(rows.reshape(count, side, side, 3).transpose(0, 3, 1, 2))


def _rgb(picture: Image.Image) -> Image.Image:
    if picture.mode not in _MODES:
        raise ValueError(f"pixels of type {picture.mode}; 8 bits per channel are needed")
    if "transparency" in picture.info:  # a palette with transparency warns unless it goes by way of RGBA
        picture = picture.convert("RGBA")
    return picture.convert("RGB")
