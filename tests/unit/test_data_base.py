"""Splits, statistics, normalising, the held-out images."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from binas_deploy.data.base import Dataset, Split, channel_statistics, holdout_indices, normalise
from binas_deploy.errors import InputError

HELD_OF_SEED_0 = [25556, 20554, 16026, 47310, 38162, 6037]


def split(count: int, seed: int, size: int = 4) -> Split:
    rng = np.random.default_rng(seed)
    return Split(rng.integers(0, 256, (count, 3, size, size), np.uint8), rng.integers(0, 2, count))


def test_normalise_is_the_formula() -> None:
    images = split(5, 0).images
    mean, std = (0.5, 0.25, 0.1), (0.2, 0.3, 0.4)
    expected = np.stack([(images[:, c] / 255 - mean[c]) / std[c] for c in range(3)], axis=1)
    found = normalise(images, mean, std)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_normalised_training_images_have_mean_zero_and_deviation_one() -> None:
    images = split(40, 1).images
    found = normalise(images, *channel_statistics(images)).astype(np.float64)
    np.testing.assert_allclose(found.mean(axis=(0, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(found.std(axis=(0, 2, 3)), 1, atol=1e-5)


def test_normalise_refuses_other_channels() -> None:
    with pytest.raises(InputError, match="1 means"):
        normalise(split(2, 0).images, (0.5,), (0.5,))


@given(st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_statistics_are_those_of_numpy(count: int, seed: int) -> None:
    images = split(count, seed).images
    mean, std = channel_statistics(images)
    np.testing.assert_allclose(mean, (images / 255).mean(axis=(0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(std, (images / 255).std(axis=(0, 2, 3)), rtol=1e-9)


def test_statistics_of_many_images_are_those_of_all_chunks() -> None:
    images = split(5000, 2, size=2).images
    np.testing.assert_allclose(channel_statistics(images)[0], (images / 255).mean(axis=(0, 2, 3)), rtol=1e-12)


def test_a_constant_channel_can_be_normalised() -> None:
    images = np.full((2, 3, 4, 4), 7, np.uint8)
    found = normalise(images, *channel_statistics(images))
    np.testing.assert_allclose(found, 0, atol=1e-5)


@given(st.integers(2, 3000), st.integers(1, 6000), st.integers(0, 2**64))
def test_held_out_images_are_disjoint_complete_and_the_same_every_time(count: int, holdout: int, seed: int) -> None:
    train, held = holdout_indices(count, holdout, seed)
    assert sorted([*train.tolist(), *held.tolist()]) == list(range(count))
    assert len(held) == min(holdout, max(1, count // 10))
    again = holdout_indices(count, holdout, seed)
    assert np.array_equal(train, again[0])
    assert np.array_equal(held, again[1])


def test_held_out_images_are_these_on_every_machine_and_numpy() -> None:
    assert holdout_indices(50_000, 5000, 0)[1][:6].tolist() == HELD_OF_SEED_0
    assert len(holdout_indices(50_000, 5000, 0)[1]) == 5000


def test_another_seed_holds_out_others() -> None:
    assert not np.array_equal(holdout_indices(100, 10, 0)[1], holdout_indices(100, 10, 1)[1])


@pytest.mark.parametrize(("count", "holdout", "seed"), [(1, 1, 0), (0, 1, 0), (10, 0, 0), (10, -3, 0), (10, 1, -1)])
def test_an_impossible_hold_out_is_refused(count: int, holdout: int, seed: int) -> None:
    with pytest.raises(InputError, match="at least 2 training images"):
        holdout_indices(count, holdout, seed)


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (np.zeros((2, 3, 4, 4), np.float32), np.zeros(2, np.int64)),
        (np.zeros((2, 1, 4, 4), np.uint8), np.zeros(2, np.int64)),
        (np.zeros((3, 4, 4), np.uint8), np.zeros(3, np.int64)),
        (np.zeros((2, 3, 4, 4), np.uint8), np.zeros(3, np.int64)),
        (np.zeros((2, 3, 4, 4), np.uint8), np.zeros(2, np.int32)),
    ],
)
def test_a_malformed_split_is_refused(images: np.ndarray, labels: np.ndarray) -> None:
    with pytest.raises(InputError, match="must be"):
        Split(images, labels)


def test_the_fingerprint_changes_with_anything_in_the_data() -> None:
    train, held, test = split(6, 0), split(2, 1), split(2, 2)
    changed = Split(train.images.copy(), train.labels)
    changed.images[3, 1, 0, 0] ^= 1
    relabelled = Split(train.images, 1 - train.labels)
    sets = [
        Dataset.build("a", ("x", "y"), train, held, test),
        Dataset.build("a", ("x", "z"), train, held, test),
        Dataset.build("a", ("x", "y"), train, test, held),
        Dataset.build("a", ("x", "y"), changed, held, test),
        Dataset.build("a", ("x", "y"), relabelled, held, test),
    ]
    assert len({found.fingerprint for found in sets}) == len(sets)
    assert Dataset.build("b", ("x", "y"), train, held, test).fingerprint == sets[0].fingerprint
    assert len(train) == 6
