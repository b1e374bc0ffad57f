"""How often test images have judged networks: counted, told, and no reason to lose a figure."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from binas_deploy.bundle.verification import SetUse
from binas_deploy.data.base import Split
from binas_deploy.errors import DocumentError, InputError
from binas_deploy.space import SearchSpace
from binas_deploy.steps.ledger import count_use, ledger_path, split_sha256
from binas_deploy.testing.networks import small_space


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BINAS_DEPLOY_CACHE", str(tmp_path / "cache"))


def images(seed: int = 0) -> Split:
    rng = np.random.default_rng(seed)
    return Split(rng.integers(0, 256, (6, 3, 4, 4), dtype=np.uint8), np.arange(6) % 3)


def sha(number: int) -> str:
    return f"{number:064x}"


def test_distinct_networks_are_counted_once(tiny_space: SearchSpace) -> None:
    found = [count_use(images(), tiny_space, sha(number)) for number in (1, 2, 1, 3)]
    assert [(use.number, use.networks) for use in found] == [(1, 1), (2, 2), (1, 2), (3, 3)]
    assert found[0].note == ""
    assert "this is network 3 of 3 of space tiny that these test images have judged" in found[3].note


def test_other_images_and_other_spaces_are_counted_apart(tiny_space: SearchSpace) -> None:
    count_use(images(), tiny_space, sha(1))
    assert count_use(images(1), tiny_space, sha(2)) == SetUse("tiny", 1, 1)
    assert count_use(images(), small_space(), sha(2)) == SetUse("conformance", 1, 1)
    assert count_use(images(), tiny_space, sha(2)) == SetUse("tiny", 2, 2)
    relabelled = Split(images().images, images().labels[::-1].copy())
    assert split_sha256(relabelled) != split_sha256(images())


def test_many_at_once_lose_no_count(tiny_space: SearchSpace) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: count_use(images(), tiny_space, sha(number)), range(24)))
    assert count_use(images(), tiny_space, sha(0)).networks == 24
    assert multiprocessing.active_children() == []


def test_a_damaged_ledger_is_refused_and_named(tiny_space: SearchSpace) -> None:
    count_use(images(), tiny_space, sha(1))
    path = ledger_path()
    path.write_text(path.read_text().replace("tiny", "tinny").replace(sha(1), sha(9)))
    with pytest.raises(DocumentError, match=r"test-uses\.json"):
        count_use(images(), tiny_space, sha(2))


def test_counts_that_cannot_be_are_refused() -> None:
    with pytest.raises(InputError, match="cannot be"):
        SetUse("tiny", 3, 2)
