"""The formats of a bundle: which to write and by which device, and how one becomes a program as it stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path

import onnx

from binas_deploy.adapters.base import Device, Precision, Program
from binas_deploy.bundle.manifest import MODEL_NAME, ONNX, Format, Manifest, most_bytes, read_files, read_model
from binas_deploy.cache import compiled_cache
from binas_deploy.conditions import Conditions
from binas_deploy.devices import DeviceSpec, device_conditions, device_files, load_device_spec, open_device
from binas_deploy.documents import write_atomic
from binas_deploy.errors import DocumentError
from binas_deploy.exporters.base import Exporter
from binas_deploy.exporters.registry import exporter_of, find_exporter, require_runtime
from binas_deploy.model import OnnxModel


@dataclass(frozen=True)
class Making:
    """One format that a bundle is to have, and the device that makes it; ``own``: the one that the bundle is for."""

    exporter: Exporter
    spec: DeviceSpec
    own: bool


def known_device(name: str, workspace: Path) -> DeviceSpec | None:
    """The device of that name, as the workspace or the tool describes it; None where neither does.

    Raises:
        DocumentError: its file is damaged.
    """
    return load_device_spec(name, workspace) if name in device_files(workspace) else None


def own_exporter(spec: DeviceSpec | None) -> Exporter | None:
    """The exporter whose format that device loads as it stands; None where it compiles ONNX, here or elsewhere."""
    return None if spec is None or spec.ssh is not None else exporter_of(spec.adapter)


def formats_to_make(
    names: Sequence[str] | None, own: DeviceSpec | None, *, precision: str, workspace: Path
) -> tuple[Making, ...]:
    """ONNX, and the formats of those names (None: that of the device that the bundle is for), each once.

    Raises:
        InputError: no such format.
        MissingExtraError, DeviceError: the runtime of one is absent; says how to get it.
    """
    of_own = own_exporter(own)
    asked = [of_own.name] if names is None and of_own is not None else list(names or ())
    makings = [_making(find_exporter(name), own, precision, workspace) for name in dict.fromkeys((ONNX, *asked))]
    for making in makings:
        require_runtime(making.exporter, making.spec.adapter)
    return tuple(makings)


def device_for(exporter: Exporter, own: DeviceSpec | None, *, precision: str, workspace: Path) -> DeviceSpec:
    """``own`` where it runs the format here, else the device that the exporter names, in that precision.

    Raises:
        InputError, DocumentError: its file is unknown or damaged.
    """
    spec = own if _runs(own, exporter) and own is not None else load_device_spec(exporter.device, workspace)
    return spec.model_copy(update={"precision": precision})


def write_formats(
    makings: Sequence[Making], model: OnnxModel, folder: Path, *, conditions: Conditions
) -> dict[str, Format]:
    """Write the files of each format into ``folder``, and what a manifest says of them.

    Raises:
        InputError: a format that cannot be had in its precision.
        MismatchError: what runs only on machines like this was asked for another; ``conditions`` are those asked.
        MissingExtraError, DeviceError: a runtime refuses the network.
        EnvironmentFault: no permission or no space.
    """
    return {making.exporter.name: _written(making, model, folder, conditions) for making in makings}


def stored_exporter(spec: DeviceSpec, manifest: Manifest) -> Exporter | None:
    """The exporter of the format that the device loads of the bundle as it stands; None where it compiles ONNX."""
    exporter = own_exporter(spec)
    return exporter if exporter is not None and exporter.name in manifest.formats else None


def format_program(folder: Path, manifest: Manifest, exporter: Exporter) -> Program:
    """The program of a format that the bundle has, from files whose hashes are the manifest's. Nothing is executed.

    Raises:
        DocumentError: a file is missing or other bytes, or the program is another than the manifest states.
        EnvironmentFault: a file cannot be read.
    """
    entry = manifest.formats[exporter.name]
    program = exporter.program(manifest.files[MODEL_NAME].sha256, read_files(folder, manifest, entry.files))
    if program.sha256 != entry.program_sha256:
        raise DocumentError(
            f"{folder}: the program of format '{exporter.name}' is {program.sha256[:12]}..., the manifest states "
            f"{entry.program_sha256[:12]}...: it was made by another version of binas-deploy. Export the bundle again."
        )
    return program


def network_program(device: Device, spec: DeviceSpec, folder: Path, manifest: Manifest) -> Program:
    """What the device loads of the bundle: its own format as it stands, else what it compiles of the ONNX model.

    Raises:
        DocumentError: a file is missing or other bytes.
        DeviceError: the device refuses the model.
    """
    if (exporter := stored_exporter(spec, manifest)) is not None:
        return format_program(folder, manifest, exporter)
    precision = Precision(manifest.asked.precision)
    return device.compile(read_model(folder, manifest), precision=precision, cache=compiled_cache())


def _making(exporter: Exporter, own: DeviceSpec | None, precision: str, workspace: Path) -> Making:
    spec = device_for(exporter, own, precision=precision, workspace=workspace)
    return Making(exporter, spec, _runs(own, exporter))


def _runs(spec: DeviceSpec | None, exporter: Exporter) -> bool:
    """Whether a device loads the format, and does so in this process."""
    return spec is not None and spec.ssh is None and spec.adapter in exporter.adapters


def _written(making: Making, model: OnnxModel, folder: Path, conditions: Conditions) -> Format:
    exporter, device = making.exporter, partial(open_device, making.spec)
    machine = "" if exporter.portable else _machine(making, conditions)
    # For no device in particular, ONNX is what it is.
    precision = Precision(making.spec.precision if making.own or exporter.made_by_runtime else "fp32")
    files = exporter.files(model, device, precision=precision, cache=compiled_cache())
    program = exporter.program(model.sha256, files)
    for name in files:
        most_bytes(name)  # raises for a name that leads elsewhere: exporters may be other packages'
    for name, payload in files.items():
        write_atomic(folder / name, payload)
    return Format(tuple(files), precision.value, _versions(exporter, model), program.sha256, machine)


def _machine(making: Making, conditions: Conditions) -> str:
    """What machine code is made for; the table's own conditions where it is to run under those."""
    facts = open_device(making.spec).facts()
    if making.own:
        conditions.require_same_identity(device_conditions(making.spec, facts), "the latency table of this network")
    return facts.identity["device_model"]


def _versions(exporter: Exporter, model: OnnxModel) -> dict[str, str]:
    found = {name: _installed(name) for name in exporter.distributions}
    stamps = _stamps(model) if exporter.name == ONNX else {}
    return {name: version for name, version in {**found, **stamps}.items() if version}


def _stamps(model: OnnxModel) -> Mapping[str, str]:
    read = onnx.load_model_from_string(model.payload)
    return {"opset": str(read.opset_import[0].version), "ir": str(read.ir_version)}


def _installed(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""
