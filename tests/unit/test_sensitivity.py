"""Which blocks lose accuracy in int8, which are kept in fp32, and the report of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import load_model_from_string

pytest.importorskip("onnxruntime")

from binas_deploy.bundle.sensitivity import SENSITIVITY_NAME, BlockLoss, JudgedOn, Sensitivity
from binas_deploy.cli.sensitivity_report import sensitivity_text, with_sensitivity
from binas_deploy.data.base import Dataset, Split
from binas_deploy.errors import DocumentError, InputError, MismatchError, NotMeasuredError, TooLossyError
from binas_deploy.estimate import Estimate
from binas_deploy.graph import build_network, network_weight_shapes, random_weights
from binas_deploy.model import OnnxModel
from binas_deploy.proportion import paired_difference
from binas_deploy.quantised import nodes_of
from binas_deploy.quantisers.running import logits
from binas_deploy.space import Architecture, SearchSpace
from binas_deploy.steps.quantise import in_precision, require_table_precision
from binas_deploy.testing.networks import small_space

GOLDEN = Path(__file__).parents[1] / "data" / "formats" / "sensitivity-v1.json"
INT8 = {"precision": "int8", "device": "cpu", "quantiser": "onnxruntime"}
FRAGILE = "stages.1.0"


def network(spread: float) -> tuple[OnnxModel, SearchSpace, Architecture]:
    """A random network; in one block some channels are ``spread`` times as strong as the others, which drowns them."""
    space = small_space()
    arch = space.largest()
    weights = random_weights(network_weight_shapes(space, arch), np.random.default_rng(4))
    for part in ("weight", "bias"):
        weights[f"{FRAGILE}.depthwise.{part}"][:2] *= spread
    weights[f"{FRAGILE}.project.weight"][:, :2] /= spread
    return build_network(space, arch, weights), space, arch


def dataset(model: OnnxModel, held: int = 600) -> Dataset:
    """Noise, labelled with what the network in fp32 makes of it: every label is right in fp32."""
    read = load_model_from_string(model.payload)
    splits = []
    for seed, count in enumerate((900, held, 20)):
        pixels = np.random.default_rng(seed).integers(0, 256, (count, 3, 16, 16)).astype(np.uint8)
        splits.append(Split(pixels, np.zeros(count, np.int64)))
    blank = Dataset.build("noise", [f"class{k}" for k in range(7)], *splits)
    from binas_deploy.data.base import normalise

    named = [
        Split(split.images, logits(read, normalise(split.images, blank.mean, blank.std)).argmax(1).astype(np.int64))
        for split in splits
    ]
    return Dataset.build("noise", blank.classes, *named)


@pytest.fixture(scope="module")
def robust() -> tuple[OnnxModel, SearchSpace, Architecture, Dataset]:
    model, space, arch = network(1.0)
    return model, space, arch, dataset(model)


@pytest.fixture(scope="module")
def fragile() -> tuple[OnnxModel, SearchSpace, Architecture, Dataset]:
    model, space, arch = network(300.0)
    return model, space, arch, dataset(model)


Case = tuple[OnnxModel, SearchSpace, Architecture, Dataset]


def test_fp32_and_fp16_are_the_network_itself(robust: Case) -> None:
    model, space, arch, data = robust
    for precision in ("fp32", "fp16"):
        made = in_precision(model, space, arch, data, identity={"precision": precision})
        assert made.model is model
        assert made.sensitivity is made.accuracy is None


def test_with_room_enough_every_block_is_quantised(robust: Case) -> None:
    model, space, arch, data = robust
    made = in_precision(model, space, arch, data, identity=INT8, max_drop=50.0)
    report = made.sensitivity
    assert report is not None
    assert report.kept == ()
    assert report.drop == report.whole
    assert report.model_sha256 == made.model.sha256
    assert report.fp32.value == 100.0
    assert made.accuracy == report.int8
    assert report.int8.value == pytest.approx(100.0 - report.drop.value)
    assert {row.place for row in report.blocks} >= {"stem", "stages.0.0", "stages.1.0", "stages.2.0", "head"}
    assert report.images == JudgedOn(calibration=150, sensitivity=1000, drop=1000, split="holdout and train")


def test_the_fragile_block_is_found_and_kept(fragile: Case) -> None:
    model, space, arch, data = fragile
    whole = in_precision(model, space, arch, data, identity=INT8, max_drop=100.0).sensitivity
    assert whole is not None
    assert whole.blocks[0].place == FRAGILE
    assert [row.snr_db for row in whole.blocks] == sorted(row.snr_db for row in whole.blocks)
    allowed = whole.whole.value * 0.7
    report = in_precision(model, space, arch, data, identity=INT8, max_drop=allowed).sensitivity
    assert report is not None
    assert report.kept[0] == FRAGILE
    assert report.drop.value <= allowed < report.whole.value
    assert report.drop.low <= report.drop.value <= report.drop.high


def test_kept_blocks_compute_in_float_in_what_is_shipped(fragile: Case) -> None:
    model, space, arch, data = fragile
    whole = in_precision(model, space, arch, data, identity=INT8, max_drop=100.0).sensitivity
    assert whole is not None
    made = in_precision(model, space, arch, data, identity=INT8, max_drop=whole.whole.value * 0.7)
    read = load_model_from_string(made.model.payload)
    stored = {tensor.name for tensor in read.graph.initializer}
    for node in (node for node in read.graph.node if node.name in nodes_of(read, [FRAGILE]) and node.op_type == "Conv"):
        assert f"{node.name}.weight.fp32" in stored


def test_a_drop_that_cannot_be_kept_is_said(fragile: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if nothing helped."""
    model, space, arch, data = fragile
    monkeypatch.setattr("binas_deploy.steps.sensitivity.in_float", lambda quantised, *_: quantised)
    said = r"loses \d+\.\d\d points .* even with 5 of its 6 blocks in fp32, all but the least sensitive one"
    with pytest.raises(TooLossyError, match=said) as found:
        in_precision(model, space, arch, data, identity=INT8, max_drop=0.0)
    assert found.value.exit_code == 1


def test_the_same_images_give_the_same_bytes(robust: Case) -> None:
    model, space, arch, data = robust
    first, second = (in_precision(model, space, arch, data, identity=INT8, max_drop=50.0) for _ in range(2))
    assert first.model == second.model


@pytest.mark.parametrize("drop", [-0.1, 101.0, float("nan")])
def test_a_drop_that_makes_no_sense_is_refused(drop: float, robust: Case) -> None:
    model, space, arch, data = robust
    with pytest.raises(InputError, match="points of accuracy"):
        in_precision(model, space, arch, data, identity=INT8, max_drop=drop)


def test_a_device_that_quantises_itself_is_refused_by_name(robust: Case) -> None:
    model, space, arch, data = robust
    with pytest.raises(InputError, match="the adapter of device 'gpu' takes no networks that are quantised"):
        in_precision(model, space, arch, data, identity={"precision": "int8", "device": "gpu"})


def test_the_precision_is_that_of_the_table() -> None:
    require_table_precision(None, {"precision": "int8"})
    require_table_precision("int8", {"precision": "int8"})
    with pytest.raises(MismatchError, match=r"searched with a latency table in fp32.*search --precision int8"):
        require_table_precision("int8", {"precision": "fp32"})


# The interval of a difference


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_a_paired_difference_is_within_its_interval_and_turns_with_its_sides(pairs: list[tuple[bool, bool]]) -> None:
    before, after = (np.array(column) for column in zip(*pairs, strict=True))
    found, turned = paired_difference(before, after), paired_difference(after, before)
    assert -100 <= found.low <= found.value <= found.high <= 100
    assert found.value == pytest.approx(100 * (before.mean() - after.mean()))
    assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low))


def test_the_interval_covers_as_often_as_it_says() -> None:
    rng, covered = np.random.default_rng(0), 0
    for _ in range(400):
        before = rng.random(500) < 0.85
        after = np.where(rng.random(500) < 0.05, ~before, before)
        found = paired_difference(before, after)
        covered += found.low <= 100 * 0.05 * (0.85 - 0.15) <= found.high
    assert 0.92 <= covered / 400 <= 0.98


def test_no_images_tell_no_difference() -> None:
    with pytest.raises(NotMeasuredError, match="at least one"):
        paired_difference(np.zeros(0, bool), np.zeros(0, bool))


# The document


def some(kept: tuple[str, ...] = ("stages.1.0",)) -> Sensitivity:
    def percent(value: float) -> Estimate:
        return Estimate(value, value - 1, value + 1, "%", 0.95, "made up")

    return Sensitivity(
        created="2026-11-22T12:00:00+00:00",
        model_sha256="ab" * 32,
        quantiser="onnxruntime 1.31.0, weights of 8 bits",
        images=JudgedOn(300, 1000, 4700, "holdout"),
        allowed=1.0,
        fp32=percent(84.5),
        int8=percent(84.0),
        drop=percent(0.5),
        whole=percent(1.5),
        kept=kept,
        blocks=(
            BlockLoss("stages.1.0", "ir_r1_k5_s1_e3_c16", 0.8, 0.991, 17.5),
            BlockLoss("head", "head-i256", 0.0, 1.0, 40.0),
        ),
    )


def test_a_report_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    some().save(tmp_path)
    assert Sensitivity.load(tmp_path) == some()


def test_the_first_version_is_read_for_ever(tmp_path: Path) -> None:
    (tmp_path / SENSITIVITY_NAME).write_bytes(GOLDEN.read_bytes())
    assert Sensitivity.load(tmp_path) == some()


def test_an_edited_report_is_noticed(tmp_path: Path) -> None:
    some().save(tmp_path)
    path = tmp_path / SENSITIVITY_NAME
    path.write_text(path.read_text().replace("0.991", "0.999"))
    with pytest.raises(DocumentError, match="does not match its digest"):
        Sensitivity.load(tmp_path)


def test_a_report_of_other_fields_is_refused(tmp_path: Path) -> None:
    from binas_deploy.documents import seal, write_document

    content = {key: value for key, value in some().to_document().items() if key not in ("format", "version", "digest")}
    write_document(tmp_path / SENSITIVITY_NAME, seal("sensitivity", 1, {**content, "kept": "all"}))
    with pytest.raises(DocumentError, match="kept"):
        Sensitivity.load(tmp_path)


def test_the_text_tells_each_block_and_the_whole(tmp_path: Path) -> None:
    text = sensitivity_text(some())
    assert "stages.1.0  ir_r1_k5_s1_e3_c16  +0.80 points  0.99100  17.5 dB  fp32" in text
    assert "1 of 2 blocks stay in fp32" in text
    assert "1.50 points of accuracy (0.50 to 2.50, 95 %) with every block in int8" in text
    assert "verify measures it" in text
    assert "every block runs in int8" in sensitivity_text(replace(some(), kept=()))
    assert with_sensitivity("bundle", tmp_path) == "bundle"


def test_the_golden_file_is_what_is_written_now() -> None:
    assert json.loads(GOLDEN.read_text()) == some().to_document()
