"""Running many inputs through a loaded network of fixed batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from binas_deploy.adapters.base import Executable
from binas_deploy.data.base import Split, normalise
from binas_deploy.errors import DeviceError
from binas_deploy.model import INPUT_NAME, OUTPUT_NAME

Floats = NDArray[np.float32]


def outputs_of(executable: Executable, inputs: Floats, *, batch: int, classes: int) -> Floats:
    """Outputs (n, classes) for inputs (n, c, r, r); the last batch is filled up with zeros.

    Raises:
        DeviceError: the device fails, or gives something of another shape.
    """
    found = [np.zeros((0, classes), np.float32)]
    for start in range(0, len(inputs), batch):
        chunk = inputs[start : start + batch]
        outputs = executable.run({INPUT_NAME: _filled(chunk, batch)}).get(OUTPUT_NAME)
        if outputs is None or outputs.shape != (batch, classes):
            shape = "no such output" if outputs is None else f"shape {outputs.shape}"
            raise DeviceError(f"'{OUTPUT_NAME}' of shape {(batch, classes)} expected, the device gave {shape}.")
        found.append(outputs[: len(chunk)])
    return np.concatenate(found)


def count_correct(
    executable: Executable,
    split: Split,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    batch: int,
    classes: int,
    advance: Callable[[int], None],
) -> int:
    """How many images of a split get their label as the largest output; ``advance`` is told of images done.

    Raises:
        DeviceError: the device fails, or gives something of another shape.
    """
    correct = 0
    for start in range(0, len(split), batch):
        images = normalise(split.images[start : start + batch], mean, std)
        outputs = outputs_of(executable, images, batch=batch, classes=classes)
        correct += int(np.sum(outputs.argmax(axis=1) == split.labels[start : start + batch]))
        advance(len(images))
    return correct


def _filled(chunk: Floats, batch: int) -> Floats:
    missing = batch - len(chunk)
    if missing:
        chunk = np.concatenate([chunk, np.zeros((missing, *chunk.shape[1:]), np.float32)])
    return np.ascontiguousarray(chunk)
