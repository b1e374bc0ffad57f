"""TVM holds to the protocol, and its own promises about compiling, threads and tuning."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from binas_deploy.adapters.base import Device, Precision, Program
from binas_deploy.adapters.tvm.device import TvmDevice
from binas_deploy.errors import DeviceError
from binas_deploy.model import INPUT_NAME, OUTPUT_NAME, OnnxModel
from binas_deploy.testing.device_suite import DeviceSuite
from binas_deploy.testing.networks import random_feed

tvm: Any = pytest.importorskip("tvm")
SHAPE = (1, 16, 8, 8)
TUNING = "BINAS_TEST_TUNING"


class TestTvm(DeviceSuite):
    networks = 1  # of 224 px: compiling one takes half a minute

    def make_device(self) -> Device:
        return TvmDevice(threads=1)


def model_of(op: str, **attributes: Any) -> OnnxModel:
    """One operator, on and to arrays of `SHAPE`."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, SHAPE) for name in (INPUT_NAME, OUTPUT_NAME)]
    node = helper.make_node(op, [INPUT_NAME], [OUTPUT_NAME], **attributes)
    graph = helper.make_graph([node], op, values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return OnnxModel(model.SerializeToString(), SHAPE, SHAPE)


def compiled(device: Device, model: OnnxModel, cache: Path) -> Program:
    return device.compile(model, precision=Precision.FP32, cache=cache)


@pytest.fixture(scope="module")
def swish(tmp_path_factory: pytest.TempPathFactory) -> tuple[OnnxModel, Program]:
    model = model_of("HardSwish")
    return model, compiled(TvmDevice(1), model, tmp_path_factory.mktemp("cache"))


@pytest.mark.parametrize(
    ("op", "attributes"),
    [
        ("HardSwish", {}),
        ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}),
        ("Identity", {}),
        ("AveragePool", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
        ("Softmax", {"axis": 1}),
    ],
)
def test_operators_agree_with_the_reference(op: str, attributes: dict[str, Any], tmp_path: Path) -> None:
    from onnx.reference import ReferenceEvaluator

    model, device = model_of(op, **attributes), TvmDevice(1)
    feed = {INPUT_NAME: 4 * random_feed(model, 0)[INPUT_NAME]}
    (expected,) = ReferenceEvaluator(onnx.load_model_from_string(model.payload)).run(None, feed)
    with device.load(compiled(device, model, tmp_path)) as executable:
        assert np.allclose(executable.run(feed)[OUTPUT_NAME], expected, atol=1e-5)


def test_an_operator_that_tvm_lacks_is_named(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"^TVM cannot compile model .*Det") as error:
        compiled(TvmDevice(1), model_of("Det"), tmp_path)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.rglob("*.so"))


def test_a_model_is_compiled_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model = model_of("Relu")
    first = compiled(TvmDevice(1), model, tmp_path)
    monkeypatch.setattr(TvmDevice, "_compiled", lambda *given: pytest.fail("compiled again"))
    assert compiled(TvmDevice(1), model, tmp_path) == first
    with pytest.raises(pytest.fail.Exception, match="compiled again"):
        compiled(TvmDevice(1, target="llvm -mcpu=x86-64"), model, tmp_path)


def test_threads_share_the_work_only_where_several_are_asked(swish: tuple[OnnxModel, Program], tmp_path: Path) -> None:
    model, single = swish
    assert b"ParallelLaunch" not in single.payload
    assert b"ParallelLaunch" in compiled(TvmDevice(2), model, tmp_path).payload


def test_wrong_inputs_are_the_device_s_error_and_one_line(swish: tuple[OnnxModel, Program]) -> None:
    with TvmDevice(1).load(swish[1]) as executable:
        for feed in ({INPUT_NAME: np.zeros((1, 3, 5, 5), np.float32)}, {"other": np.zeros(SHAPE, np.float32)}):
            with pytest.raises(DeviceError, match="TVM failed while running") as error:
                executable.run(feed)
            assert "\n" not in str(error.value)


def test_a_closed_executable_is_no_use(swish: tuple[OnnxModel, Program]) -> None:
    with TvmDevice(1).load(swish[1]) as executable:
        executable.run(random_feed(swish[0], 0))
    with pytest.raises(DeviceError):
        executable.run(random_feed(swish[0], 0))


def test_what_is_no_library_is_refused() -> None:
    with (
        pytest.raises(DeviceError, match="TVM cannot load model 000000000000"),
        TvmDevice(1).load(Program("0" * 64, b"no")),
    ):
        pass


def test_without_a_compiler_to_link_with(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tvm.support.cc, "get_cc", lambda: None)
    with pytest.raises(DeviceError, match=r"Install g\+\+ or clang"):
        compiled(TvmDevice(1), model_of("Relu"), tmp_path)


def test_a_target_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="cannot use the target 'nonsense'"):
        TvmDevice(1, target="nonsense").facts()
    if not tvm.cuda(0).exist:
        with pytest.raises(DeviceError, match="there is no device for the target 'cuda"):
            TvmDevice(1, target="cuda -arch=sm_87").facts()


@pytest.mark.skipif(TUNING not in os.environ, reason=f"takes a minute or more: set {TUNING} to run it")
def test_a_tuned_kernel_is_kept_and_used(tmp_path: Path) -> None:
    pytest.importorskip("cloudpickle")
    model, device = model_of("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1]), TvmDevice(1, trials=2)
    assert "tuning_sha256" not in device.facts().context
    program = compiled(device, model, tmp_path)
    records = list(tmp_path.rglob("database_tuning_record.json"))
    assert records
    assert all(1 <= len(path.read_text(encoding="utf-8").splitlines()) <= 2 for path in records)
    assert len(device.facts().context["tuning_sha256"]) == 64
    with device.load(program) as executable, TvmDevice(1).load(compiled(TvmDevice(1), model, tmp_path)) as untuned:
        feed = random_feed(model, 0)
        assert np.allclose(executable.run(feed)[OUTPUT_NAME], untuned.run(feed)[OUTPUT_NAME], atol=1e-6)
