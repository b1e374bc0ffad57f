"""`Manifest`: what is in a bundle, how it was made, what was asked and what was predicted.

A bundle is a folder with ``manifest.json`` (this document), ``model.onnx``, ``vectors.safetensors``, a ``README.md``
and the files of further formats; ``verify`` adds ``verification.json``. The manifest holds all that verifying takes, so
a bundle can be copied elsewhere alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from pydantic import ValidationError

from binas_deploy.bundle.files import (
    MANIFEST_NAME,
    MODEL_NAME,
    README_NAME,
    VECTORS_NAME,
    VERIFICATION_NAME,
    BundleFile,
    check_files,
    file_entry,
    load_vectors,
    most_bytes,
    read_files,
    read_model,
    save_vectors,
)
from binas_deploy.bundle.manifest_document import MANIFEST_KIND, MANIFEST_VERSION, ManifestDocument
from binas_deploy.bundle.manifest_parts import (
    Asked,
    DataSource,
    Format,
    Predicted,
    Preprocessing,
    StatedAnchor,
    TableSource,
    Tensor,
    anchors_of,
)
from binas_deploy.conditions import Conditions
from binas_deploy.documents import read_document, seal, validation_message, write_document
from binas_deploy.errors import DocumentError, InputError
from binas_deploy.model import INPUT_NAME, OUTPUT_NAME
from binas_deploy.space import Architecture, SearchSpace
from binas_deploy.space_file import space_document, space_from_document

__all__ = [
    "MANIFEST_NAME",
    "MODEL_NAME",
    "ONNX",
    "README_NAME",
    "VECTORS_NAME",
    "VERIFICATION_NAME",
    "Asked",
    "BundleFile",
    "DataSource",
    "Format",
    "Manifest",
    "Predicted",
    "Preprocessing",
    "StatedAnchor",
    "TableSource",
    "Tensor",
    "anchors_of",
    "check_files",
    "file_entry",
    "load_vectors",
    "most_bytes",
    "read_files",
    "read_model",
    "save_vectors",
]
ONNX: Final = "onnx"
"""The format that every bundle has: what the others are made of."""
_SAME_KEYS: Final = ("device", "precision", "batch", "threads", "cadence")


@dataclass(frozen=True)
class Manifest:
    """Everything about a bundle. ``identity`` is that of the table's conditions; ``labels`` name the outputs.

    ``formats`` are by name, the one that everything else is made of, 'onnx', among them. ``reproduce`` are the words of
    the command that makes the bundle again, with ``&&`` between two; none where nobody knows.

    Raises:
        InputError: its parts do not fit together.
    """

    name: str
    created: str
    versions: Mapping[str, str]
    files: Mapping[str, BundleFile]
    formats: Mapping[str, Format]
    space: SearchSpace
    architecture: Architecture
    input: Tensor
    output: Tensor
    preprocessing: Preprocessing
    labels: tuple[str, ...]
    asked: Asked
    identity: Mapping[str, str]
    table: TableSource
    anchors: tuple[StatedAnchor, ...]
    accuracy_model_digest: str
    supernet_digest: str
    data: DataSource
    predicted: Predicted
    seed: int
    simulated: bool = False
    reproduce: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("versions", "files", "formats", "identity"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))
        _check_files_stated(self.files)
        _check_formats(self)
        _check_network(self)
        _check_conditions(self)

    @classmethod
    def load(cls, bundle: Path) -> Manifest:
        """Read the manifest of a bundle folder and check everything in it; the other files are not looked at.

        Raises:
            InputError: no such folder, or no bundle.
            DocumentError: truncated, edited by hand, foreign, newer, or its parts do not fit together.
        """
        path = bundle / MANIFEST_NAME
        if not path.is_file():
            raise InputError(f"{bundle} is no bundle: {MANIFEST_NAME} is missing. Give a folder that 'export' wrote.")
        content = read_document(path, MANIFEST_KIND, MANIFEST_VERSION)
        try:
            return _from_document(ManifestDocument.model_validate(content), path)
        except ValidationError as error:
            raise DocumentError(validation_message(path, error)) from error
        except DocumentError:
            raise  # it names the path itself
        except InputError as error:
            raise DocumentError(f"{path}: {error}") from error

    def save(self, bundle: Path) -> None:
        """Write ``manifest.json`` of a bundle folder atomically.

        Raises:
            EnvironmentFault: no permission, no space, or the folder cannot be made.
        """
        write_document(bundle / MANIFEST_NAME, self.to_document())

    def to_document(self) -> dict[str, Any]:
        """The sealed document."""
        return seal(MANIFEST_KIND, MANIFEST_VERSION, _content(self))

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of the document's content, the one in its file."""
        return str(self.to_document()["digest"])

    @property
    def text(self) -> str:
        """The network as block strings."""
        return self.space.text(self.architecture)


def _content(manifest: Manifest) -> dict[str, Any]:
    predicted = {key: value and value.to_json() for key, value in vars(manifest.predicted).items()}
    return {
        "name": manifest.name,
        "created": manifest.created,
        "simulated": manifest.simulated,
        "versions": dict(manifest.versions),
        "files": {name: dict(vars(entry)) for name, entry in manifest.files.items()},
        "formats": {name: entry.to_json() for name, entry in manifest.formats.items()},
        "space": space_document(manifest.space),
        "architecture": manifest.text,
        "input": manifest.input.to_json(),
        "output": manifest.output.to_json(),
        "preprocessing": manifest.preprocessing.to_json(),
        "labels": list(manifest.labels),
        "asked": dict(vars(manifest.asked)),
        "identity": dict(manifest.identity),
        "table": dict(vars(manifest.table)),
        "anchors": [anchor.to_json() for anchor in manifest.anchors],
        "accuracy_model_digest": manifest.accuracy_model_digest,
        "supernet_digest": manifest.supernet_digest,
        "data": dict(vars(manifest.data)),
        "predicted": predicted,
        "seed": manifest.seed,
        "reproduce": list(manifest.reproduce),
    }


def _from_document(document: ManifestDocument, path: Path) -> Manifest:
    space = space_from_document(document.space, path)
    return Manifest(
        files={name: BundleFile(**entry.model_dump()) for name, entry in document.files.items()},
        formats={
            name: Format(**{**entry.model_dump(), "files": tuple(entry.files)})
            for name, entry in document.formats.items()
        },
        space=space,
        architecture=space.architecture(document.architecture),
        input=Tensor(document.input.name, tuple(document.input.shape)),
        output=Tensor(document.output.name, tuple(document.output.shape)),
        preprocessing=Preprocessing(
            tuple(document.preprocessing.mean), tuple(document.preprocessing.std), document.preprocessing.resolution
        ),
        labels=tuple(document.labels),
        asked=Asked(**document.asked.model_dump()),
        table=TableSource(**document.table.model_dump()),
        anchors=tuple(StatedAnchor(row.arch(), row.kind, row.median_ns) for row in document.anchors),
        data=DataSource(**document.data.model_dump()),
        predicted=Predicted(**document.predicted.estimates()),
        reproduce=tuple(document.reproduce),
        **{key: getattr(document, key) for key in ManifestDocument.PLAIN},
    )


def _check_files_stated(files: Mapping[str, BundleFile]) -> None:
    for name in (MODEL_NAME, VECTORS_NAME):
        if name not in files:
            raise InputError(f"files: {name} is missing; states {', '.join(sorted(files)) or 'none'}.")
    for name, entry in files.items():
        most = most_bytes(name)
        if not 1 <= entry.bytes <= most:
            raise InputError(f"files.{name}: {entry.bytes} bytes; from 1 to {most} are allowed.")


def _check_formats(manifest: Manifest) -> None:
    if ONNX not in manifest.formats or manifest.formats[ONNX].files != (MODEL_NAME,):
        raise InputError(f"formats: every bundle has the format '{ONNX}', of the file {MODEL_NAME} alone.")
    claimed = [(file, name) for name, entry in manifest.formats.items() for file in entry.files]
    for file, name in claimed:
        if file not in manifest.files or [other for other, _ in claimed].count(file) > 1:
            raise InputError(f"formats.{name}: its file {file} is not stated under files, or is another format's too.")


def _check_network(manifest: Manifest) -> None:
    space, batch = manifest.space, manifest.asked.batch
    space.validate(manifest.architecture)
    for anchor in manifest.anchors:
        space.validate(anchor.arch)
    expected = Tensor(INPUT_NAME, (batch, *space.input_shape)), Tensor(OUTPUT_NAME, (batch, space.classes))
    for what, found, wanted in zip(("input", "output"), (manifest.input, manifest.output), expected, strict=True):
        if found != wanted:
            raise InputError(f"{what}: found {found}, space '{space.name}' and batch {batch} need {wanted}.")
    made, channels = manifest.preprocessing, space.in_channels
    _require_equal("labels", len(manifest.labels), space.classes)
    _require_equal("preprocessing.mean", len(made.mean), channels)
    _require_equal("preprocessing.std", len(made.std), channels)
    _require_equal("preprocessing.resolution", made.resolution, space.resolution)


def _require_equal(what: str, found: int, needed: int) -> None:
    if found != needed:
        raise InputError(f"{what}: {found}, the space needs {needed}.")


def _check_conditions(manifest: Manifest) -> None:
    Conditions(manifest.identity, {})
    stated = {key: str(getattr(manifest.asked, key)) for key in _SAME_KEYS}
    wrong = [key for key, value in stated.items() if manifest.identity[key] != value]
    if wrong:
        key = wrong[0]
        raise InputError(f"asked.{key}: {stated[key]!r}, but identity.{key} is {manifest.identity[key]!r}.")
    if not manifest.anchors:
        raise InputError("anchors: none; a bundle states those of its latency table.")
    manifest.asked.require_time()
