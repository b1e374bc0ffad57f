"""Images that a caller gives, in whatever form they are at hand, as a network takes them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from binas_deploy.data.base import Images
from binas_deploy.data.picture import decode_picture, fit_picture
from binas_deploy.documents import os_reason
from binas_deploy.errors import DocumentError, EnvironmentFault, InputError

OneImage: TypeAlias = str | os.PathLike[str] | Image.Image | NDArray[np.uint8]
"""A path of a PNG or JPEG, a picture of Pillow, or RGB pixels of shape (h, w, 3)."""
GivenImages: TypeAlias = OneImage | Sequence[OneImage]
"""One, several, or pixels of shape (n, h, w, 3)."""
_ALLOWED: Final = (
    "Give a path of a PNG or JPEG, a PIL image, a uint8 array of shape (h, w, 3) or (n, h, w, 3), or a list of those."
)
_BROKEN: Final = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)


def images_of(given: GivenImages, resolution: int) -> Images:
    """What was given as uint8 of shape (n, 3, resolution, resolution), resized as training data is.

    Raises:
        InputError: something else than images, or no such file.
        DocumentError: a picture that is damaged or of another kind.
        EnvironmentFault: a file cannot be read.
    """
    if isinstance(given, np.ndarray) and given.ndim == 4:
        rows: Sequence[Any] = list(given)
    elif isinstance(given, (str, os.PathLike, Image.Image, np.ndarray)):
        rows = [given]
    elif isinstance(given, Sequence):
        rows = given
    else:
        raise InputError(f"images: found {type(given).__name__}. {_ALLOWED}")
    found = [_one(row, resolution, f"image {index}") for index, row in enumerate(rows)]
    return np.stack(found) if found else np.zeros((0, 3, resolution, resolution), np.uint8)


def _one(given: Any, resolution: int, name: str) -> Images:
    if isinstance(given, (str, os.PathLike)):
        return decode_picture(_read(Path(given)), resolution, str(given))
    if isinstance(given, Image.Image):
        return _fitted(given, resolution, name)
    if not isinstance(given, np.ndarray):
        raise InputError(f"{name}: found {type(given).__name__}. {_ALLOWED}")
    if given.dtype != np.uint8 or given.ndim != 3 or given.shape[2] != 3 or 0 in given.shape:
        raise InputError(f"{name}: found an array of {given.dtype} and shape {given.shape}. {_ALLOWED}")
    return _fitted(Image.fromarray(np.ascontiguousarray(given)), resolution, name)


def _fitted(picture: Image.Image, resolution: int, name: str) -> Images:
    try:
        return fit_picture(picture, resolution)
    except _BROKEN as error:
        raise DocumentError(f"{name}: not a whole picture of 8 bits per channel ({error}).") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such image.") from error
    except OSError as error:
        raise EnvironmentFault(f"cannot read {path}: {os_reason(error)}") from error
