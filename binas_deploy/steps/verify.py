"""Verify a bundle on its device: files, parity, latency against budget and prediction, accuracy on the test set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from binas_deploy.adapters.base import Device
from binas_deploy.bundle.latency import Replication
from binas_deploy.bundle.manifest import MODEL_NAME, VERIFICATION_NAME, Manifest, check_files
from binas_deploy.bundle.shown import Shown
from binas_deploy.bundle.soak import Soak
from binas_deploy.bundle.sweep import Point
from binas_deploy.bundle.verification import (
    Accuracy,
    AccuracyNotMeasured,
    Latency,
    SetUse,
    Verdict,
    VerificationReport,
)
from binas_deploy.conditions import Conditions
from binas_deploy.data.base import Dataset
from binas_deploy.devices import DeviceSpec, device_conditions, load_device_spec, open_device
from binas_deploy.documents import timestamp
from binas_deploy.errors import BinasError, MismatchError, NoOutputsError
from binas_deploy.progress import SILENT, Progress
from binas_deploy.steps.formats import network_program
from binas_deploy.steps.inference import count_correct
from binas_deploy.steps.ledger import count_use
from binas_deploy.steps.numerics import compared, located, read_vectors
from binas_deploy.steps.replicas import replication_of
from binas_deploy.steps.soak import SoakJob, soak
from binas_deploy.steps.stored import loaded
from binas_deploy.steps.sweep import SweepJob, sweep
from binas_deploy.steps.verify_latency import measure_latency

AccuracyWhen = Literal["always", "if_within_budget", "never"]
_NOT_ASKED: Final = "it was not asked for"
_OVER_BUDGET: Final = "the network is not shown to be within the budget, and only one that is gets measured"


@dataclass(frozen=True)
class Asking:
    """What to show of the latency, and what to measure besides; by default what the bundle was asked.

    ``percentile`` (1 to 99.9) and ``cadence`` of calls, ``confidence`` of the verdict. ``soak_s``: a sustained run of
    so many seconds. ``batches`` and ``callers``: a sweep of batch sizes and of how many call at once.
    """

    percentile: float | None = None
    confidence: float | None = None
    cadence: str | None = None
    soak_s: float | None = None
    batches: tuple[int, ...] = ()
    callers: tuple[int, ...] = ()


def verify(
    bundle: Path,
    *,
    device: DeviceSpec | None = None,
    workspace: Path,
    data: str = "cifar10",
    accuracy: AccuracyWhen = "always",
    asking: Asking = Asking(),
    seed: int = 0,
    progress: Progress = SILENT,
) -> VerificationReport:
    """Run the bundle on its device, judge it, and write ``verification.json`` into it.

    The network is the very program that the bundle holds where it has a format of the device's; it is compiled from
    ONNX, as the anchors are, where the device runs no format. The report names its hash either way.
    ``device`` is by default the one that the bundle names, as the workspace or the tool describes it; either way with
    the number of threads that the bundle was made for. Accuracy that cannot be measured is reported as such, and so is
    parity on a device that gives no outputs. Where parity fails, the node at which outputs part is searched for.
    Latency is measured in several fresh processes. ``seed`` orders the measuring.

    Raises:
        InputError: no bundle, an unknown device, or something that cannot be asked.
        DocumentError: its manifest or a file of it is damaged or not what the manifest states.
        MismatchError: the device is not the one that the bundle was made for; names each difference.
        DeviceError, MissingExtraError: the device or its runtime is absent, or failed.
        EnvironmentFault: the report cannot be written.
    """
    manifest = Manifest.load(bundle)
    check_files(bundle, manifest)
    inputs, wanted = read_vectors(bundle, manifest)
    shown = Shown.of(manifest.asked, percentile=asking.percentile, confidence=asking.confidence, cadence=asking.cadence)
    spec = (device or load_device_spec(manifest.asked.device, workspace)).with_threads(manifest.asked.threads)
    spec = spec.with_cadence(shown.cadence).with_precision(manifest.asked.precision)
    jobs = _jobs(bundle, manifest, spec, shown, asking)
    opened = open_device(spec)
    facts = opened.facts()
    conditions = device_conditions(spec, facts)
    _require_same_identity(bundle, manifest, conditions, shown)
    program = network_program(opened, spec, bundle, manifest)
    with opened.load(program) as network:
        replication = replication_of(opened, facts, network)
        parity, formats = compared(network, spec, bundle, manifest, inputs, wanted, progress)
    parity = located(parity, opened, spec, bundle, manifest, inputs, progress)
    latency = measure_latency(bundle, manifest, shown, opened, spec, replication, seed=seed, progress=progress)
    report = VerificationReport(
        bundle=manifest.name,
        manifest_digest=manifest.digest,
        program_sha256=program.sha256,
        created=timestamp(),
        conditions=conditions,
        parity=parity,
        formats=formats,
        latency=latency,
        accuracy=_accuracy(bundle, manifest, opened, spec, latency, data, accuracy, progress),
        seed=seed,
        simulated=manifest.simulated or facts.simulated,
        sweep=_swept(jobs, replication, opened, progress),
        soak=_soaked(jobs, replication, opened, progress),
    )
    report.save(bundle / VERIFICATION_NAME)
    return report


@dataclass(frozen=True)
class _Jobs:
    """What was asked besides."""

    soak: SoakJob | None
    sweep: SweepJob | None


def _jobs(bundle: Path, manifest: Manifest, spec: DeviceSpec, shown: Shown, asking: Asking) -> _Jobs:
    """Made before anything is measured, so that what cannot be asked is noticed then."""
    swept = bool(asking.batches or asking.callers)
    batches, callers = asking.batches or (manifest.asked.batch,), asking.callers or (1,)
    return _Jobs(
        None if asking.soak_s is None else SoakJob(bundle, spec, shown, asking.soak_s),
        SweepJob(bundle, spec, batches, callers) if swept else None,
    )


def _swept(jobs: _Jobs, replication: Replication, device: Device, progress: Progress) -> tuple[Point, ...]:
    if jobs.sweep is None:
        return ()
    with progress.task("sweep of batches and callers", 1) as advance:
        found = sweep(jobs.sweep, replication, device)
        advance(1)
    return found


def _soaked(jobs: _Jobs, replication: Replication, device: Device, progress: Progress) -> Soak | None:
    if jobs.soak is None:
        return None
    with progress.task(f"sustained run of {jobs.soak.seconds:g} s", 1) as advance:
        found = soak(jobs.soak, replication, device)
        advance(1)
    return found


def _require_same_identity(bundle: Path, manifest: Manifest, here: Conditions, shown: Shown) -> None:
    """But for the rhythm, where another one is to be shown."""
    stated = {**manifest.identity, "cadence": shown.cadence}
    keys = sorted(stated.keys() | here.identity.keys())
    pairs = [(key, stated.get(key, "(not stated)"), here.identity.get(key, "(not stated)")) for key in keys]
    lines = [f"{key}: made for {asked}, here {found}" for key, asked, found in pairs if asked != found]
    if lines:
        raise MismatchError(
            f"{bundle} was made for other conditions: {'; '.join(lines)}. Verify it where those hold, or run "
            "'binas-deploy deploy' for this device."
        )


def _accuracy(
    bundle: Path,
    manifest: Manifest,
    device: Device,
    spec: DeviceSpec,
    latency: Latency,
    data: str,
    when: AccuracyWhen,
    progress: Progress,
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
        with (
            loaded(device, spec, bundle, manifest) as network,
            progress.task("accuracy on the test set", len(images.test)) as advance,
        ):
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
    use = _use(manifest, images, progress)
    return Accuracy(correct, len(images.test), images.name, manifest.predicted.best_accuracy, use)


def _use(manifest: Manifest, images: Dataset, progress: Progress) -> SetUse | None:
    """Counted once there is a figure; what keeps it from being counted is no reason to lose that."""
    try:
        return count_use(images.test, manifest.space, manifest.files[MODEL_NAME].sha256)
    except BinasError as error:
        progress.note(f"how often these test images were used could not be counted: {error}")
        return None


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
