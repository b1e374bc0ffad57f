"""int8 networks to be timed: with random weights, and ranges by one random input.

Neither changes how long a call takes, so tables need no images. A network that is quantised already stays as it is. As
libraries take seconds for one, what they made is kept by the hash of all that it depends on.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import numpy as np

from binas_deploy.adapters.base import Device, Precision, TakesQuantised
from binas_deploy.documents import write_atomic
from binas_deploy.model import OnnxModel
from binas_deploy.quantised import silent_on_precision
from binas_deploy.quantisers import quantiser
from binas_deploy.quantisers.base import Images

_SEED: Final = 20_261_122
_FOLDER: Final = "quantised"
_RECIPE: Final = "2"
"""Goes into the name of what is kept: to be changed with the way that networks are quantised here."""


def as_compiled(device: Device, model: OnnxModel, precision: Precision, cache: Path) -> OnnxModel:
    """``model`` as ``device`` is to compile it in ``precision``: quantised where that is not the device's own business.

    Raises:
        MissingExtraError: the library that quantises for this device is not installed.
        DeviceError: it fails.
    """
    wanted = device.quantiser if precision is Precision.INT8 and isinstance(device, TakesQuantised) else ""
    return quantised_for_timing(model, wanted, cache) if wanted and silent_on_precision(model) else model


def quantised_for_timing(model: OnnxModel, by: str, cache: Path) -> OnnxModel:
    """``model`` quantised by the quantiser called ``by``, or what was kept of that in ``cache``.

    Raises:
        InputError: no such quantiser.
        MissingExtraError, DeviceError: its library is not installed, or fails.
    """
    maker = quantiser(by)
    text = f"{_RECIPE} {by} {maker.version()} {model.sha256}"
    path = cache / _FOLDER / f"{hashlib.sha256(text.encode()).hexdigest()}.onnx"
    if path.is_file():
        return OnnxModel(path.read_bytes(), model.input_shape, model.output_shape)
    made = maker.quantise(model, random_image(model), timing_only=True)
    write_atomic(path, made.payload)
    return made


def random_image(model: OnnxModel) -> Images:
    """One input (1, c, r, r), the same each time."""
    return np.random.default_rng(_SEED).standard_normal((1, *model.input_shape[1:]), dtype=np.float32)
