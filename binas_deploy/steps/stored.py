"""What runs of a bundle: its stored program, as it stands, and the outputs of every format that runs here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from binas_deploy.adapters.base import Device, Executable
from binas_deploy.bundle.manifest import ONNX, Manifest
from binas_deploy.bundle.parity import FormatOutputs
from binas_deploy.devices import DeviceSpec
from binas_deploy.errors import DeviceError, MismatchError, MissingExtraError
from binas_deploy.exporters.registry import find_exporter, require_runtime
from binas_deploy.progress import Progress
from binas_deploy.steps.formats import network_program, stored_exporter
from binas_deploy.steps.inference import outputs_of
from binas_deploy.steps.loading import load

Floats = NDArray[np.float32]


@contextmanager
def loaded(device: Device, spec: DeviceSpec, bundle: Path, manifest: Manifest) -> Iterator[Executable]:
    """The program that the device runs of the bundle, loaded.

    Raises:
        DocumentError, DeviceError: as `network_program`, or it cannot be loaded.
    """
    with device.load(network_program(device, spec, bundle, manifest)) as executable:
        yield executable


def own_format(spec: DeviceSpec, manifest: Manifest) -> str:
    """The format that the device runs of the bundle; ONNX where it compiles that."""
    exporter = stored_exporter(spec, manifest)
    return exporter.name if exporter is not None else ONNX


def outputs(executable: Executable, spec: DeviceSpec, manifest: Manifest, inputs: Floats) -> FormatOutputs:
    """What the device's own format gives for ``inputs`` (n, c, r, r).

    Raises:
        NoOutputsError: the device gives none.
        DeviceError: it fails, or gives something of another shape.
    """
    found = outputs_of(executable, inputs, batch=manifest.asked.batch, classes=len(manifest.labels))
    return FormatOutputs(own_format(spec, manifest), manifest.asked.precision, found)


def other_formats(
    bundle: Path, spec: DeviceSpec, manifest: Manifest, inputs: Floats, progress: Progress
) -> tuple[FormatOutputs, ...]:
    """What the bundle's further formats give, as far as they run here; a note says which do not.

    Raises:
        DocumentError, DeviceError: a format is damaged, or its runtime fails.
    """
    own = own_format(spec, manifest)
    found = (_of_format(name, bundle, manifest, inputs, progress) for name in manifest.formats if name != own)
    return tuple(row for row in found if row is not None)


def _of_format(name: str, bundle: Path, manifest: Manifest, inputs: Floats, progress: Progress) -> FormatOutputs | None:
    try:
        require_runtime(find_exporter(name))
    except (MissingExtraError, DeviceError) as error:
        progress.note(f"format '{name}' is not compared: {error}")
        return None
    try:
        with load(bundle, format=name) as network:
            return FormatOutputs(name, manifest.formats[name].precision, network.outputs(inputs))
    except (MissingExtraError, MismatchError) as error:  # ONNX without its runtime, or machine code of another machine
        progress.note(f"format '{name}' is not compared: {error}")
        return None
