"""What makes int8 networks of float ones: the protocol, and the check of what it is given."""

from __future__ import annotations

from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from binas_deploy.errors import InputError
from binas_deploy.model import OnnxModel

Images = NDArray[np.float32]
MOST_IMAGES: Final = 10_000


class Quantiser(Protocol):
    """Static quantisation: int8 weights by channel, int8 activations whose ranges come from a few inputs."""

    def version(self) -> str:
        """Of the library that does it. Raises MissingExtraError where it is not installed."""
        ...

    def quantise(self, model: OnnxModel, images: Images, *, timing_only: bool = False) -> OnnxModel:
        """``model`` with QuantizeLinear and DequantizeLinear, and ranges by ``images`` (n, c, r, r).

        The same arguments give the same bytes. ``timing_only``: what makes outputs better and calls no slower or
        quicker may be left out.

        Raises:
            InputError: no images, or they do not fit the network.
            MissingExtraError, DeviceError: the library is not installed, or fails.
        """
        ...


def checked_images(model: OnnxModel, images: Images) -> Images:
    """``images`` as they are, if a network can be calibrated with them.

    Raises:
        InputError: none or too many, another shape or type, values that are not finite, or nothing but one value.
    """
    shape = model.input_shape[1:]
    if not isinstance(images, np.ndarray) or images.dtype != np.float32 or images.shape[1:] != shape:
        found = f"{images.dtype} {images.shape}" if isinstance(images, np.ndarray) else type(images).__name__
        raise InputError(f"calibration inputs must be float32 of shape (n, {', '.join(map(str, shape))}), not {found}.")
    if not 1 <= len(images) <= MOST_IMAGES:
        raise InputError(f"{len(images)} calibration inputs: give from 1 to {MOST_IMAGES}; 300 are usual.")
    if not np.isfinite(images).all():
        raise InputError("calibration inputs hold values that are not finite: no range can be told from them.")
    if images.min() == images.max():
        raise InputError(f"calibration inputs are all {images.min():g}: no range can be told from them.")
    return np.ascontiguousarray(images)
