"""A data set from a folder of images: ``train/<class>/*.png`` and ``test/<class>/...`` (or ``val/<class>/...``)."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from binas_deploy.data.base import Images, Split
from binas_deploy.data.picture import decode_picture
from binas_deploy.errors import EnvironmentFault, InputError

SUFFIXES: Final = (".png", ".jpg", ".jpeg")
_MAX_BYTES: Final = 16 * 2**30


@dataclass(frozen=True)
class Listing:
    """The image files of one split, by class and then by name, and the number of each one's class."""

    paths: tuple[Path, ...]
    labels: tuple[int, ...]

    def decode(self, resolution: int, order: Sequence[int] | None = None) -> Split:
        """The images, or those numbered ``order``, as RGB of ``resolution`` px: shorter side resized, centre cropped.

        Raises:
            InputError: they would not fit in memory.
            DocumentError: a file is not a whole PNG or JPEG image; it is named.
            EnvironmentFault: a file cannot be read.
        """
        chosen = range(len(self.paths)) if order is None else order
        images = _empty(len(chosen), resolution)

        def fill(place: int) -> None:
            path = self.paths[chosen[place]]
            images[place] = decode_picture(_read(path), resolution, str(path))

        with ThreadPoolExecutor() as pool:  # Pillow decodes and resizes without holding the interpreter's lock
            for _ in pool.map(fill, range(len(chosen))):
                pass
        return Split(images, np.array([self.labels[index] for index in chosen], np.int64))


@dataclass(frozen=True)
class ImageFolder:
    """What is in an image folder, before any image is read."""

    classes: tuple[str, ...]
    train: Listing
    test: Listing


def list_image_folder(root: Path) -> ImageFolder:
    """Classes and files of the folder ``root``; where both ``test`` and ``val`` exist, ``test`` is taken.

    Files with other suffixes and hidden files are passed over.

    Raises:
        InputError: ``train`` or ``test`` is missing, a class has no images, or the two differ in their classes.
        EnvironmentFault: a folder cannot be read.
    """
    test = next((root / name for name in ("test", "val") if (root / name).is_dir()), None)
    if not (root / "train").is_dir() or test is None:
        raise InputError(
            f"{root}: not an image folder: it must hold train/<class>/ and test/<class>/ (or val/<class>/) "
            f"with {', '.join(SUFFIXES)} files."
        )
    classes = _class_names(root / "train")
    if _class_names(test) != classes:
        odd = sorted(set(classes) ^ set(_class_names(test)))
        raise InputError(f"{root}: train and {test.name} must hold the same classes; only one holds: {_few(odd)}.")
    return ImageFolder(classes, _list_split(root / "train", classes), _list_split(test, classes))


def _class_names(split: Path) -> tuple[str, ...]:
    names = tuple(sorted(entry.name for entry in _entries(split) if entry.is_dir()))
    if not names:
        raise InputError(f"{split}: no class folders; put each class's images into a folder of its name.")
    return names


def _list_split(split: Path, classes: Sequence[str]) -> Listing:
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        found = [path for path in _entries(split / name) if path.suffix.lower() in SUFFIXES]
        if not found:
            raise InputError(f"{split / name}: no images; allowed are {', '.join(SUFFIXES)} files in this folder.")
        paths += found
        labels += [label] * len(found)
    return Listing(tuple(paths), tuple(labels))


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise EnvironmentFault(f"cannot read {folder}: {error.strerror or error}.") from error


def _empty(count: int, resolution: int) -> Images:
    size = count * 3 * resolution**2
    if size > _MAX_BYTES:
        raise InputError(
            f"{count} images of {resolution} px take {size / 2**30:.1f} GiB, and images are held in memory, up to "
            f"{_MAX_BYTES / 2**30:.0f} GiB. Use fewer images or a smaller resolution."
        )
    return np.empty((count, 3, resolution, resolution), np.uint8)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise EnvironmentFault(f"cannot read {path}: {error.strerror or error}.") from error


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
