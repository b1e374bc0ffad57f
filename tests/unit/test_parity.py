"""Tolerances by precision, formats against each other, and where a wrong device parts from the reference."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import pytest

from binas_deploy.adapters.base import Precision, Program
from binas_deploy.bundle.parity import Divergence, FormatOutputs, Parity, against_stored, between
from binas_deploy.bundle.tolerances import Tolerance, coarser, tolerance_of
from binas_deploy.bundle.verification import Verdict
from binas_deploy.errors import InputError
from binas_deploy.model import INPUT_NAME, OnnxModel
from binas_deploy.steps.divergence import block_of, first_divergence
from binas_deploy.testing.fake_device import FakeDevice, FakeExecutable
from binas_deploy.testing.networks import random_network, small_space

SPACE = small_space()
ARCH = SPACE.largest()
STORED = np.array([[3.0, 1.0, -2.0], [0.5, 2.5, 0.0], [1.0, -1.0, 4.0], [2.0, 0.0, 1.0]], np.float32)


def outputs(form: str, precision: str, off: float = 0.0) -> FormatOutputs:
    return FormatOutputs(form, precision, STORED + np.float32(off))


def test_each_precision_is_judged_by_its_own_row() -> None:
    exact, half, eight = against_stored(
        [outputs("onnx", "fp32", 4e-3), outputs("tensorrt", "fp16", 4e-3), outputs("openvino", "int8", 0.2)], STORED
    )
    assert [parity.verdict for parity in (exact, half, eight)] == [Verdict.FAIL, Verdict.PASS, Verdict.PASS]
    assert eight.relative == pytest.approx(0.05)
    assert "parity of onnx: outputs differ by 0.001 of the largest one" in exact.reason


def test_int8_is_judged_by_direction_and_coarsely_by_size() -> None:
    turned = Parity.of(STORED[:, ::-1].copy(), STORED, precision="int8")
    assert turned.verdict is Verdict.FAIL
    assert "cosine" in turned.reason
    near = Parity.of(STORED * np.float32(0.85), STORED, precision="int8")
    assert (near.verdict, near.top1, near.relative) == (Verdict.PASS, 1.0, pytest.approx(0.15))
    half = Parity.of(STORED * np.float32(0.5), STORED, precision="int8")
    assert half.cosine == pytest.approx(1.0)
    assert (half.verdict, "at most 0.2 is allowed" in half.reason) == (Verdict.FAIL, True)


def test_formats_are_compared_with_each_other_by_the_coarser_of_two() -> None:
    found = between([outputs("onnx", "fp32"), outputs("openvino", "fp16", 1e-3), outputs("tvm", "fp32", 1e-3)])
    assert [parity.what for parity in found] == ["openvino against onnx", "tvm against onnx", "tvm against openvino"]
    assert [parity.precision for parity in found] == ["fp16", "fp32", "fp16"]
    assert [parity.verdict for parity in found] == [Verdict.PASS, Verdict.FAIL, Verdict.PASS]
    assert between([outputs("onnx", "fp32")]) == ()
    nothing = FormatOutputs("onnx", "fp32", STORED[:0])
    (empty,) = between([nothing, FormatOutputs("tvm", "fp32", STORED[:0])])
    assert empty.verdict is Verdict.FAIL


def test_zeros_and_what_is_not_finite_have_no_direction() -> None:
    assert Parity.of(0 * STORED, 0 * STORED).cosine == 1.0
    assert Parity.of(0 * STORED, STORED).cosine == 0.0
    wrong = Parity.of(np.full_like(STORED, np.nan), STORED, precision="int8")
    assert (wrong.cosine, wrong.top1, wrong.verdict) == (None, None, Verdict.FAIL)
    against = Parity.of(STORED, np.full_like(STORED, np.inf))
    assert against.verdict is Verdict.FAIL


def test_what_has_no_tolerance_is_refused() -> None:
    with pytest.raises(InputError, match="no tolerance for it"):
        tolerance_of("onnx", "int4")
    with pytest.raises(InputError, match="judges nothing"):
        Tolerance()
    with pytest.raises(InputError, match="int4"):
        coarser("fp32", "int4")
    assert [coarser("fp16", "fp32"), coarser("fp16", "int8")] == ["fp16", "int8"]


class WrongDevice(FakeDevice):
    """It takes the node called ``wrong`` for another operator, whatever network that is in."""

    def __init__(self, wrong: str, operator: str) -> None:
        super().__init__()
        self.wrong, self.operator, self.compiled = wrong, operator, 0

    def compile(self, model: OnnxModel, *, precision: Precision, cache: Path) -> Program:
        self.compiled += 1
        changed = onnx.load_model_from_string(model.payload)
        for node in changed.graph.node:
            if node.name == self.wrong:
                node.op_type = self.operator
                del node.attribute[:]
        return Program(model.sha256, changed.SerializeToString())

    @contextmanager
    def load(self, program: Program) -> Iterator[FakeExecutable]:
        with super().load(program) as executable:
            yield executable


def inputs() -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.random.default_rng(2).standard_normal((1, *SPACE.input_shape), dtype=np.float32)


def found_on(device: WrongDevice) -> Divergence:
    model = random_network(SPACE, ARCH, 3)
    return first_divergence(device, model, inputs(), precision=Precision.FP32, allowed=1e-4, network=(SPACE, ARCH))


WRONG = [
    ("stem.conv.hard_swish", "Relu", "stem", "HardSwish"),
    ("stages.0.0.depthwise.relu", "HardSwish", "stages.0.0", "Relu"),
    ("stages.1.0.expand.hard_swish", "Relu", "stages.1.0", "HardSwish"),
    ("stages.1.1.excite.hard_sigmoid", "Sigmoid", "stages.1.1", "HardSigmoid"),
    ("stages.1.1.residual", "Mul", "stages.1.1", "Add"),
]


@pytest.mark.parametrize(("node", "operator", "block", "was"), WRONG, ids=[row[0] for row in WRONG])
def test_the_operator_that_a_device_gets_wrong_is_named(node: str, operator: str, block: str, was: str) -> None:
    device = WrongDevice(node, operator)
    found = found_on(device)
    assert (found.node, found.operator, found.block) == (node, was, block)
    assert found.compiled == device.compiled <= 12
    assert f"it begins at node {node}, {was}, in {block}" in found.reason


def test_a_sound_device_parts_nowhere() -> None:
    found = found_on(WrongDevice("nothing", ""))
    assert found.node == ""
    assert "the model itself is not what gave the stored outputs" in found.reason


def test_the_block_string_stands_beside_the_place() -> None:
    found = found_on(WrongDevice("stages.1.0.expand.hard_swish", "Relu"))
    assert found.text.startswith("ir_r1_k")
    assert found.text in found.reason


def test_blocks_are_read_from_names() -> None:
    names = ["stem.conv", "stages.2.10.project", "head.classifier", "input", "stages.x", "output"]
    assert [block_of(name) for name in names] == ["stem", "stages.2.10", "head", "", "", ""]
    assert block_of(INPUT_NAME) == ""
