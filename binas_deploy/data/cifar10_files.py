"""CIFAR-10 as it is published: three archives, and their unpacked folders, to arrays.

Members are read by their exact names into memory; nothing is ever extracted to a path.
"""

from __future__ import annotations

import io
import json
import tarfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from binas_deploy.data.base import Images, Labels, Split
from binas_deploy.data.python_batch import read_python_batch
from binas_deploy.errors import DocumentError, EnvironmentFault
from binas_deploy.progress import Advance

_MAX_UNPACKED: Final = 256 * 2**20
_SIDE: Final = 32
_BATCHES: Final = tuple(f"data_batch_{number}" for number in range(1, 6))
_DAMAGE: Final = (tarfile.TarError, EOFError, OSError, zlib.error, ValueError, OverflowError)

Files = Mapping[str, bytes]
Decoder = Callable[[Files, int, Advance], tuple[Split, Split]]


@dataclass(frozen=True)
class Layout:
    """One published form: its folder, the files in it, and what turns their bytes into (train, test)."""

    folder: str
    members: tuple[str, ...]
    decode: Decoder


def read_tar(payload: bytes, layout: Layout, name: str) -> dict[str, bytes]:
    """The layout's files from the bytes of a ``.tar.gz``; links, other names and paths are passed over.

    Raises:
        DocumentError: not such an archive, a file is missing, or it unpacks to far more than CIFAR-10 is.
    """
    wanted = {f"{layout.folder}/{member}": member for member in layout.members}
    try:
        found = _read_members(payload, wanted, name)
    except _DAMAGE as error:
        raise DocumentError(f"{name}: not a readable .tar.gz archive ({error}).") from error
    _require(found, layout, name)
    return found


def read_folder(folder: Path, layout: Layout) -> dict[str, bytes]:
    """The layout's files from an unpacked folder.

    Raises:
        DocumentError: a file is missing or too large.
        EnvironmentFault: a file cannot be read.
    """
    found = {}
    for member in layout.members:
        path = folder / member
        try:
            if path.is_file() and _within_limit(path.stat().st_size, str(path)):
                found[member] = path.read_bytes()
        except OSError as error:
            raise EnvironmentFault(f"cannot read {path}: {error.strerror or error}.") from error
    _require(found, layout, str(folder))
    return found


def _read_members(payload: bytes, wanted: Mapping[str, str], name: str) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(payload), mode="r:gz") as archive:
        for member in archive:
            _within_limit(member.offset_data + member.size, name)  # before the loop skips over what is stored
            stream = archive.extractfile(member) if member.isreg() and member.name in wanted else None
            if stream is not None:
                found[wanted[member.name]] = stream.read()
            if len(found) == len(wanted):
                break
    return found


def _within_limit(size: int, name: str) -> bool:
    if size > _MAX_UNPACKED:
        raise DocumentError(f"{name}: unpacks to over {_MAX_UNPACKED // 2**20} MiB; that is not CIFAR-10.")
    return True


def _require(found: Iterable[str], layout: Layout, name: str) -> None:
    missing = [member for member in layout.members if member not in found]
    if missing:
        raise DocumentError(f"{name}: no file {layout.folder}/{missing[0]}; that is not a whole CIFAR-10.")


def _decode_png(files: Files, count: int, advance: Advance) -> tuple[Split, Split]:
    from binas_deploy.data.picture import decode_rows  # Pillow is wanted here only

    def images(batch: str) -> Images:
        decoded = decode_rows(files[f"{batch}.png"], count, _SIDE, f"{batch}.png")
        advance(1)
        return decoded

    train = np.concatenate([images(batch) for batch in _BATCHES])
    return (
        Split(train, _json_labels(files["train_lables.json"], len(_BATCHES) * count, "train_lables.json")),
        Split(images("test_batch"), _json_labels(files["test_lables.json"], count, "test_lables.json")),
    )


def _json_labels(payload: bytes, count: int, name: str) -> Labels:
    try:
        return np.array(json.loads(payload), np.int64).reshape(count)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise DocumentError(f"{name}: expected a list of {count} labels ({error}).") from error


def _decode_binary(files: Files, count: int, advance: Advance) -> tuple[Split, Split]:
    return _by_batch(files, ".bin", count, advance, _binary_batch)


def _decode_python(files: Files, count: int, advance: Advance) -> tuple[Split, Split]:
    return _by_batch(files, "", count, advance, read_python_batch)


def _by_batch(
    files: Files, suffix: str, count: int, advance: Advance, read: Callable[[bytes, int, str], Split]
) -> tuple[Split, Split]:
    def batch(name: str) -> Split:
        split = read(files[name + suffix], count, name + suffix)
        advance(1)
        return split

    train = [batch(name) for name in _BATCHES]
    images = np.concatenate([split.images for split in train])
    return Split(images, np.concatenate([split.labels for split in train])), batch("test_batch")


def _binary_batch(payload: bytes, count: int, name: str) -> Split:
    """One record for each image: a label byte, then 3072 bytes, channel by channel, row by row."""
    record = 1 + 3 * _SIDE * _SIDE
    if len(payload) != count * record:
        raise DocumentError(f"{name}: {len(payload)} bytes, expected {count} records of {record}.")
    records = np.frombuffer(payload, np.uint8).reshape(count, record)
    return Split(records[:, 1:].reshape(count, 3, _SIDE, _SIDE), records[:, 0].astype(np.int64))


LAYOUTS: Final[Mapping[str, Layout]] = {
    "npm": Layout(
        "package",
        (*(f"{name}.png" for name in (*_BATCHES, "test_batch")), "train_lables.json", "test_lables.json"),
        _decode_png,
    ),
    "binary": Layout(
        "cifar-10-batches-bin", tuple(f"{name}.bin" for name in (*_BATCHES, "test_batch")), _decode_binary
    ),
    "python": Layout("cifar-10-batches-py", (*_BATCHES, "test_batch"), _decode_python),
}
