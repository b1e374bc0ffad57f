"""Load a bundle to use it: images in, labels and probabilities out, by the very program that was verified."""

from __future__ import annotations

import weakref
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from binas_deploy.adapters.base import Executable
from binas_deploy.adapters.registry import find_adapter, missing_package
from binas_deploy.bundle.manifest import ONNX, Manifest, check_files
from binas_deploy.data.base import normalise
from binas_deploy.data.given import GivenImages, images_of
from binas_deploy.devices import DeviceSpec, load_device_spec, open_device
from binas_deploy.errors import BinasError, DeviceError, InputError, MismatchError
from binas_deploy.exporters.base import Exporter
from binas_deploy.exporters.registry import find_exporter, format_names
from binas_deploy.steps.formats import device_for, format_program, known_device, own_exporter
from binas_deploy.steps.inference import outputs_of
from binas_deploy.workspace import find_workspace

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Prediction:
    """``labels``: the likeliest class of each of n images; ``probabilities`` (n, classes), in the order ``classes``."""

    labels: tuple[str, ...]
    probabilities: Floats = field(repr=False)
    classes: tuple[str, ...] = field(repr=False)

    def __str__(self) -> str:
        most = self.probabilities.max(axis=1, initial=0.0)
        return ", ".join(f"{label} ({100 * share:.1f} %)" for label, share in zip(self.labels, most, strict=True))


class LoadedBundle:
    """A bundle's network, loaded once. `close` frees it, as does the end of a ``with`` block or of this object.

    One call at a time: what runs a network is not made for several threads.
    """

    def __init__(self, manifest: Manifest, format: str, executable: Executable, stack: ExitStack) -> None:  # noqa: A002
        self.manifest = manifest
        self.format = format
        self._executable: Executable | None = executable
        self._free = weakref.finalize(self, stack.close)

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, in the order of the outputs."""
        return self.manifest.labels

    def predict(self, images: GivenImages) -> Prediction:
        """The classes of images: a path, RGB pixels (uint8, (h, w, 3) or (n, h, w, 3)), a PIL image, or a list of them.

        Raises:
            InputError: something else than images.
            DocumentError, EnvironmentFault: a file that is damaged or cannot be read.
            DeviceError: the device fails, or the network is closed.
        """
        shares = _softmax(self.logits(images))
        labels = tuple(self.labels[index] for index in shares.argmax(axis=1))
        return Prediction(labels, shares, self.labels)

    def logits(self, images: GivenImages) -> Floats:
        """The network's outputs (n, classes) for images as `predict` takes them.

        Raises:
            InputError, DocumentError, EnvironmentFault, DeviceError: as `predict`.
        """
        made = self.manifest.preprocessing
        return self.outputs(normalise(images_of(images, made.resolution), made.mean, made.std))

    def outputs(self, inputs: Floats) -> Floats:
        """The network's outputs (n, classes) for inputs (n, c, r, r) that are preprocessed already.

        Raises:
            DeviceError: the device fails, or the network is closed.
        """
        if self._executable is None:
            raise DeviceError(f"bundle '{self.manifest.name}' is closed. Load it again.")
        return outputs_of(self._executable, inputs, batch=self.manifest.asked.batch, classes=len(self.labels))

    def close(self) -> None:
        """Free the network; it cannot be used any more."""
        self._executable = None
        self._free()

    def __enter__(self) -> LoadedBundle:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def load(
    bundle: str | Path,
    *,
    format: str | None = None,  # noqa: A002  what the command line and the manifest call it
    device: str | Path | None = None,
) -> LoadedBundle:
    """A bundle, ready to predict: its files are compared with their hashes, then one format is loaded as it stands.

    ``format`` is by default that of the device that the bundle was made for, then ONNX, then the others: the first
    whose runtime is installed, and that runs on this machine. ``device`` is a device by name or file that runs the
    format (default: the bundle's own where it is known here and does, else the built-in one of the format).

    Raises:
        InputError: no bundle, no such format or device, or a device that does not run it.
        DocumentError: the manifest or a file is damaged or not what the manifest states.
        MismatchError: a format that runs only where it was made, and that is not here.
        MissingExtraError, DeviceError: its runtime is absent, or fails.
    """
    folder, workspace = Path(bundle), find_workspace(None)
    manifest = Manifest.load(folder)
    check_files(folder, manifest)
    exporter, spec = _chosen(manifest, format, device, workspace)
    program, opened = format_program(folder, manifest, exporter), open_device(spec)
    stack = ExitStack()
    return LoadedBundle(manifest, exporter.name, stack.enter_context(opened.load(program)), stack)


def _chosen(
    manifest: Manifest, name: str | None, device: str | Path | None, workspace: Path
) -> tuple[Exporter, DeviceSpec]:
    """The format to load and the device to load it on."""
    given = load_device_spec(device, workspace) if device is not None else None
    own = given or _own_device(manifest, workspace)
    exporters = _in_order(manifest, own) if name is None else [_named(manifest, name)]
    if given is not None:
        exporters = [exporter for exporter in exporters if given.adapter in exporter.adapters]
    if not exporters:
        what = f"format '{name}'" if name else f"any of its formats ({', '.join(manifest.formats)})"
        raise InputError(f"'{manifest.name}': the device cannot load {what}. Choose another device or format.")
    places = [_place(manifest, exporter, own, workspace) for exporter in exporters]
    faults = [_fault(manifest, exporter, spec) for exporter, spec in zip(exporters, places, strict=True)]
    if None not in faults:
        raise next(fault for fault in faults if fault is not None)  # the first is the one to be had
    best = faults.index(None)
    return exporters[best], places[best]


def _named(manifest: Manifest, name: str) -> Exporter:
    if name not in manifest.formats:
        raise InputError(f"'{manifest.name}' has no format {name!r}; it has {', '.join(manifest.formats)}.")
    return find_exporter(name)


def _in_order(manifest: Manifest, own: DeviceSpec | None) -> list[Exporter]:
    """Those that the bundle has and this tool knows."""
    first = own_exporter(own)
    known = [name for name in manifest.formats if name in format_names()]
    order = sorted(known, key=lambda name: (first is None or name != first.name, name != ONNX))
    return [find_exporter(name) for name in order]


def _place(manifest: Manifest, exporter: Exporter, own: DeviceSpec | None, workspace: Path) -> DeviceSpec:
    precision = manifest.formats[exporter.name].precision
    return device_for(exporter, own, precision=precision, workspace=workspace)


def _fault(manifest: Manifest, exporter: Exporter, spec: DeviceSpec) -> BinasError | None:
    """Why the format cannot be loaded on that device here, as far as it shows before it is tried."""
    missing, made = missing_package(find_adapter(spec.adapter)), manifest.formats[exporter.name].device_model
    if missing is not None or not made:
        return missing
    try:
        here = open_device(spec).facts().identity["device_model"]
    except BinasError as error:  # no such accelerator: another format may do
        return error
    if here == made:
        return None
    return MismatchError(
        f"format '{exporter.name}' of '{manifest.name}' is machine code for {made}, here is {here}. Choose another "
        "format, or export the network again here."
    )


def _own_device(manifest: Manifest, workspace: Path) -> DeviceSpec | None:
    """The device that the bundle was made for, with its threads; None where it is not known here."""
    found = known_device(manifest.asked.device, workspace)
    return found and found.with_threads(manifest.asked.threads)


def _softmax(logits: Floats) -> Floats:
    """exp(x) / sum(exp(x)) by row, in double precision and without overflow."""
    wide = logits.astype(np.float64)
    powers = np.exp(wide - wide.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)
