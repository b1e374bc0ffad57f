"""Loading a bundle to use it. By ONNX Runtime on the CPU; the other formats are in test_exporters."""

from __future__ import annotations

import gc
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from PIL import Image

pytest.importorskip("onnxruntime")

import binas_deploy  # after the skip
from binas_deploy.adapters import registry
from binas_deploy.adapters.onnxruntime.device import OnnxRuntimeDevice
from binas_deploy.bundle.manifest import MODEL_NAME, Format, Manifest, file_entry
from binas_deploy.bundle.readme import readme_text
from binas_deploy.data.base import normalise
from binas_deploy.data.picture import decode_picture
from binas_deploy.errors import (
    DeviceError,
    DocumentError,
    InputError,
    MismatchError,
    MissingExtraError,
)
from binas_deploy.model import INPUT_NAME

Bundle = tuple[Path, Manifest]
Pixels = NDArray[np.uint8]


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def pictures(tmp_path: Path) -> tuple[Path, Path]:
    """A wide PNG and a high one."""
    rng = np.random.default_rng(0)
    paths = tmp_path / "wide.png", tmp_path / "high.png"
    for path, shape in zip(paths, ((20, 33, 3), (31, 9, 3)), strict=True):
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(path)
    return paths


def expected(folder: Path, manifest: Manifest, images: Pixels) -> NDArray[np.float32]:
    """By ONNX's reference evaluator, from (n, 3, r, r)."""
    made = manifest.preprocessing
    evaluator: Any = ReferenceEvaluator(onnx.load(folder / MODEL_NAME))
    inputs = normalise(images, made.mean, made.std)
    return np.concatenate([evaluator.run(None, {INPUT_NAME: row[None]})[0] for row in inputs])


def test_every_form_of_an_image_gives_the_same(bundle: Bundle, pictures: tuple[Path, Path]) -> None:
    folder, manifest = bundle
    resized = np.stack([decode_picture(path.read_bytes(), 8, path.name) for path in pictures])
    right = expected(folder, manifest, resized)
    opened = [Image.open(path) for path in pictures]
    with binas_deploy.load(folder) as network:
        several: list[Any] = [list(pictures), [str(path) for path in pictures], opened, [pictures[0], opened[1]]]
        for given in several:
            np.testing.assert_allclose(network.logits(given), right, atol=1e-4)
        np.testing.assert_allclose(network.logits([np.asarray(picture) for picture in opened]), right, atol=1e-4)
        np.testing.assert_allclose(network.logits(resized.transpose(0, 2, 3, 1)), right, atol=1e-4)
        for one in (pictures[0], opened[0], np.asarray(opened[0])):
            np.testing.assert_allclose(network.logits(one), right[:1], atol=1e-4)
        assert network.logits([]).shape == (0, 5)


def test_a_prediction_has_labels_and_probabilities(bundle: Bundle, pictures: tuple[Path, Path]) -> None:
    folder, manifest = bundle
    with binas_deploy.load(folder) as network:
        found, logits = network.predict(list(pictures)), network.logits(list(pictures))
    assert found.labels == tuple(manifest.labels[index] for index in logits.argmax(axis=1))
    assert found.probabilities.shape == (2, 5)
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(
        np.log(found.probabilities[0] / found.probabilities[0, 0]), logits[0] - logits[0, 0], rtol=1e-3, atol=1e-4
    )
    assert found.classes == network.labels == manifest.labels
    assert re.fullmatch(r"class\d \(\d+\.\d %\), class\d \(\d+\.\d %\)", str(found))


WRONG: dict[str, Any] = {
    "floats": np.zeros((8, 8, 3), np.float32),
    "channels first": np.zeros((3, 8, 8), np.uint8),
    "grey": np.zeros((8, 8), np.uint8),
    "no pixels": np.zeros((0, 8, 3), np.uint8),
    "a number": 3,
    "a list of numbers": [1, 2],
    "nothing": None,
    "a path of nothing": "nowhere.png",
}


@pytest.mark.parametrize("given", WRONG.values(), ids=WRONG.keys())
def test_what_is_no_image_is_refused(bundle: Bundle, given: Any) -> None:
    with binas_deploy.load(bundle[0]) as network, pytest.raises(InputError):
        network.predict(given)


def test_a_damaged_picture_is_named(bundle: Bundle, pictures: tuple[Path, Path]) -> None:
    pictures[0].write_bytes(pictures[0].read_bytes()[:60])
    deep = Image.fromarray(np.zeros((8, 8), np.int32))
    with binas_deploy.load(bundle[0]) as network:
        with pytest.raises(DocumentError, match=r"wide\.png: not a whole PNG or JPEG"):
            network.predict(pictures[0])
        with pytest.raises(DocumentError, match="image 0: not a whole picture of 8 bits"):
            network.predict(deep)


def test_it_is_freed_at_the_end(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    ended, original = [], OnnxRuntimeDevice.load

    def load(*arguments: Any) -> Any:
        context = original(*arguments)
        context.gen = watched(context.gen)  # of contextlib
        return context

    def watched(generator: Any) -> Any:
        try:
            yield from generator
        finally:
            ended.append(1)

    monkeypatch.setattr(OnnxRuntimeDevice, "load", load)
    network = binas_deploy.load(bundle[0])
    network.close()
    network.close()
    assert len(ended) == 1
    with pytest.raises(DeviceError, match="is closed"):
        network.predict(np.zeros((8, 8, 3), np.uint8))
    forgotten = binas_deploy.load(bundle[0])
    del forgotten
    gc.collect()
    assert len(ended) == 2


def test_unknown_formats_and_devices_are_refused(bundle: Bundle) -> None:
    with pytest.raises(InputError, match="has no format 'tvm'; it has onnx"):
        binas_deploy.load(bundle[0], format="tvm")
    with pytest.raises(InputError, match="the device cannot load any of its formats"):
        binas_deploy.load(bundle[0], device="torch")
    with pytest.raises(InputError, match="the device cannot load format 'onnx'"):
        binas_deploy.load(bundle[0], format="onnx", device="torch")
    with pytest.raises(InputError, match="is no bundle"):
        binas_deploy.load(bundle[0].parent)


def test_a_missing_runtime_is_named(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_installed", lambda _: False)
    with pytest.raises(MissingExtraError, match=r"binas-deploy\[cpu\]"):
        binas_deploy.load(bundle[0])


def test_a_program_that_is_not_the_stated_one_is_refused(bundle: Bundle) -> None:
    folder, manifest = bundle
    other = replace(manifest.formats["onnx"], program_sha256="ab" * 32)
    replace(manifest, formats={"onnx": other}).save(folder)
    with pytest.raises(DocumentError, match="the manifest states abababababab"):
        binas_deploy.load(folder)


def made_for(bundle: Bundle, device: str, model: str) -> Path:
    """The bundle as one of ``device``, with a library of TVM that is none."""
    folder, manifest = bundle
    (folder / "model.so").write_bytes(b"machine code")
    entry = file_entry(folder / "model.so")
    library = Format(("model.so",), "fp32", {}, entry.sha256, model)
    replace(
        manifest,
        asked=replace(manifest.asked, device=device),
        identity={**manifest.identity, "device": device, "device_model": model},
        files={**manifest.files, "model.so": entry},
        formats={**manifest.formats, "tvm": library},
    ).save(folder)
    return folder


def test_machine_code_of_another_machine_is_not_loaded(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tvm")
    folder = made_for(bundle, "tvm", "a CPU of another make")
    with binas_deploy.load(folder) as network:
        assert network.format == "onnx"
    with pytest.raises(MismatchError, match="machine code for a CPU of another make"):
        binas_deploy.load(folder, format="tvm")


def test_the_device_s_own_format_goes_first_where_its_runtime_is(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = made_for(bundle, "tvm", "any")
    real = registry._installed
    monkeypatch.setattr(registry, "_installed", lambda name: name != "tvm" and real(name))
    with binas_deploy.load(folder) as network:
        assert network.format == "onnx"


def test_the_readme_s_lines_run(
    bundle: Bundle, pictures: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, manifest = bundle
    pictures[0].rename(tmp_path / "picture.png")
    text = (folder / "README.md").read_text()
    assert text == readme_text(replace(manifest, files={n: e for n, e in manifest.files.items() if n != "README.md"}))
    lines = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert lines is not None
    assert len(lines[1].splitlines()) == 3
    exec(lines[1], {})  # noqa: S102  what a reader of it does
    assert re.fullmatch(r"class\d \(\d+\.\d %\)\n", capsys.readouterr().out)


def test_the_readme_says_what_was_asked_and_how_to_check(bundle: Bundle) -> None:
    folder, manifest = bundle
    text = (folder / "README.md").read_text()
    for said in (
        f"{manifest.asked.statistic} latency of at most {manifest.asked.budget} on `fake`",
        "binas-deploy verify export/tiny-fake",
        "binas-deploy search --device fake --space tiny --budget fake=",
        "binas-deploy export search.json --format onnx",
        "**Not measured**",
        "`model.onnx`",
        "*Verified* holds for that program",
        "pip install 'binas-deploy[cpu]'",
    ):
        assert said in text, said
    assert "{" not in text.replace("{'depths'", "")
