"""Verify a bundle on its device: files, parity, latency against budget and prediction, accuracy on the test set."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final, Literal

from binas_deploy.adapters.base import Device, Executable, Precision
from binas_deploy.bundle.manifest import (
    VECTORS_NAME,
    VERIFICATION_NAME,
    Manifest,
    check_files,
    load_vectors,
    read_model,
)
from binas_deploy.bundle.verification import (
    Accuracy,
    AccuracyNotMeasured,
    Latency,
    Parity,
    ParityNotMeasured,
    Verdict,
    VerificationReport,
)
from binas_deploy.conditions import Conditions
from binas_deploy.data.base import Dataset
from binas_deploy.devices import DeviceSpec, device_conditions, load_device_spec, open_device
from binas_deploy.documents import timestamp
from binas_deploy.errors import BinasError, DocumentError, MismatchError, NoOutputsError
from binas_deploy.measure import Subject
from binas_deploy.model import OnnxModel
from binas_deploy.progress import SILENT, Progress
from binas_deploy.steps.inference import Floats, count_correct, outputs_of
from binas_deploy.steps.subjects import network_key, network_model, open_subjects
from binas_deploy.steps.verify_latency import NETWORK_KEY, measure_latency

AccuracyWhen = Literal["always", "if_within_budget", "never"]
_NOT_ASKED: Final = "it was not asked for"
_OVER_BUDGET: Final = "the network is not shown to be within the budget, and only one that is gets measured"


def verify(
    bundle: Path,
    *,
    device: DeviceSpec | None = None,
    workspace: Path,
    data: str = "cifar10",
    accuracy: AccuracyWhen = "always",
    seed: int = 0,
    progress: Progress = SILENT,
) -> VerificationReport:
    """Run the bundle on its device, judge it, and write ``verification.json`` into it.

    ``device`` is by default the one that the bundle names, as the workspace or the tool describes it; either way with
    the number of threads that the bundle was made for. Accuracy that cannot be measured is reported as such, and so is
    parity on a device that gives no outputs.
    ``seed`` orders the measuring.

    Raises:
        InputError: no bundle, or an unknown device.
        DocumentError: its manifest or a file of it is damaged or not what the manifest states.
        MismatchError: the device is not the one that the bundle was made for; names each difference.
        DeviceError, MissingExtraError: the device or its runtime is absent, or failed.
        EnvironmentFault: the report cannot be written.
    """
    manifest = Manifest.load(bundle)
    check_files(bundle, manifest)
    inputs, outputs = _vectors(bundle, manifest)
    spec = (device or load_device_spec(manifest.asked.device, workspace)).with_threads(manifest.asked.threads)
    spec = spec.with_cadence(manifest.asked.cadence).with_precision(manifest.asked.precision)
    opened = open_device(spec)
    facts = opened.facts()
    conditions = device_conditions(spec, facts)
    _require_same_identity(bundle, manifest, conditions)
    with _subjects(opened, bundle, manifest, progress) as subjects:
        with subjects[0].open() as network:
            parity = _parity(network, inputs, outputs, manifest)
        latency = measure_latency(manifest, subjects, spec.timing_rule(), seed=seed, progress=progress)
        measured = _accuracy(manifest, subjects[0], latency, data, accuracy, progress)
    report = VerificationReport(
        bundle=manifest.name,
        manifest_digest=manifest.digest,
        created=timestamp(),
        conditions=conditions,
        parity=parity,
        latency=latency,
        accuracy=measured,
        seed=seed,
        simulated=manifest.simulated or facts.simulated,
    )
    report.save(bundle / VERIFICATION_NAME)
    return report


def _vectors(bundle: Path, manifest: Manifest) -> tuple[Floats, Floats]:
    """Raises DocumentError unless they are of the network's shapes."""
    inputs, outputs = load_vectors(bundle)
    found, needed = (inputs.shape[1:], outputs.shape[1:]), (manifest.input.shape[1:], manifest.output.shape[1:])
    if found != needed:
        raise DocumentError(
            f"{bundle / VECTORS_NAME}: inputs and outputs of shapes {found}, the network's are {needed}. "
            "Export the bundle again."
        )
    return inputs, outputs


def _require_same_identity(bundle: Path, manifest: Manifest, here: Conditions) -> None:
    keys = sorted(manifest.identity.keys() | here.identity.keys())
    pairs = [(key, manifest.identity.get(key, "(not stated)"), here.identity.get(key, "(not stated)")) for key in keys]
    lines = [f"{key}: made for {stated}, here {found}" for key, stated, found in pairs if stated != found]
    if lines:
        raise MismatchError(
            f"{bundle} was made for other conditions: {'; '.join(lines)}. Verify it where those hold, or run "
            "'binas-deploy deploy' for this device."
        )


def _subjects(
    device: Device, bundle: Path, manifest: Manifest, progress: Progress
) -> AbstractContextManager[list[Subject]]:
    """The bundle's network first, then the anchors with the weights that they were first measured with."""
    models: dict[str, OnnxModel] = {NETWORK_KEY: read_model(bundle, manifest)}
    for anchor in manifest.anchors:
        key = network_key(manifest.space, anchor.arch)
        models[key] = network_model(manifest.space, anchor.arch, manifest.asked.batch)
    return open_subjects(device, models, precision=Precision(manifest.asked.precision), progress=progress)


def _parity(network: Executable, inputs: Floats, outputs: Floats, manifest: Manifest) -> Parity | ParityNotMeasured:
    try:
        return Parity.of(_outputs(network, inputs, manifest), outputs)
    except NoOutputsError as error:
        return ParityNotMeasured(str(error))


def _outputs(network: Executable, inputs: Floats, manifest: Manifest) -> Floats:
    return outputs_of(network, inputs, batch=manifest.asked.batch, classes=len(manifest.labels))


def _accuracy(
    manifest: Manifest, subject: Subject, latency: Latency, data: str, when: AccuracyWhen, progress: Progress
) -> Accuracy | AccuracyNotMeasured:
    if when == "never":
        return AccuracyNotMeasured(_NOT_ASKED, asked=False)
    if when == "if_within_budget" and latency.verdict is not Verdict.PASS:
        return AccuracyNotMeasured(_OVER_BUDGET, asked=True)
    images = _images(manifest, data)
    if isinstance(images, AccuracyNotMeasured):
        return images
    made = manifest.preprocessing
    try:
        with subject.open() as network, progress.task("accuracy on the test set", len(images.test)) as advance:
            correct = count_correct(
                network,
                images.test,
                mean=made.mean,
                std=made.std,
                batch=manifest.asked.batch,
                classes=len(manifest.labels),
                advance=advance,
            )
    except NoOutputsError as error:
        return AccuracyNotMeasured(str(error), asked=True)
    return Accuracy(correct, len(images.test), images.name, manifest.predicted.best_accuracy)


def _images(manifest: Manifest, data: str) -> Dataset | AccuracyNotMeasured:
    """The images to test on, or why they cannot be used."""
    from binas_deploy.data.load import load_dataset

    classes, resolution = len(manifest.labels), manifest.preprocessing.resolution
    try:
        images = load_dataset(data, resolution=resolution, classes=classes, seed=manifest.data.seed)
    except BinasError as error:
        return AccuracyNotMeasured(str(error), asked=True)
    fault = _unfit(manifest, images)
    return AccuracyNotMeasured(fault, asked=True) if fault else images


def _unfit(manifest: Manifest, images: Dataset) -> str:
    if images.classes != manifest.labels:
        return f"the classes of {images.name} are not the labels of the bundle, in their order; give its images"
    if images.name == manifest.data.name and images.fingerprint != manifest.data.fingerprint:
        return (
            f"the images called {images.name} have fingerprint {images.fingerprint[:12]}, the bundle was made with "
            f"{manifest.data.fingerprint[:12]}; give the same images with --data"
        )
    if len(images.test) == 0:
        return f"{images.name} has no test images"
    return ""
