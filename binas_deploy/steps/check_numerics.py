"""Whether a bundle is sound before its latency is looked at: its files, and its outputs on its device."""

from __future__ import annotations

from pathlib import Path

from binas_deploy.adapters.base import Precision
from binas_deploy.bundle.manifest import VECTORS_NAME, Manifest, check_files, load_vectors, read_model
from binas_deploy.bundle.verification import Parity, Verdict
from binas_deploy.cache import cache_folder
from binas_deploy.devices import DeviceSpec, open_device
from binas_deploy.errors import DocumentError, NoOutputsError
from binas_deploy.gate.report import Numerics
from binas_deploy.steps.inference import outputs_of


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
    model, (inputs, outputs) = read_model(folder, manifest), load_vectors(folder)
    if (inputs.shape[1:], outputs.shape[1:]) != (manifest.input.shape[1:], manifest.output.shape[1:]):
        raise DocumentError(
            f"{folder / VECTORS_NAME}: inputs or outputs are not of the network's shapes. Export again."
        )
    device = open_device(spec)
    program = device.compile(model, precision=Precision(spec.precision), cache=cache_folder() / "compiled")
    tolerance = Parity(1, 0.0, 1.0).tolerance
    try:
        with device.load(program) as network:
            found = outputs_of(network, inputs, batch=manifest.asked.batch, classes=len(manifest.labels))
    except NoOutputsError as error:
        return Numerics(len(inputs), None, tolerance, holds=True, unchecked=str(error))
    parity = Parity.of(found, outputs)
    return Numerics(parity.vectors, parity.relative, parity.tolerance, parity.verdict is Verdict.PASS)


def numerics_fault(numerics: Numerics) -> str:
    """What is wrong with them, '' where nothing is. Comparing nothing shows nothing."""
    if numerics.unchecked or numerics.holds:
        return ""
    if not numerics.vectors:
        return "numerics: the bundle has no test vectors, so nothing was compared; export it again"
    if numerics.relative is None:
        return "numerics: the device gave values that are not finite, or any where all stored outputs are zero"
    return (
        f"numerics: outputs differ by {numerics.relative:.2g} of the largest one, at most {numerics.tolerance:g} is "
        "allowed"
    )
