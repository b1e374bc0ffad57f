"""Image arrays in one ``.npz`` file: ``train_images``, ``train_labels``, ``test_images``, ``test_labels``.

Images are uint8, channels first or last; labels are integers from 0. ``classes`` (names) may be there.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from binas_deploy.data.base import Images, Labels, Split
from binas_deploy.documents import write_atomic
from binas_deploy.errors import DocumentError, EnvironmentFault, InputError

KEYS: Final = ("train_images", "train_labels", "test_images", "test_labels")
_CLASSES: Final = "classes"
_MAX_CLASSES: Final = 100_000
_DAMAGE: Final = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    ValueError,
    EOFError,
    KeyError,
    RuntimeError,
    MemoryError,
)


@dataclass(frozen=True, eq=False)
class ImageArrays:
    """All training images and all test images, with the names of their classes."""

    classes: tuple[str, ...]
    train: Split
    test: Split


def read_numpy_file(path: Path) -> ImageArrays:
    """Read and check a ``.npz`` file; no Python objects are ever unpickled.

    Raises:
        InputError: no such file.
        DocumentError: truncated, damaged, or its keys, types, shapes or labels are not those allowed.
        EnvironmentFault: it exists but cannot be read.
    """
    arrays = _read_arrays(path)
    train = Split(_images(path, arrays, "train_images"), _labels(path, arrays, "train"))
    test = Split(_images(path, arrays, "test_images"), _labels(path, arrays, "test"))
    if train.images.shape[1:] != test.images.shape[1:]:
        shapes = f"{train.images.shape[1:]} and {test.images.shape[1:]}"
        raise DocumentError(f"{path}: training and test images differ in shape: {shapes}. Make them equal.")
    classes = _class_names(path, arrays.get(_CLASSES), int(train.labels.max()) + 1)
    highest = max(int(train.labels.max()), int(test.labels.max()))
    if highest >= len(classes):
        raise DocumentError(f"{path}: label {highest} found, but there are {len(classes)} classes, numbered from 0.")
    return ImageArrays(classes, train, test)


def write_numpy_file(path: Path, arrays: ImageArrays) -> None:
    """Write ``arrays`` atomically, uncompressed (loading is then as fast as the disk).

    Raises:
        EnvironmentFault: no permission or no space.
    """
    buffer = io.BytesIO()
    np.savez(
        buffer,
        train_images=arrays.train.images,
        train_labels=arrays.train.labels,
        test_images=arrays.test.images,
        test_labels=arrays.test.labels,
        classes=np.array(arrays.classes),
    )
    write_atomic(path, buffer.getvalue())


def _read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with path.open("rb") as stream:
            return _read_members(path, stream)
    except _DAMAGE as error:
        raise DocumentError(
            f"{path}: not a whole .npz file of plain arrays ({error}); it is truncated, damaged or holds objects. "
            "Write it again with numpy.savez."
        ) from error
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file (images in a .npz file were expected).") from error
    except OSError as error:
        raise EnvironmentFault(f"cannot read {path}: {error.strerror or error}.") from error


def _read_members(path: Path, stream: io.BufferedReader) -> dict[str, NDArray[Any]]:
    archive = np.load(stream, allow_pickle=False)
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise DocumentError(f"{path}: one array; a .npz file with the keys {', '.join(KEYS)} was expected.")
    with archive:
        missing = [key for key in KEYS if key not in archive.files]
        if missing:
            raise DocumentError(
                f"{path}: keys {', '.join(missing)} are missing, found {', '.join(archive.files) or 'none'}. "
                f"Needed are {', '.join(KEYS)}."
            )
        arrays: dict[str, NDArray[Any]] = {key: archive[key] for key in (*KEYS, _CLASSES) if key in archive.files}
    foreign = [key for key, array in arrays.items() if not isinstance(array, np.ndarray)]
    if foreign:  # NumPy gives the bytes of members that do not start as an array does
        raise DocumentError(f"{path}: {', '.join(foreign)}: no NumPy array. Write the file again with numpy.savez.")
    return arrays


def _images(path: Path, arrays: Mapping[str, NDArray[Any]], key: str) -> Images:
    array = arrays[key]
    shape = array.shape
    if array.dtype != np.uint8 or array.ndim != 4 or min(shape) < 1 or (shape[1] == 3) == (shape[3] == 3):
        raise DocumentError(
            f"{path}: {key} is {array.dtype} {shape}; allowed is uint8 of shape (n, 3, height, width) or "
            "(n, height, width, 3), with at least one image (repeat the channel of grey images three times)."
        )
    return array if shape[1] == 3 else np.ascontiguousarray(array.transpose(0, 3, 1, 2))


def _labels(path: Path, arrays: Mapping[str, NDArray[Any]], split: str) -> Labels:
    labels, count = arrays[f"{split}_labels"], len(arrays[f"{split}_images"])
    if not np.issubdtype(labels.dtype, np.integer) or labels.shape != (count,):
        raise DocumentError(
            f"{path}: {split}_labels is {labels.dtype} {labels.shape}; allowed are integers of shape ({count},), "
            "one for each image."
        )
    if labels.min() < 0 or labels.max() >= _MAX_CLASSES:
        found = f"{labels.min()} to {labels.max()}"
        raise DocumentError(f"{path}: {split}_labels holds {found}; allowed are 0 to {_MAX_CLASSES - 1}.")
    return labels.astype(np.int64)


def _class_names(path: Path, names: NDArray[Any] | None, count: int) -> tuple[str, ...]:
    if names is None:
        return tuple(map(str, range(count)))
    if names.dtype.kind != "U" or names.ndim != 1:
        raise DocumentError(f"{path}: {_CLASSES} is {names.dtype} {names.shape}; a list of text was expected.")
    return tuple(map(str, names))
