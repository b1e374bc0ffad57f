"""What a device runs of a bundle: its stored program, as it stands, and the outputs of every format that runs here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from binas_deploy.adapters.base import Device, Executable, Precision, Program
from binas_deploy.bundle.manifest import MODEL_NAME, Manifest, read_model
from binas_deploy.bundle.parity import FormatOutputs
from binas_deploy.cache import cache_folder
from binas_deploy.steps.inference import outputs_of

ONNX: Final = "onnx"
Floats = NDArray[np.float32]


def own_format(_: Manifest) -> str:
    """The format that the bundle's own device runs."""
    return ONNX


def program_sha256(manifest: Manifest) -> str:
    """SHA-256 (hex) of the file of that format."""
    return manifest.files[MODEL_NAME].sha256


def stored_program(device: Device, bundle: Path, manifest: Manifest) -> Program:
    """The program of that file.

    Raises:
        DocumentError: the file is missing or another than the manifest states.
        DeviceError: the device cannot take it.
    """
    precision = Precision(manifest.asked.precision)
    return device.compile(read_model(bundle, manifest), precision=precision, cache=cache_folder() / "compiled")


@contextmanager
def loaded(device: Device, bundle: Path, manifest: Manifest) -> Iterator[Executable]:
    """The stored program, loaded.

    Raises:
        DocumentError, DeviceError: as `stored_program`, or it cannot be loaded.
    """
    with device.load(stored_program(device, bundle, manifest)) as executable:
        yield executable


def outputs(executable: Executable, manifest: Manifest, inputs: Floats) -> FormatOutputs:
    """What the device's own format gives for ``inputs`` (n, c, r, r).

    Raises:
        NoOutputsError: the device gives none.
        DeviceError: it fails, or gives something of another shape.
    """
    found = outputs_of(executable, inputs, batch=manifest.asked.batch, classes=len(manifest.labels))
    return FormatOutputs(own_format(manifest), manifest.asked.precision, found)


def other_formats(_bundle: Path, _manifest: Manifest, _inputs: Floats) -> tuple[FormatOutputs, ...]:
    """What the bundle's further formats give, as far as their runtimes are installed here."""
    return ()
