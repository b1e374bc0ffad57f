"""What several of these tests begin with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest


@pytest.fixture(scope="session")
def write_images() -> Callable[[Path, int], None]:
    """Writes an .npz of so many images to train on and 100 to test on, 8x8, of 5 classes told by brightness."""

    def write(path: Path, train: int) -> None:
        rng = np.random.default_rng(0)
        arrays: dict[str, Any] = {}
        for split, count in (("train", train), ("test", 100)):
            labels = np.arange(count) % 5
            noise = rng.integers(0, 128, (count, 8, 8, 3))
            arrays[f"{split}_images"] = (noise + 25 * labels[:, None, None, None]).astype(np.uint8)
            arrays[f"{split}_labels"] = labels.astype(np.int64)
        np.savez(path, **arrays)

    return write
