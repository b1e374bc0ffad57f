from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from binas_deploy import documents
from binas_deploy.bundle.manifest import (
    MANIFEST_NAME,
    MODEL_NAME,
    VECTORS_NAME,
    Asked,
    BundleFile,
    Format,
    Manifest,
    Predicted,
    anchors_of,
    check_files,
    file_entry,
    load_vectors,
    read_files,
    read_model,
    save_vectors,
)
from binas_deploy.bundle.manifest_parts import MOST_ANCHORS
from binas_deploy.conditions import IDENTITY_KEYS
from binas_deploy.errors import DocumentError, EnvironmentFault, InputError
from binas_deploy.estimate import Estimate
from binas_deploy.table import LatencyTable
from binas_deploy.testing.bundles import restate

GOLDEN = Path(__file__).parents[1] / "data" / "formats" / "bundle-manifest-v1.json"
Bundle = tuple[Path, Manifest]


def rewritten(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the manifest and seal it again, as a foreign program would that knows the format."""
    path = folder / MANIFEST_NAME
    content = json.loads(path.read_text())
    change(content)
    rest = {key: value for key, value in content.items() if key not in ("format", "version", "digest")}
    documents.write_document(path, documents.seal("bundle-manifest", 1, rest))


# The manifest


def test_a_manifest_comes_back_as_it_was_saved(bundle: Bundle) -> None:
    folder, manifest = bundle
    loaded = Manifest.load(folder)
    assert loaded == manifest
    assert loaded.digest == manifest.digest == json.loads((folder / MANIFEST_NAME).read_text())["digest"]


def test_the_holdout_accuracy_is_kept_and_goes_before_the_model_s(bundle: Bundle) -> None:
    folder, manifest = bundle
    assert manifest.predicted.best_accuracy == manifest.predicted.accuracy
    direct = Estimate(61, 59.5, 62.5, "%", 0.95, "Wilson, n = 5000")
    predicted = Predicted(manifest.predicted.latency, manifest.predicted.accuracy, direct)
    replace(manifest, predicted=predicted).save(folder)
    assert Manifest.load(folder).predicted.best_accuracy == direct


def test_it_states_what_was_asked_and_the_table_s_anchors(bundle: Bundle, fake_table: LatencyTable) -> None:
    _, manifest = bundle
    assert manifest.asked.limit_ns > 0
    assert (manifest.asked.device, manifest.asked.threads, manifest.asked.precision) == ("fake", 1, "fp32")
    assert manifest.anchors == anchors_of(fake_table)
    assert (manifest.table.digest, manifest.table.noise) == (fake_table.digest, fake_table.calibration.noise)
    medians = [anchor.median_ns for anchor in manifest.anchors]
    every = sorted(anchor.measurement.location for anchor in fake_table.anchors)
    assert len(medians) == min(MOST_ANCHORS, len(every))
    assert medians == sorted(medians)
    assert set(medians) <= set(every)
    assert medians[-1] - medians[0] > 0.8 * (every[-1] - every[0])
    assert manifest.space.architecture(manifest.text) == manifest.architecture


def test_the_golden_file_of_version_1_loads(tmp_path: Path) -> None:
    (tmp_path / MANIFEST_NAME).write_bytes(GOLDEN.read_bytes())
    manifest = Manifest.load(tmp_path)
    assert manifest.digest == json.loads(GOLDEN.read_text())["digest"]
    assert (manifest.name, manifest.asked.budget, manifest.asked.limit_ns) == ("tiny-fake-27.138us", "27.138us", 27138)
    assert len(manifest.anchors) == 12
    assert manifest.formats["onnx"].versions == {"onnx": "1.23.2", "opset": "20", "ir": "10"}
    assert manifest.formats["onnx"].program_sha256 == manifest.files[MODEL_NAME].sha256
    assert manifest.reproduce[:2] == ("binas-deploy", "search")
    assert manifest.predicted.holdout_accuracy == Estimate(60.5, 59.14, 61.85, "%", 0.95, "Wilson, n = 5000")
    assert manifest.simulated


def test_a_folder_without_manifest_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is no bundle: manifest\.json is missing"):
        Manifest.load(tmp_path)
    with pytest.raises(InputError, match="is no bundle"):
        Manifest.load(tmp_path / "nowhere")


def test_an_edited_manifest_is_noticed(bundle: Bundle) -> None:
    folder, manifest = bundle
    path = folder / MANIFEST_NAME
    path.write_text(path.read_text().replace(manifest.asked.budget, "9ms"))
    with pytest.raises(DocumentError, match="does not match its digest"):
        Manifest.load(folder)


def test_a_truncated_manifest_is_noticed(bundle: Bundle) -> None:
    folder, _ = bundle
    path = folder / MANIFEST_NAME
    path.write_text(path.read_text()[:-200])
    with pytest.raises(DocumentError, match="truncated or damaged"):
        Manifest.load(folder)


def test_a_newer_manifest_asks_for_an_upgrade(bundle: Bundle) -> None:
    folder, _ = bundle
    content = json.loads((folder / MANIFEST_NAME).read_text())
    (folder / MANIFEST_NAME).write_text(json.dumps({**content, "version": 2}))
    with pytest.raises(DocumentError, match="Upgrade binas-deploy"):
        Manifest.load(folder)


FOREIGN_NAMES = [
    "../../etc/passwd",
    "/etc/passwd",
    "model.onnx/../../x",
    "..\\x.onnx",
    "..",
    ".hidden.onnx",
    "a..onnx",
    "Model.onnx",
    "model.onnx\n",
    "model.exe",
    "manifest.json",
    "verification.json",
    "",
]


@pytest.mark.parametrize("name", FOREIGN_NAMES)
def test_a_manifest_states_no_file_of_another_name(bundle: Bundle, name: str) -> None:
    folder, _ = bundle
    rewritten(folder, lambda content: content["files"].update({name: {"sha256": "0" * 64, "bytes": 1}}))
    with pytest.raises(DocumentError, match=r"should match pattern|is no name of a bundle's file"):
        Manifest.load(folder)


def test_a_bundle_may_have_more_formats(bundle: Bundle) -> None:
    folder, manifest = bundle
    for name in ("model.xml", "model.bin"):
        (folder / name).write_bytes(name.encode())
    files = {**manifest.files, **{name: file_entry(folder / name) for name in ("model.xml", "model.bin")}}
    more = Format(("model.xml", "model.bin"), "fp32", {"openvino": "2026.4"}, "ab" * 32)
    stated = replace(manifest, files=files, formats={**manifest.formats, "openvino": more})
    stated.save(folder)
    assert Manifest.load(folder) == stated
    check_files(folder, stated)
    assert read_files(folder, stated, more.files) == {"model.xml": b"model.xml", "model.bin": b"model.bin"}


Change = Callable[[dict[str, Any]], object]


def tvm(file: str) -> dict[str, Any]:
    return {"files": [file], "precision": "fp32", "versions": {}, "program_sha256": "ab" * 32, "device_model": ""}


HUGE_KERNEL = f"[['cn_r1_k{'1' * 5000}_s1_c9'], [], []]"
HUGE_OPTION = f"{{'depths': [1, 1, 1], 'options': [[0x{'f' * 5000}], [0], [0]]}}"
WRONG: dict[str, tuple[Change, str]] = {
    "a file not stated": (lambda c: c["files"].pop("vectors.safetensors"), r"vectors\.safetensors is missing"),
    "a model not stated": (lambda c: c["files"].pop("model.onnx"), r"model\.onnx is missing"),
    "no formats": (lambda c: c.update(formats={}), "has the format 'onnx'"),
    "another model": (lambda c: c["formats"]["onnx"].update(files=["vectors.safetensors"]), "has the format 'onnx'"),
    "a format of no files": (lambda c: c["formats"]["onnx"].update(files=[]), "at least 1 item"),
    "a format of a file not stated": (lambda c: c["formats"].update(tvm=tvm("model.so")), "not stated under files"),
    "a format of another's file": (lambda c: c["formats"].update(tvm=tvm("model.onnx")), "another format's too"),
    "a format of a path": (lambda c: c["formats"].update(tvm=tvm("../model.so")), "pattern"),
    "a format of another name": (lambda c: c["formats"].update({"../x": tvm("model.so")}), "pattern"),
    "an unknown precision": (lambda c: c["formats"]["onnx"].update(precision="fp8"), "'fp32', 'fp16' or 'int8'"),
    "a program without hash": (lambda c: c["formats"]["onnx"].update(program_sha256=""), "pattern"),
    "a command that is text": (lambda c: c.update(reproduce="binas-deploy"), "valid list"),
    "a file of no bytes": (lambda c: c["files"]["model.onnx"].update(bytes=0), "greater than or equal to 1"),
    "an absurd size": (lambda c: c["files"]["model.onnx"].update(bytes=2**40), "bytes; from 1 to"),
    "a hash that is none": (lambda c: c["files"]["model.onnx"].update(sha256="../x"), "pattern"),
    "a kernel of 5000 digits": (lambda c: c.update(architecture=HUGE_KERNEL), "is not a block string"),
    "an option of 6000 digits": (lambda c: c.update(architecture=HUGE_OPTION), "both lists of integers"),
    "another space's network": (lambda c: c.update(architecture="[['cn_r1_k1_s1_c9']]"), "the network has 1 stages"),
    "a foreign anchor": (lambda c: c["anchors"][0]["architecture"]["depths"].pop(), "the network has 2 stages"),
    "a table without noise": (lambda c: c["table"].update(noise=0.0), r"table\.noise"),
    "no anchors": (lambda c: c.update(anchors=[]), "anchors: none"),
    "another input": (lambda c: c["input"].update(shape=[1, 3, 9, 9]), "input: found"),
    "another output": (lambda c: c["output"].update(name="y"), "output: found"),
    "too few labels": (lambda c: c["labels"].pop(), "labels: 4, the space needs 5"),
    "too few means": (lambda c: c["preprocessing"]["mean"].pop(), r"preprocessing\.mean: 2"),
    "a deviation of zero": (lambda c: c["preprocessing"].update(std=[1, 1, 0]), "greater than 0"),
    "another resolution": (lambda c: c["preprocessing"].update(resolution=9), r"preprocessing\.resolution: 9"),
    "another layout": (lambda c: c["preprocessing"].update(layout="NHWC"), "NCHW"),
    "an identity with holes": (lambda c: c["identity"].pop("affinity"), "missing affinity"),
    "a contradiction": (lambda c: c["asked"].update(threads=2), "asked.threads: '2', but identity.threads is '1'"),
    "a budget without unit": (lambda c: c["asked"].update(budget="30"), "has no unit"),
    "a budget of size": (lambda c: c["asked"].update(budget="30MB"), "not a unit of time"),
    "a latency in percent": (lambda c: c["predicted"]["latency"].update(unit="%"), "'ns'"),
    "an unknown field": (lambda c: c.update(remark="x"), "remark"),
}


@pytest.mark.parametrize(("change", "message"), WRONG.values(), ids=WRONG.keys())
def test_what_does_not_fit_together_is_refused(bundle: Bundle, change: Change, message: str) -> None:
    folder, _ = bundle
    rewritten(folder, change)
    with pytest.raises(DocumentError, match=message) as caught:
        Manifest.load(folder)
    assert str(folder / MANIFEST_NAME) in str(caught.value)


def test_a_manifest_cannot_be_made_wrong_either(bundle: Bundle) -> None:
    _, manifest = bundle
    with pytest.raises(InputError, match=r"model\.onnx is missing"):
        replace(manifest, files={"x": BundleFile("0" * 64, 1)})
    with pytest.raises(InputError, match="is no name of a bundle's file"):
        replace(manifest, files={**manifest.files, "x": BundleFile("0" * 64, 1)})
    with pytest.raises(InputError, match="bytes; from 1 to"):
        replace(manifest, files={**manifest.files, MODEL_NAME: BundleFile("0" * 64, 0)})
    with pytest.raises(InputError, match=r"asked\.device"):
        replace(manifest, asked=replace(manifest.asked, device="other"))
    assert set(manifest.identity) == set(IDENTITY_KEYS)
    assert isinstance(manifest.asked, Asked)


# The files


def test_files_that_are_stated_pass(bundle: Bundle) -> None:
    folder, manifest = bundle
    check_files(folder, manifest)
    model = read_model(folder, manifest)
    assert (model.sha256, model.input_shape, model.output_shape) == (
        manifest.files[MODEL_NAME].sha256,
        (1, 3, 8, 8),
        (1, 5),
    )


@pytest.mark.parametrize("name", [MODEL_NAME, VECTORS_NAME])
def test_one_flipped_bit_is_noticed(bundle: Bundle, name: str) -> None:
    folder, manifest = bundle
    payload = bytearray((folder / name).read_bytes())
    payload[len(payload) // 2] ^= 1
    (folder / name).write_bytes(payload)
    with pytest.raises(DocumentError, match=r"SHA-256 .* the manifest states .*changed or damaged"):
        check_files(folder, manifest)


def test_the_model_is_read_only_with_its_own_hash(bundle: Bundle) -> None:
    folder, manifest = bundle
    files = {**manifest.files, MODEL_NAME: BundleFile("0" * 64, manifest.files[MODEL_NAME].bytes)}
    with pytest.raises(DocumentError, match="SHA-256"):
        read_model(folder, replace(manifest, files=files))


@pytest.mark.parametrize("name", [MODEL_NAME, VECTORS_NAME])
def test_a_missing_or_short_or_longer_file_is_noticed(bundle: Bundle, name: str) -> None:
    folder, manifest = bundle
    payload = (folder / name).read_bytes()
    for wrong in (payload[:-1], payload + b"\0"):
        (folder / name).write_bytes(wrong)
        with pytest.raises(DocumentError, match=f"{len(wrong)} bytes, the manifest states {len(payload)}"):
            check_files(folder, manifest)
    (folder / name).unlink()
    with pytest.raises(DocumentError, match=f"{name}: missing, the manifest states it"):
        check_files(folder, manifest)
    (folder / name).mkdir()
    with pytest.raises(DocumentError, match="no plain file"):
        check_files(folder, manifest)


def test_links_may_not_lead_out_of_the_bundle(bundle: Bundle, tmp_path: Path) -> None:
    folder, manifest = bundle
    outside = tmp_path / "outside.onnx"
    (folder / MODEL_NAME).rename(outside)
    (folder / MODEL_NAME).symlink_to(outside)
    for read in (check_files, read_model):
        with pytest.raises(DocumentError, match="leads out of the bundle"):
            read(folder, manifest)


def test_links_within_the_bundle_are_fine(bundle: Bundle) -> None:
    folder, manifest = bundle
    (folder / MODEL_NAME).rename(folder / "model-1.onnx")
    (folder / MODEL_NAME).symlink_to("model-1.onnx")
    check_files(folder, manifest)


def test_a_link_in_a_circle_is_named(bundle: Bundle) -> None:
    folder, manifest = bundle
    (folder / MODEL_NAME).unlink()
    (folder / MODEL_NAME).symlink_to(MODEL_NAME)
    with pytest.raises((EnvironmentFault, DocumentError), match=MODEL_NAME):
        check_files(folder, manifest)


def test_vectors_come_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    inputs, outputs = rng.random((4, 3, 2, 2), np.float32), rng.random((4, 5), np.float32)
    save_vectors(tmp_path, inputs, outputs)
    found = load_vectors(tmp_path)
    np.testing.assert_array_equal(found[0], inputs)
    np.testing.assert_array_equal(found[1], outputs)
    save_vectors(tmp_path, inputs[:0], outputs[:0])
    assert [len(array) for array in load_vectors(tmp_path)] == [0, 0]


def test_truncated_vectors_are_refused(bundle: Bundle) -> None:
    folder, manifest = bundle
    path = folder / VECTORS_NAME
    path.write_bytes(path.read_bytes()[:-5])
    restate(folder, manifest)
    check_files(folder, Manifest.load(folder))
    with pytest.raises(DocumentError, match="not a whole safetensors file"):
        load_vectors(folder)


@pytest.mark.parametrize("payload", [b"", b"x" * 7, b"\xff" * 64], ids=["empty", "short", "nonsense"])
def test_vectors_that_are_no_safetensors_are_refused(tmp_path: Path, payload: bytes) -> None:
    (tmp_path / VECTORS_NAME).write_bytes(payload)
    with pytest.raises(DocumentError, match="not a whole safetensors file"):
        load_vectors(tmp_path)


ONE = np.zeros((1, 3, 2, 2), np.float32)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"inputs": ONE}, "holds inputs, expected the tensors inputs and outputs"),
        ({"inputs": ONE, "outputs": np.zeros((2, 5), np.float32)}, "1 inputs and 2 outputs"),
        ({"inputs": ONE, "outputs": np.zeros((1, 5), np.float64)}, "outputs: found float64"),
        ({"inputs": ONE[0], "outputs": np.zeros((3, 5), np.float32)}, "inputs: found float32 of shape"),
        ({"inputs": ONE, "outputs": np.full((1, 5), np.nan, np.float32)}, "not finite"),
    ],
    ids=["missing", "unequal", "type", "shape", "nan"],
)
def test_vectors_of_another_form_are_refused(tmp_path: Path, tensors: dict[str, Any], message: str) -> None:
    from safetensors.numpy import save

    (tmp_path / VECTORS_NAME).write_bytes(save(tensors))
    with pytest.raises(DocumentError, match=message):
        load_vectors(tmp_path)


def test_absurdly_large_vectors_are_not_read(tmp_path: Path) -> None:
    with (tmp_path / VECTORS_NAME).open("wb") as stream:
        stream.truncate(2**28 + 1)
    with pytest.raises(DocumentError, match="has at most"):
        load_vectors(tmp_path)


def test_an_entry_states_size_and_hash(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert file_entry(tmp_path / "x") == BundleFile(documents.file_sha256(tmp_path / "x"), 3)
