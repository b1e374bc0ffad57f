"""Images from ``.npz`` files and image folders, and every way in which they can be wrong."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from binas_deploy.data import folder as folder_module
from binas_deploy.data.load import load_dataset
from binas_deploy.data.numpy_file import ImageArrays, read_numpy_file, write_numpy_file
from binas_deploy.errors import BinasError, DocumentError, EnvironmentFault, InputError, MismatchError

RNG = np.random.default_rng(0)


def arrays(**changes: Any) -> dict[str, Any]:
    base = {
        "train_images": RNG.integers(0, 256, (20, 3, 8, 8), np.uint8),
        "train_labels": np.arange(20) % 4,
        "test_images": RNG.integers(0, 256, (6, 3, 8, 8), np.uint8),
        "test_labels": np.arange(6) % 4,
    }
    return {key: value for key, value in {**base, **changes}.items() if value is not None}


def saved(path: Path, content: Mapping[str, Any]) -> Path:
    np.savez(path, **content)
    return path


def test_a_numpy_file_gives_disjoint_splits_with_their_labels(tmp_path: Path) -> None:
    content = arrays()
    found = load_dataset(saved(tmp_path / "mine.npz", content), resolution=8, classes=4, holdout=2)
    assert (found.name, found.classes) == ("mine", ("0", "1", "2", "3"))
    assert (len(found.train), len(found.holdout), len(found.test)) == (18, 2, 6)
    originals = {
        image.tobytes(): label for image, label in zip(content["train_images"], content["train_labels"], strict=True)
    }
    for split in (found.train, found.holdout):
        for image, label in zip(split.images, split.labels, strict=True):
            assert originals.pop(image.tobytes()) == label
    assert not originals
    assert np.array_equal(found.test.images, content["test_images"])


def test_channels_last_and_small_labels_give_the_same_data_set(tmp_path: Path) -> None:
    content = arrays(classes=np.array(["a", "b", "c", "d"]))
    last = {key: value.transpose(0, 2, 3, 1) if "images" in key else value for key, value in content.items()}
    last["train_labels"] = last["train_labels"].astype(np.uint8)
    first = load_dataset(saved(tmp_path / "first.npz", content), resolution=8)
    second = load_dataset(str(saved(tmp_path / "second.npz", last)), resolution=8)
    assert first.fingerprint == second.fingerprint
    assert first.classes == ("a", "b", "c", "d")


def test_seed_and_hold_out_are_in_the_fingerprint(tmp_path: Path) -> None:
    path = saved(tmp_path / "mine.npz", arrays())
    sets = [load_dataset(path, resolution=8, seed=seed, holdout=count) for seed, count in ((0, 2), (1, 2), (0, 1))]
    assert len({found.fingerprint for found in sets}) == 3
    assert load_dataset(path, resolution=8, holdout=2).fingerprint == sets[0].fingerprint


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"test_labels": None}, "keys test_labels are missing"),
        ({"train_images": np.zeros((20, 3, 8, 8), np.float32)}, "train_images is float32"),
        ({"train_images": np.zeros((20, 8, 8), np.uint8)}, "repeat the channel of grey images"),
        ({"train_images": np.zeros((20, 1, 8, 8), np.uint8)}, "allowed is uint8"),
        ({"train_images": np.zeros((0, 3, 8, 8), np.uint8), "train_labels": np.zeros(0, int)}, "at least one image"),
        ({"train_labels": np.zeros(19, int)}, r"shape \(20,\)"),
        ({"train_labels": np.zeros(20)}, "allowed are integers"),
        ({"train_labels": np.full(20, -1)}, "allowed are 0 to"),
        ({"train_labels": np.full(20, 10**9)}, "allowed are 0 to"),
        ({"test_labels": np.full(6, 4)}, "label 4 found"),
        ({"test_images": np.zeros((6, 3, 9, 9), np.uint8)}, "differ in shape"),
        ({"classes": np.arange(4)}, "a list of text"),
        ({"classes": np.array(["a", "b"])}, "but there are 2 classes"),
    ],
)
def test_a_malformed_numpy_file_names_what_is_allowed(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    path = saved(tmp_path / "bad.npz", arrays(**changes))
    with pytest.raises(DocumentError, match=says) as caught:
        load_dataset(path, resolution=8)
    assert str(path) in str(caught.value)


def test_objects_are_not_unpickled(tmp_path: Path) -> None:
    path = saved(tmp_path / "objects.npz", arrays(train_labels=np.array([object] * 20, dtype=object)))
    with pytest.raises(DocumentError, match="holds objects"):
        read_numpy_file(path)


def _one_array() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    return buffer.getvalue()


def _zip_of(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for key in ("train_images", "train_labels", "test_images", "test_labels"):
            archive.writestr(f"{key}.npy", content)
    return buffer.getvalue()


@pytest.mark.parametrize("payload", [b"", b"PK\x03\x04", b"text", _one_array(), _zip_of(b""), _zip_of(b"no array")])
def test_a_foreign_file_is_refused(tmp_path: Path, payload: bytes) -> None:
    path = tmp_path / "foreign.npz"
    path.write_bytes(payload)
    with pytest.raises(DocumentError, match=r"foreign\.npz"):
        read_numpy_file(path)


def test_every_cut_of_a_file_and_flipped_pixels_are_noticed(tmp_path: Path) -> None:
    whole = saved(tmp_path / "whole.npz", arrays()).read_bytes()
    path = tmp_path / "damaged.npz"
    for size in range(0, len(whole), 97):
        path.write_bytes(whole[:size])
        with pytest.raises(DocumentError):
            read_numpy_file(path)
    flipped = bytearray(whole)
    flipped[1000] ^= 1
    path.write_bytes(flipped)
    with pytest.raises(DocumentError, match="damaged"):
        read_numpy_file(path)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    read = read_numpy_file(saved(tmp_path / "a.npz", arrays()))
    write_numpy_file(tmp_path / "deep" / "b.npz", ImageArrays(read.classes, read.train, read.test))
    again = read_numpy_file(tmp_path / "deep" / "b.npz")
    assert np.array_equal(again.train.images, read.train.images)
    assert np.array_equal(again.test.labels, read.test.labels)
    assert again.classes == read.classes


@pytest.mark.parametrize(("resolution", "classes"), [(16, None), (8, 10)])
def test_data_for_another_space_is_a_mismatch(tmp_path: Path, resolution: int, classes: int | None) -> None:
    path = saved(tmp_path / "mine.npz", arrays())
    with pytest.raises(MismatchError, match="Use a space"):
        load_dataset(path, resolution=resolution, classes=classes)


def test_an_unknown_source_lists_what_is_allowed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no such data set.*Allowed are cifar10"):
        load_dataset("cifar11", resolution=8)
    (tmp_path / "images.tar").write_bytes(b"x")
    with pytest.raises(InputError, match="a file of another kind"):
        load_dataset(tmp_path / "images.tar", resolution=8)
    with pytest.raises(InputError, match="no such file"):
        read_numpy_file(tmp_path / "absent.npz")
    with pytest.raises(EnvironmentFault, match="cannot read"):
        read_numpy_file(tmp_path)


# ---- image folders


def picture(colour: tuple[int, int, int], size: tuple[int, int] = (12, 8)) -> Image.Image:
    return Image.new("RGB", size, colour)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Two classes, ten and ten to train, one and one to test; each image of its own colour."""
    root = tmp_path / "pets"
    for label, name in enumerate(("cat", "dog")):
        for split, count in (("train", 10), ("test", 1)):
            (root / split / name).mkdir(parents=True)
            for index in range(count):
                picture((index * 20, label * 200, 50)).save(root / split / name / f"{index}.png")
    return root


def test_an_image_folder_gives_its_images_and_classes(images: Path) -> None:
    (images / "train" / "cat" / "notes.txt").write_text("passed over")
    (images / "train" / ".hidden").mkdir()
    found = load_dataset(images, resolution=8, classes=2, holdout=4)
    assert (found.name, found.classes) == ("pets", ("cat", "dog"))
    assert (len(found.train), len(found.holdout), len(found.test)) == (18, 2, 2)
    for split in (found.train, found.holdout, found.test):
        assert split.images.shape[1:] == (3, 8, 8)
        assert np.array_equal(split.images[:, 1, 0, 0] // 200, split.labels)
    colours = [*found.train.images[:, :2, 4, 4].tolist(), *found.holdout.images[:, :2, 4, 4].tolist()]
    assert sorted(colours) == sorted([index * 20, label * 200] for index in range(10) for label in range(2))


def test_images_are_resized_and_centre_cropped(images: Path) -> None:
    wide = picture((0, 0, 0), (40, 16))
    wide.paste((255, 255, 255), (12, 0, 28, 16))
    wide.save(images / "test" / "cat" / "0.png")
    found = load_dataset(images, resolution=8).test.images[0]
    assert found[:, :, 1:7].min() == 255
    assert found.min() > 200


def test_a_val_folder_serves_as_test(images: Path) -> None:
    (images / "test").rename(images / "val")
    assert len(load_dataset(images, resolution=8).test) == 2


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "CMYK", "1"])
def test_pictures_of_other_kinds_become_rgb(images: Path, mode: str) -> None:
    path = images / "test" / "cat" / ("0.jpeg" if mode == "CMYK" else "0.png")
    (images / "test" / "cat" / "0.png").unlink()
    source: NDArray[np.uint8] = np.full((8, 8, 3), 255, np.uint8)
    options: dict[str, Any] = {"transparency": bytes([0, 128])} if mode == "P" else {}
    Image.fromarray(source).convert(mode).save(path, **options)
    assert load_dataset(images, resolution=8).test.images[0].min() > 250


def test_a_rotated_photograph_stands_upright(images: Path) -> None:
    lying = picture((0, 0, 0), (16, 16))
    lying.paste((255, 255, 255), (0, 0, 8, 16))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    lying.save(images / "test" / "cat" / "0.jpg", exif=exif, quality=100)
    (images / "test" / "cat" / "0.png").unlink()
    upright = load_dataset(images, resolution=16).test.images[0]
    assert upright[0, 2].min() > 200
    assert upright[0, 13].max() < 60


def _cut_png(path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(RNG.integers(0, 256, (32, 32, 3), np.uint8)).save(buffer, "PNG")
    path.write_bytes(buffer.getvalue()[:600])


def _cut_jpeg(path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(RNG.integers(0, 256, (64, 64, 3), np.uint8)).save(buffer, "JPEG")
    path.write_bytes(buffer.getvalue()[:900])


@pytest.mark.parametrize(
    "damage",
    [
        _cut_png,
        _cut_jpeg,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"no image"),
        lambda path: picture((1, 2, 3)).save(path, "GIF"),
        lambda path: Image.new("I;16", (8, 8), 40000).save(path, "PNG"),
    ],
)
def test_a_damaged_image_is_named(images: Path, damage: Any) -> None:
    path = images / "train" / "dog" / "3.png"
    damage(path)
    with pytest.raises(DocumentError, match="Replace it or remove it") as caught:
        load_dataset(images, resolution=8)
    assert str(path) in str(caught.value)


def test_an_unreadable_image_is_named(images: Path) -> None:
    (images / "train" / "dog" / "folder.png").mkdir()
    with pytest.raises(EnvironmentFault, match=r"cannot read .*folder\.png"):
        load_dataset(images, resolution=8)


def test_folders_that_are_no_data_set_say_what_is_missing(images: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match="not an image folder"):
        load_dataset(empty, resolution=8)
    (images / "train" / "emu").mkdir()
    with pytest.raises(InputError, match="same classes; only one holds: emu"):
        load_dataset(images, resolution=8)
    (images / "test" / "emu").mkdir()
    with pytest.raises(InputError, match=r"emu: no images; allowed are \.png"):
        load_dataset(images, resolution=8)


def test_other_classes_than_asked_are_a_mismatch(images: Path) -> None:
    with pytest.raises(MismatchError, match=r"2 classes \(cat, dog\), but 10 are asked for"):
        load_dataset(images, resolution=8, classes=10)


def test_empty_training_folders_and_many_odd_classes(images: Path, tmp_path: Path) -> None:
    for index in range(7):
        (images / "train" / f"odd{index}").mkdir()
    with pytest.raises(InputError, match="and 2 more"):
        load_dataset(images, resolution=8)
    for name in ("train", "test"):
        (tmp_path / "bare" / name).mkdir(parents=True)
    with pytest.raises(InputError, match="no class folders"):
        load_dataset(tmp_path / "bare", resolution=8)


def test_more_than_memory_holds_is_refused_before_any_image_is_read(
    images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_module, "_MAX_BYTES", 1000)
    with pytest.raises(InputError, match="held in memory"):
        load_dataset(images, resolution=8)


def test_every_refusal_exits_with_code_two() -> None:
    kinds: tuple[type[BinasError], ...] = (InputError, DocumentError, MismatchError, EnvironmentFault)
    assert {kind.exit_code for kind in kinds} == {2}
