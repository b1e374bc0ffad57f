"""ONNX Runtime's OpenVINO execution provider holds to the protocol: the plug-in, or a build that has it.

``pip install onnxruntime-ep-openvino`` brings the plug-in, ``onnxruntime-openvino`` is such a build.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from binas_deploy.adapters.base import Device, Precision
from binas_deploy.adapters.onnxruntime import OnnxRuntimeDevice
from binas_deploy.adapters.onnxruntime.provider import OPENVINO
from binas_deploy.errors import DeviceError
from binas_deploy.model import OnnxModel
from binas_deploy.testing.device_suite import DeviceSuite
from binas_deploy.testing.networks import random_network, small_space

onnxruntime = pytest.importorskip("onnxruntime")
PLUGIN = "onnxruntime_ep_openvino"
BUILT_IN = OPENVINO in onnxruntime.get_available_providers()
if not BUILT_IN and importlib.util.find_spec(PLUGIN) is None:
    pytest.skip("ONNX Runtime has no OpenVINO execution provider here", allow_module_level=True)
LIBRARY = "" if BUILT_IN else PLUGIN


class TestOpenVinoProvider(DeviceSuite):
    def make_device(self) -> Device:
        return OnnxRuntimeDevice(threads=1, provider=OPENVINO, library=LIBRARY)


def test_an_operator_that_it_lacks_is_refused_by_name(tmp_path: Path) -> None:
    """ONNX Runtime would run it on the CPU, and say nothing."""
    nodes = [helper.make_node("Relu", ["input"], ["x"]), helper.make_node("Det", ["x"], ["output"])]
    inputs, outputs = ((1, 3, 4, 4), (1, 3))
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, inputs)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, outputs)],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(made)
    device = OnnxRuntimeDevice(1, provider=OPENVINO, library=LIBRARY)
    model = OnnxModel(made.SerializeToString(), inputs, outputs)
    program = device.compile(model, precision=Precision.FP32, cache=tmp_path)
    refused = pytest.raises(DeviceError, match=r"takes \d of \d nodes .*Det.* on CPUExecutionProvider")
    with refused, device.load(program):
        pass


def test_hardware_that_is_not_there_is_refused() -> None:
    asked = {"hardware": "npu"} if LIBRARY else {"provider_options": {"device_type": "NPU"}}
    device = OnnxRuntimeDevice(1, provider=OPENVINO, library=LIBRARY, **asked)
    space = small_space()
    network = random_network(space, space.smallest(), 0)
    program = device.compile(network, precision=Precision.FP32, cache=Path())
    refused = pytest.raises(DeviceError, match=r"hardware 'npu' asked|ONNX Runtime took CPUExecutionProvider")
    with refused, device.load(program):
        pass
