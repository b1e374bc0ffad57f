"""The files of a bundle beside its manifest, read only when they are what it states, and its test vectors."""

from __future__ import annotations

import hashlib
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from binas_deploy.documents import file_sha256, os_reason, write_atomic
from binas_deploy.errors import DocumentError, EnvironmentFault, InputError
from binas_deploy.model import OnnxModel

if TYPE_CHECKING:
    from binas_deploy.bundle.manifest import Manifest

MODEL_NAME: Final = "model.onnx"
VECTORS_NAME: Final = "vectors.safetensors"
MANIFEST_NAME: Final = "manifest.json"
README_NAME: Final = "README.md"
VERIFICATION_NAME: Final = "verification.json"
FILE_PATTERN: Final = r"^(README\.md|[a-z0-9][a-z0-9_-]{0,63}\.[a-z0-9]{1,16})$"
"""Names of files that a manifest may state: no separator, no second dot, one spelling on every file system."""
KIND_LIMITS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "onnx": 2**31,
        "safetensors": 2**28,
        "xml": 2**28,
        "bin": 2**31,
        "engine": 2**32,
        "cache": 2**28,
        "so": 2**31,
        "tar": 2**31,
        "pt2": 2**31,
        "json": 2**26,
        "md": 2**20,
    }
)
"""The most bytes that a file of a bundle may have, by the end of its name; one with another end is refused."""
_OWN_NAMES: Final = (MANIFEST_NAME, VERIFICATION_NAME)
_ANEW: Final = "Export the bundle again, or restore it from where it came."

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class BundleFile:
    """SHA-256 (hex) and size in ``bytes`` of one file."""

    sha256: str
    bytes: int


def most_bytes(name: str) -> int:
    """How large a file of that name may be.

    Raises:
        InputError: a bundle has no files of such names.
    """
    kind = name.rpartition(".")[2]
    if not re.fullmatch(FILE_PATTERN, name) or name in _OWN_NAMES or kind not in KIND_LIMITS:
        raise InputError(f"files: {name!r} is no name of a bundle's file (such as {MODEL_NAME}; {_kinds()}).")
    return KIND_LIMITS[kind]


def file_entry(path: Path) -> BundleFile:
    """What a manifest states of the file at ``path``.

    Raises:
        InputError: no such file.
        EnvironmentFault: it cannot be read.
    """
    return BundleFile(file_sha256(path), path.stat().st_size)


def check_files(folder: Path, manifest: Manifest) -> None:
    """Refuse a bundle whose files are not, byte for byte, those that its manifest states.

    Raises:
        DocumentError: a file is missing, no plain file, outside the folder, or of another size or hash.
        EnvironmentFault: a file cannot be read.
    """
    for name, stated in manifest.files.items():
        path = folder / name
        found = _size(path, folder)
        if found != stated.bytes:
            raise DocumentError(f"{path}: {found} bytes, the manifest states {stated.bytes}. {_ANEW}")
        _require_hash(path, file_sha256(path), stated)


def read_files(folder: Path, manifest: Manifest, names: Iterable[str]) -> dict[str, bytes]:
    """Files of the bundle by name: exactly the bytes whose hashes the manifest states.

    Raises:
        DocumentError: one is missing or other bytes.
        EnvironmentFault: one cannot be read.
    """
    found = {name: _read(folder / name) for name in names}
    for name, payload in found.items():
        _require_hash(folder / name, hashlib.sha256(payload).hexdigest(), manifest.files[name])
    return found


def read_model(folder: Path, manifest: Manifest) -> OnnxModel:
    """The bundle's model: exactly the bytes whose hash the manifest states.

    Raises:
        DocumentError: it is missing or other bytes.
        EnvironmentFault: it cannot be read.
    """
    payload = read_files(folder, manifest, [MODEL_NAME])[MODEL_NAME]
    return OnnxModel(payload, manifest.input.shape, manifest.output.shape)


def save_vectors(folder: Path, inputs: Vectors, outputs: Vectors) -> Path:
    """Write test vectors: ``inputs`` (n, c, r, r) and what the network gives for them, ``outputs`` (n, classes).

    Raises:
        EnvironmentFault: no permission or no space.
    """
    from safetensors.numpy import save

    path = folder / VECTORS_NAME
    tensors = {"inputs": np.ascontiguousarray(inputs), "outputs": np.ascontiguousarray(outputs)}
    write_atomic(path, save(tensors))
    return path


def load_vectors(folder: Path) -> tuple[Vectors, Vectors]:
    """The test vectors: inputs (n, c, r, r) and outputs (n, classes), both float32 and finite; n may be 0.

    Raises:
        DocumentError: missing, truncated, or not these two tensors.
        EnvironmentFault: it cannot be read.
    """
    path = folder / VECTORS_NAME
    tensors = _tensors(path)
    if tensors.keys() != {"inputs", "outputs"}:
        found = ", ".join(sorted(tensors)) or "nothing"
        raise DocumentError(f"{path}: holds {found}, expected the tensors inputs and outputs. {_ANEW}")
    inputs, outputs = _checked(path, "inputs", tensors["inputs"], 4), _checked(path, "outputs", tensors["outputs"], 2)
    if len(inputs) != len(outputs):
        raise DocumentError(f"{path}: {len(inputs)} inputs and {len(outputs)} outputs. {_ANEW}")
    return inputs, outputs


def _tensors(path: Path) -> dict[str, NDArray[Any]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    payload = _read(path)
    try:
        return load(payload)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise DocumentError(f"{path}: not a whole safetensors file ({error}). {_ANEW}") from error


def _checked(path: Path, name: str, tensor: NDArray[Any], dimensions: int) -> Vectors:
    if tensor.dtype != np.float32 or tensor.ndim != dimensions:
        found = f"{tensor.dtype} of shape {tensor.shape}"
        raise DocumentError(f"{path}: {name}: found {found}, expected float32 of {dimensions} dimensions. {_ANEW}")
    if not np.isfinite(tensor).all():
        raise DocumentError(f"{path}: {name}: holds values that are not finite. {_ANEW}")
    return tensor


def _size(path: Path, folder: Path) -> int:
    """Bytes of a plain file that lies in the folder, also when a link within it leads there."""
    try:
        target = path.resolve(strict=True)
        found = target.stat()
    except FileNotFoundError as error:
        raise DocumentError(f"{path}: missing, the manifest states it. {_ANEW}") from error
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle, before Python 3.13
        raise EnvironmentFault(f"cannot read {path}: {error}") from error
    if not target.is_relative_to(folder.resolve()):
        raise DocumentError(f"{path}: is a link that leads out of the bundle, to {target}. {_ANEW}")
    if not stat.S_ISREG(found.st_mode):
        raise DocumentError(f"{path}: is no plain file. {_ANEW}")
    return found.st_size


def _read(path: Path) -> bytes:
    most = most_bytes(path.name)
    if (found := _size(path, path.parent)) > most:
        raise DocumentError(f"{path}: {found} bytes; a bundle's {path.name} has at most {most}. {_ANEW}")
    try:
        return path.read_bytes()
    except OSError as error:
        raise EnvironmentFault(f"cannot read {path}: {os_reason(error)}") from error


def _require_hash(path: Path, found: str, stated: BundleFile) -> None:
    if found != stated.sha256:
        raise DocumentError(
            f"{path}: SHA-256 {found[:12]}..., the manifest states {stated.sha256[:12]}...: the file was changed or "
            f"damaged. {_ANEW}"
        )


def _kinds() -> str:
    return ", ".join(f".{kind}" for kind in KIND_LIMITS)
