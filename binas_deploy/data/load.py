"""`load_dataset`: images for a space from the cache, a folder or a ``.npz`` file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from binas_deploy.data.base import Dataset, Split, holdout_indices
from binas_deploy.data.cifar10 import load_cifar10
from binas_deploy.data.numpy_file import ImageArrays, read_numpy_file
from binas_deploy.errors import InputError, MismatchError


def load_dataset(
    source: str | Path, *, resolution: int, classes: int | None = None, seed: int = 0, holdout: int = 5000
) -> Dataset:
    """A data set of square images of ``resolution`` px and, where given, of that many ``classes``.

    ``source`` is the text ``cifar10`` (fetched before), an image folder (its images are resized and centre-cropped)
    or a ``.npz`` file (its images must have the resolution). ``holdout`` training images, or a tenth where that is
    fewer, are set aside by ``seed``: always the same ones.

    Raises:
        InputError: no such source, or it is not a data set; ``DocumentError`` names the file that is damaged.
        MismatchError: its classes or its resolution are not those asked for.
        EnvironmentFault: CIFAR-10 is not fetched, or a file cannot be read.
    """
    path = Path(source)
    if source == "cifar10":
        return _from_arrays("cifar10", load_cifar10(), resolution, classes, seed, holdout)
    if path.is_dir():
        return _from_folder(path, resolution, classes, seed, holdout)
    if path.is_file() and path.suffix == ".npz":
        return _from_arrays(path.stem, read_numpy_file(path), resolution, classes, seed, holdout)
    found = "it is a file of another kind" if path.is_file() else "no such data set, folder or file"
    raise InputError(
        f"cannot load images from {str(source)!r}: {found}. Allowed are cifar10, a folder with train/<class>/ and "
        "test/<class>/ images, or a .npz file."
    )


def _from_arrays(
    name: str, arrays: ImageArrays, resolution: int, classes: int | None, seed: int, holdout: int
) -> Dataset:
    _require_classes(name, arrays.classes, classes)
    height, width = arrays.train.images.shape[2:]
    if (height, width) != (resolution, resolution):
        raise MismatchError(
            f"{name}: images are {width} x {height} px, but {resolution} x {resolution} px are asked for. "
            "Use a space of that input resolution, or an image folder, whose images are resized."
        )
    train, held = holdout_indices(len(arrays.train), holdout, seed)
    return Dataset.build(name, arrays.classes, _take(arrays.train, train), _take(arrays.train, held), arrays.test)


def _from_folder(root: Path, resolution: int, classes: int | None, seed: int, holdout: int) -> Dataset:
    from binas_deploy.data.folder import list_image_folder

    found = list_image_folder(root)
    _require_classes(str(root), found.classes, classes)
    train, held = holdout_indices(len(found.train.paths), holdout, seed)
    splits = [found.train.decode(resolution, order.tolist()) for order in (train, held)]
    return Dataset.build(root.resolve().name, found.classes, splits[0], splits[1], found.test.decode(resolution))


def _take(split: Split, indices: NDArray[np.int64]) -> Split:
    return Split(split.images[indices], split.labels[indices])


def _require_classes(name: str, found: tuple[str, ...], asked: int | None) -> None:
    if asked is not None and len(found) != asked:
        listed = ", ".join(found[:10]) + (", ..." if len(found) > 10 else "")
        raise MismatchError(
            f"{name}: has {len(found)} classes ({listed}), but {asked} are asked for. "
            "Use a space with as many classes as the images have."
        )
