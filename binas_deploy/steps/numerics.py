"""What a bundle computes, against what it stores and format against format; where outputs part, at which node."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from binas_deploy.adapters.base import Device, Executable, Precision
from binas_deploy.bundle.manifest import VECTORS_NAME, Manifest, load_vectors, read_model
from binas_deploy.bundle.parity import (
    FormatOutputs,
    Parity,
    ParityNotMeasured,
    against_stored,
    between,
)
from binas_deploy.bundle.tolerances import tolerance_of
from binas_deploy.bundle.verification_parts import Verdict
from binas_deploy.devices import DeviceSpec
from binas_deploy.errors import BinasError, DocumentError, NoOutputsError
from binas_deploy.progress import Progress
from binas_deploy.steps.divergence import RUNTIME, first_divergence
from binas_deploy.steps.stored import other_formats, outputs

Floats = NDArray[np.float32]
_PART: Final = 1e-2
"""Of a value's largest: so far off it counts as parted where a tolerance has no difference of its own (int8)."""


def read_vectors(bundle: Path, manifest: Manifest) -> tuple[Floats, Floats]:
    """The stored inputs (n, c, r, r) and outputs (n, classes).

    Raises:
        DocumentError: they are not of the network's shapes, or damaged.
    """
    inputs, wanted = load_vectors(bundle)
    found, needed = (inputs.shape[1:], wanted.shape[1:]), (manifest.input.shape[1:], manifest.output.shape[1:])
    if found != needed:
        raise DocumentError(
            f"{bundle / VECTORS_NAME}: inputs and outputs of shapes {found}, the network's are {needed}. "
            "Export the bundle again."
        )
    return inputs, wanted


def compared(
    executable: Executable,
    spec: DeviceSpec,
    bundle: Path,
    manifest: Manifest,
    inputs: Floats,
    wanted: Floats,
    progress: Progress,
) -> tuple[Parity | ParityNotMeasured, tuple[Parity, ...]]:
    """(parity of the device's own format, that of the others with the stored outputs and of all with each other).

    Raises:
        DeviceError: a device fails, or gives something of another shape.
    """
    others = other_formats(bundle, spec, manifest, inputs, progress)
    try:
        own: FormatOutputs = outputs(executable, spec, manifest, inputs)
    except NoOutputsError as error:
        return ParityNotMeasured(str(error)), (*against_stored(others, wanted), *between(others))
    (parity,) = against_stored([own], wanted)
    return parity, (*against_stored(others, wanted), *between([own, *others]))


def located(
    parity: Parity | ParityNotMeasured,
    device: Device,
    spec: DeviceSpec,
    bundle: Path,
    manifest: Manifest,
    inputs: Floats,
    progress: Progress,
) -> Parity | ParityNotMeasured:
    """A parity that failed with the node where the device parts; as it was where that cannot be found, with a note."""
    if isinstance(parity, ParityNotMeasured) or parity.verdict is not Verdict.FAIL or parity.vectors == 0:
        return parity
    batch = manifest.asked.batch
    filled = np.resize(inputs, (batch, *inputs.shape[1:]))
    tolerance = tolerance_of(parity.form, parity.precision)
    try:
        found = first_divergence(
            device,
            read_model(bundle, manifest),
            filled,
            precision=Precision(manifest.asked.precision),
            allowed=tolerance.relative or _PART,
            network=(manifest.space, manifest.architecture),
            elsewhere=spec.adapter != RUNTIME,
            progress=progress,
        )
    except BinasError as error:
        progress.note(f"the node where outputs part could not be found: {error}")
        return parity
    return parity.located(found)
