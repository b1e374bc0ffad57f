"""Whom a check compares: the bundles of the head, and for each the bundle that it is compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from binas_deploy.bundle.manifest import MANIFEST_NAME, MODEL_NAME, ONNX, Manifest
from binas_deploy.devices import DeviceSpec, load_device_spec
from binas_deploy.errors import InputError, MismatchError, NotMeasuredError
from binas_deploy.steps.check_git import Entry, Revision, committed, extract, resolve
from binas_deploy.steps.check_interpreter import Interpreter
from binas_deploy.steps.check_process import Payload
from binas_deploy.steps.formats import stored_exporter


@dataclass(frozen=True)
class Base:
    """``text``: what it is called; ``folders``: bundles by name; ``interpreter`` runs them.

    ``entries``: those of a revision that are still to be taken out; ``removed``: bundles that only the base has.
    """

    text: str
    interpreter: Interpreter
    folders: Mapping[str, Path] = field(default_factory=dict)
    entries: Mapping[str, Sequence[Entry]] = field(default_factory=dict)
    removed: tuple[str, ...] = ()

    def bundle(self, head: Path, temporary: Path) -> Path | None:
        """The folder that ``head`` is compared with; None where there is none of that name.

        Raises:
            DocumentError: a committed file that no bundle has.
        """
        if head.name in self.folders:
            return self.folders[head.name]
        if head.name not in self.entries:
            return None
        return extract(head.parent, self.entries[head.name], temporary)


def head_bundles(head: Path | None, workspace: Path) -> tuple[Path, ...]:
    """The bundle given, or every one of the workspace's ``export/``, by name.

    Raises:
        InputError: what was given is no bundle.
        NotMeasuredError: there are none.
    """
    if head is not None:
        if not (head / MANIFEST_NAME).is_file():
            raise InputError(f"{head} is no bundle: {MANIFEST_NAME} is missing. Give a folder that 'export' wrote.")
        return (head.absolute(),)
    found = _bundles_in(workspace / "export")
    if not found:
        raise NotMeasuredError(
            f"{workspace / 'export'} has no bundles, so there is nothing to check. Make one with 'deploy' or 'export', "
            "or give a bundle's folder."
        )
    return tuple(found.values())


def find_base(heads: Sequence[Path], *, against: str | None, base_python: Path | None, every: bool) -> Base:
    """What ``heads`` are compared with: a bundle or a folder of bundles, another interpreter, or a git revision.

    ``every``: the heads are all there are, so that what only the base has was removed.

    Raises:
        InputError: it does not exist, or one bundle is given for several.
        EnvironmentFault: git is needed and not installed.
    """
    interpreter = Interpreter.at(base_python)
    under = f" under {base_python}" if base_python else ""
    if against is None and base_python is not None:
        return Base(f"the same bundles{under}", interpreter, {head.name: head for head in heads})
    if against is not None and (found := _folder_of(Path(against), heads)) is not None:
        return Base(f"{against}{under}", interpreter, found)
    folder = heads[0].parent
    revision: Revision = resolve(folder, against)
    entries = committed(folder, revision)
    names = {head.name for head in heads}
    removed = tuple(sorted(entries.keys() - names)) if every else ()
    return Base(f"{revision.text}{under}", interpreter, entries=entries, removed=removed)


def device_of(manifest: Manifest, given: DeviceSpec | None, workspace: Path) -> DeviceSpec:
    """The device that a bundle was made for, or the one given, with the bundle's threads, cadence and precision.

    Raises:
        InputError: an unknown device.
        MismatchError: its batch is not the bundle's.
    """
    asked = manifest.asked
    spec = (given or load_device_spec(asked.device, workspace)).with_threads(asked.threads)
    spec = spec.with_cadence(asked.cadence).with_precision(asked.precision)
    if spec.batch != asked.batch:
        raise MismatchError(
            f"bundle '{manifest.name}' was made for batch {asked.batch}, the device '{spec.name}' has {spec.batch}. "
            "Give a device that has the same with --device."
        )
    return spec


def require_comparable(head: Manifest, base: Manifest) -> None:
    """Refuse two bundles that were made to run in different ways.

    Raises:
        MismatchError: names each difference.
    """
    keys = ("device", "threads", "precision", "batch", "cadence")
    pairs = [(key, getattr(base.asked, key), getattr(head.asked, key)) for key in keys]
    lines = [f"{key}: base {was}, head {now}" for key, was, now in pairs if was != now]
    if lines:
        raise MismatchError(
            f"bundle '{head.name}' and its base were made to run in different ways, so their latencies are not "
            f"comparable: {'; '.join(lines)}."
        )


def payload_of(folder: Path, manifest: Manifest, spec: DeviceSpec) -> Payload:
    """What the device runs of a bundle: its own format as it stands, else what it compiles of the ONNX model."""
    entry, exporter = manifest.files[MODEL_NAME], stored_exporter(spec, manifest)
    model = Payload(folder / MODEL_NAME, entry.sha256, manifest.input.shape, manifest.output.shape)
    if exporter is None or exporter.name == ONNX:
        return model
    names = manifest.formats[exporter.name].files
    files = tuple((str(folder / name), manifest.files[name].sha256) for name in names)
    return replace(model, format=exporter.name, files=files)


def _folder_of(against: Path, heads: Sequence[Path]) -> dict[str, Path] | None:
    """Bundles by the heads' names; None where ``against`` is no folder of bundles, and so may be a revision."""
    if (against / MANIFEST_NAME).is_file():
        if len(heads) > 1:
            raise InputError(
                f"--against {against} is one bundle, the head are {len(heads)}. Name the one that it is the base of."
            )
        return {heads[0].name: against.absolute()}
    return _bundles_in(against) or None


def _bundles_in(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        return {}
    found = sorted(path.parent.absolute() for path in folder.glob(f"*/{MANIFEST_NAME}") if path.is_file())
    return {path.name: path for path in found if not path.name.startswith(".")}
