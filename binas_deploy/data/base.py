"""Image data sets as arrays: three disjoint splits, the training split's statistics, and a fingerprint."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from binas_deploy.errors import InputError

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]
_CHUNK: Final = 2048
_SMALLEST_STD: Final = 1 / 255


@dataclass(frozen=True, eq=False)
class Split:
    """``images`` uint8 of shape (n, 3, h, w) and ``labels`` int64 of shape (n,).

    Raises:
        InputError: another type or shape, or not one label for each image.
    """

    images: Images = field(repr=False)
    labels: Labels = field(repr=False)

    def __post_init__(self) -> None:
        if self.images.dtype != np.uint8 or self.images.ndim != 4 or self.images.shape[1] != 3:
            found = f"{self.images.dtype} {self.images.shape}"
            raise InputError(f"images must be uint8 of shape (n, 3, height, width), found {found}.")
        if self.labels.dtype != np.int64 or self.labels.shape != self.images.shape[:1]:
            found = f"{self.labels.dtype} {self.labels.shape}"
            raise InputError(f"labels must be int64 of shape ({len(self.images)},), found {found}.")

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images in three disjoint splits.

    ``train`` is for training and for recalibrating batch norm, ``holdout`` for estimating accuracy and for every
    choice, ``test`` for the final figure only. ``mean`` and ``std`` (one per channel, pixels scaled to 0..1) are those
    of ``train``. ``fingerprint`` is the SHA-256 of the class names and of every split in its order: another seed or
    size of ``holdout`` gives another one.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    holdout: Split
    test: Split
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fingerprint: str

    @classmethod
    def build(cls, name: str, classes: Sequence[str], train: Split, holdout: Split, test: Split) -> Dataset:
        """A data set from its splits; statistics and fingerprint are computed."""
        mean, std = channel_statistics(train.images)
        return cls(name, tuple(classes), train, holdout, test, mean, std, _fingerprint(classes, (train, holdout, test)))


def normalise(images: Images, mean: Sequence[float], std: Sequence[float]) -> NDArray[np.float32]:
    """(images / 255 - mean) / std by channel: uint8 (n, c, h, w) to float32 of the same shape.

    Raises:
        InputError: ``mean`` or ``std`` has not one value for each channel.
    """
    if images.ndim != 4 or not images.shape[1] == len(mean) == len(std):
        raise InputError(
            f"cannot normalise images of shape {images.shape} with {len(mean)} means and {len(std)} deviations: "
            "one of each is needed for every channel, and the shape must be (n, channels, height, width)."
        )
    scaled = images.astype(np.float32)
    scaled /= np.float32(255)
    scaled -= np.asarray(mean, np.float32)[:, None, None]
    scaled /= np.asarray(std, np.float32)[:, None, None]
    return scaled


def holdout_indices(count: int, holdout: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which of ``count`` training images are trained on and which are held out: (train, held), disjoint, shuffled.

    Held out are ``holdout`` images, or a tenth (at least one) where that is fewer. The order is that of one raw
    64-bit PCG64 number per image: bit streams are what NumPy promises to keep between versions, shuffles are not.

    Raises:
        InputError: fewer than two images, a ``holdout`` below one, or a negative seed.
    """
    if count < 2 or holdout < 1 or seed < 0:
        raise InputError(
            f"cannot hold out {holdout} of {count} training images with seed {seed}: "
            "at least 2 training images, 1 held-out image and a seed of 0 or more are needed."
        )
    order = np.argsort(np.random.PCG64(seed).random_raw(count), kind="stable").astype(np.int64)
    held = min(holdout, max(1, count // 10))
    return order[held:], order[:held]


def channel_statistics(images: Images) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(mean, standard deviation) of each channel, pixels scaled to 0..1; from exact integer counts.

    A channel with less than one grey level of deviation is given one, so that normalising never divides by zero.
    """
    counts = np.stack([_histogram(images, channel) for channel in range(images.shape[1])])
    levels = np.arange(256) / 255
    share = counts / counts.sum(axis=1, keepdims=True)
    mean = share @ levels
    std = np.sqrt((share * (levels - mean[:, None]) ** 2).sum(axis=1))
    return tuple(map(float, mean)), tuple(max(float(value), _SMALLEST_STD) for value in std)


def _histogram(images: Images, channel: int) -> NDArray[np.int64]:
    total = np.zeros(256, np.int64)
    for start in range(0, len(images), _CHUNK):  # bincount widens its input eightfold
        total += np.bincount(images[start : start + _CHUNK, channel].ravel(), minlength=256)
    return total


def _fingerprint(classes: Sequence[str], splits: Sequence[Split]) -> str:
    hasher = hashlib.sha256("\0".join(classes).encode())
    for split in splits:
        hasher.update(repr(split.images.shape).encode())
        hasher.update(np.ascontiguousarray(split.labels, dtype="<i8").data)
        hasher.update(np.ascontiguousarray(split.images).data)
    return hasher.hexdigest()
