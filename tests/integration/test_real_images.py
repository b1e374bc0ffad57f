"""CIFAR-10 itself, where it has been fetched."""

from __future__ import annotations

import numpy as np
import pytest

from binas_deploy.data.base import Dataset, normalise
from binas_deploy.data.cifar10 import cifar10_path
from binas_deploy.data.load import load_dataset

pytestmark = [
    pytest.mark.real_images,
    pytest.mark.skipif(
        not cifar10_path().exists(),
        reason=f"no {cifar10_path()}; fetch it with: binas-deploy data fetch cifar10",
    ),
]


@pytest.fixture(scope="module")
def images() -> Dataset:
    return load_dataset("cifar10", resolution=32, classes=10)


def test_counts_and_shapes(images: Dataset) -> None:
    assert (len(images.train), len(images.holdout), len(images.test)) == (45_000, 5000, 10_000)
    assert {split.images.shape[1:] for split in (images.train, images.holdout, images.test)} == {(3, 32, 32)}
    assert images.classes[3] == "cat"


def test_labels_are_the_published_ones(images: Dataset) -> None:
    assert images.test.labels[:10].tolist() == [3, 8, 8, 0, 6, 6, 1, 6, 3, 1]
    assert np.bincount(images.test.labels).tolist() == [1000] * 10
    assert np.bincount(np.concatenate([images.train.labels, images.holdout.labels])).tolist() == [5000] * 10


def test_no_image_is_in_two_splits(images: Dataset) -> None:
    splits = [{image.tobytes() for image in split.images} for split in (images.train, images.holdout, images.test)]
    assert [len(split) for split in splits] == [45_000, 5000, 10_000]
    assert len(set.union(*splits)) == 60_000


def test_loading_twice_gives_the_same(images: Dataset) -> None:
    assert load_dataset("cifar10", resolution=32).fingerprint == images.fingerprint


def test_held_out_images_look_like_the_training_images(images: Dataset) -> None:
    held = normalise(images.holdout.images, images.mean, images.std)
    assert abs(float(held.mean())) < 0.02
    assert abs(float(held.std()) - 1) < 0.02
