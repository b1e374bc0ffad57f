"""Whether a bundle is sound before its latency is looked at: its files, and its outputs on its device."""

from __future__ import annotations

from pathlib import Path

from binas_deploy.bundle.manifest import Manifest, check_files
from binas_deploy.bundle.parity import against_stored
from binas_deploy.bundle.tolerances import tolerance_of
from binas_deploy.devices import DeviceSpec, open_device
from binas_deploy.errors import DocumentError, NoOutputsError
from binas_deploy.gate.report import Numerics
from binas_deploy.steps.numerics import read_vectors
from binas_deploy.steps.stored import loaded, own_format
from binas_deploy.steps.stored import outputs as stored_outputs


def files_fault(folder: Path, manifest: Manifest) -> str:
    """What is wrong with a bundle's files; '' where nothing is. Raises EnvironmentFault where one cannot be read."""
    try:
        check_files(folder, manifest)
    except DocumentError as error:
        return str(error)
    return ""


def numerics_of(folder: Path, manifest: Manifest, spec: DeviceSpec) -> Numerics:
    """The device's outputs against the stored ones.

    Raises:
        DocumentError: the model or the vectors are damaged, or of other shapes.
        DeviceError, MissingExtraError: the device or its runtime is absent, or failed.
    """
    inputs, outputs = read_vectors(folder, manifest)
    tolerance = tolerance_of(own_format(spec, manifest), manifest.asked.precision).text
    try:
        with loaded(open_device(spec), spec, folder, manifest) as network:
            found = stored_outputs(network, spec, manifest, inputs)
    except NoOutputsError as error:
        return Numerics(len(inputs), None, tolerance, unchecked=str(error))
    (parity,) = against_stored([found], outputs)
    return Numerics(parity.vectors, parity.relative, tolerance, fault=parity.reason)
