"""What execution providers are told, where nodes are placed, and buffers in a device's memory."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from binas_deploy.adapters import host, intel, nvidia
from binas_deploy.adapters.base import Program
from binas_deploy.adapters.onnxruntime import OnnxRuntimeDevice
from binas_deploy.adapters.onnxruntime.placement import RECORD, STRICT, require_placed
from binas_deploy.adapters.onnxruntime.plugin import plugin_device
from binas_deploy.adapters.onnxruntime.provider import CUDA, OPENVINO, RTX, TENSORRT, Provider, make_provider
from binas_deploy.adapters.onnxruntime.session import DeviceSession, Memory
from binas_deploy.adapters.runtime import Runtime
from binas_deploy.errors import DeviceError, InputError

SMI = "0, GPU-1, NVIDIA H200, 9.0, 143771 MiB, 570.1, Disabled\n"


def told(name: str, precision: str = "fp32", hardware: str = "", library: str = "", **given: object) -> Provider:
    return make_provider(name, given, library=library, hardware=hardware, threads=3, precision=precision)


def test_providers_compute_in_the_numbers_that_the_file_states() -> None:
    assert told(CUDA).options == {"use_tf32": "0"}
    assert told(TENSORRT).options == {"trt_fp16_enable": "0"}
    assert told(TENSORRT, "fp16").options == {"trt_fp16_enable": "1"}
    config = json.loads(told(OPENVINO).options["load_config"])
    assert config == {
        "CPU": {
            "INFERENCE_NUM_THREADS": "3",
            "INFERENCE_PRECISION_HINT": "f32",
            "NUM_STREAMS": "1",
            "PERFORMANCE_HINT": "LATENCY",
        }
    }
    half = json.loads(told(OPENVINO, "fp16", device_type="GPU.1").options["load_config"])
    assert half == {"GPU.1": {"INFERENCE_PRECISION_HINT": "f16", "PERFORMANCE_HINT": "LATENCY"}}


def test_the_file_has_the_last_word_and_all_of_it_is_in_the_identity() -> None:
    provider = told(CUDA, use_tf32=1, cudnn_conv_algo_search="HEURISTIC")
    assert provider.facts == {"provider.use_tf32": "1", "provider.cudnn_conv_algo_search": "HEURISTIC"}


def test_what_the_environment_tells_nvidia_s_libraries_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    assert told(TENSORRT).facts["NVIDIA_TF32_OVERRIDE"] == "0"
    assert "NVIDIA_TF32_OVERRIDE" not in told(OPENVINO).facts


@pytest.mark.parametrize(
    ("name", "precision", "message"),
    [
        (CUDA, "fp16", "CUDAExecutionProvider runs fp32 only"),
        (RTX, "fp16", "NvTensorRTRTXExecutionProvider runs fp32 only"),
        (TENSORRT, "int8", "TensorrtExecutionProvider runs fp32 and fp16 only"),
    ],
)
def test_a_precision_that_a_provider_lacks_is_refused(name: str, precision: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        told(name, precision)


def test_options_are_text_or_numbers() -> None:
    with pytest.raises(InputError, match=r"provider_options\.use_tf32 = True: write it as text or a number"):
        told(CUDA, use_tf32=True)


def test_hardware_is_a_plug_in_s_to_choose() -> None:
    with pytest.raises(InputError, match=r"options\.hardware = 'gpu'"):
        told(CUDA, hardware="gpu")
    assert (told(CUDA, device_id=2).index, told(RTX, hardware="gpu:1", library="x").index) == (2, 1)
    assert (told(CUDA).kind, told(OPENVINO, device_type="NPU").kind) == ("nvidia", "npu")
    assert (told(OPENVINO, library="x").hardware, told("QNNExecutionProvider").kind) == ("cpu", "")


def session(taken: list[str], nodes: dict[str, list[str]]) -> Any:
    parts = [
        SimpleNamespace(ep_name=name, get_nodes=lambda ops=ops: [SimpleNamespace(op_type=op) for op in ops])
        for name, ops in nodes.items()
    ]
    return SimpleNamespace(get_providers=lambda: taken, get_provider_graph_assignment_info=lambda: parts)


def test_nodes_that_are_elsewhere_are_named() -> None:
    require_placed(session([CUDA, "CPUExecutionProvider"], {CUDA: ["Conv", "Relu"]}), CUDA)
    astray = session([CUDA], {CUDA: ["Conv"], "CPUExecutionProvider": ["HardSwish", "Gemm", "HardSwish"]})
    with pytest.raises(DeviceError, match=r"takes 1 of 4 nodes .*: HardSwish \(2\), Gemm on CPUExecutionProvider\."):
        require_placed(astray, CUDA)
    many = session([CUDA], {"CPUExecutionProvider": [f"Op{number}" for number in range(9)]})
    with pytest.raises(DeviceError, match="and 3 more"):
        require_placed(many, CUDA)


@pytest.mark.parametrize("taken", [["CPUExecutionProvider"], []])
def test_a_provider_that_did_not_start_is_told(taken: list[str]) -> None:
    with pytest.raises(DeviceError, match="provider 'CUDAExecutionProvider' asked, ONNX Runtime took"):
        require_placed(session(taken, {}), CUDA)


def test_an_old_runtime_that_cannot_tell_is_strict_all_the_same() -> None:
    require_placed(SimpleNamespace(get_providers=lambda: [CUDA]), CUDA)


class FakePackage:
    """ONNX Runtime as a machine without the provider has it: strictly it fails, else it goes to the CPU."""

    ExecutionMode = GraphOptimizationLevel = SimpleNamespace(ORT_SEQUENTIAL=0, ORT_ENABLE_ALL=0)

    def __init__(self, placed: dict[str, list[str]]) -> None:
        self._placed = placed
        self.opened: list[dict[str, str]] = []

    def get_available_providers(self) -> list[str]:
        return [CUDA]

    def SessionOptions(self) -> Any:  # noqa: N802
        entries: dict[str, str] = {}
        return SimpleNamespace(entries=entries, add_session_config_entry=entries.__setitem__)

    def InferenceSession(self, payload: bytes, settings: Any, **more: Any) -> Any:  # noqa: N802
        assert more["enable_fallback"] == 0
        self.opened.append(settings.entries)
        if settings.entries[STRICT] == "1":
            raise RuntimeError("nodes are assigned to the default CPU EP")
        return session([CUDA], self._placed)


@pytest.mark.parametrize(
    ("placed", "message"),
    [
        ({CUDA: ["Conv"], "CPUExecutionProvider": ["Relu"]}, "takes 1 of 2 nodes .* Relu on CPUExecutionProvider"),
        ({CUDA: ["Conv"]}, "cannot load model .*: nodes are assigned to the default CPU EP"),
    ],
)
def test_why_a_model_was_refused_is_found_out(
    monkeypatch: pytest.MonkeyPatch, placed: dict[str, list[str]], message: str
) -> None:
    package = FakePackage(placed)
    monkeypatch.setattr(Runtime, "imported", lambda self: package)
    device = OnnxRuntimeDevice(1, provider=CUDA)
    with pytest.raises(DeviceError, match=message), device.load(Program("0" * 64, b"")):
        pass
    assert [(entries[STRICT], entries[RECORD]) for entries in package.opened] == [("1", "1"), ("0", "1")]


class FakeValue:
    """A buffer in a device's memory."""

    made = 0

    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        FakeValue.made += 1
        self.array = array.copy()

    def update_inplace(self, array: np.ndarray[Any, Any]) -> None:
        self.array[...] = array

    def numpy(self) -> np.ndarray[Any, Any]:
        return np.asarray(self.array)


class FakeBinding:
    """What ``io_binding`` gives: it knows its buffers, and that results are there after `synchronize_outputs`."""

    def __init__(self) -> None:
        self.inputs: dict[str, FakeValue] = {}
        self.outputs: dict[str, FakeValue] = {}
        self.synchronised = 0
        self.bind_ortvalue_input = self.inputs.__setitem__
        self.bind_ortvalue_output = self.outputs.__setitem__

    def synchronize_inputs(self) -> None:
        pass

    def synchronize_outputs(self) -> None:
        self.synchronised += 1


def doubling(binding: FakeBinding) -> Any:
    def call(bound: FakeBinding) -> None:
        bound.outputs["y"].array[...] = 2 * bound.inputs["x"].array

    outputs: Sequence[Any] = [SimpleNamespace(name="y", shape=[3])]
    return SimpleNamespace(io_binding=lambda: binding, get_outputs=lambda: outputs, run_with_iobinding=call)


@pytest.mark.parametrize("info", [None, "as the plug-in says"])
def test_buffers_in_a_device_s_memory_are_made_once(info: str | None) -> None:
    """Their addresses must not change: a captured CUDA graph reads and writes them."""
    value = SimpleNamespace(
        ortvalue_from_numpy=lambda array, *device: FakeValue(array),
        ortvalue_from_shape_and_type=lambda shape, dtype, memory_info: FakeValue(np.zeros(shape, dtype)),
    )
    package = SimpleNamespace(OrtValue=value, copy_tensors=lambda new, old: old[0].update_inplace(new[0].array))
    binding = FakeBinding()
    opened = DeviceSession(package, doubling(binding), Memory("cuda", 0, info))
    first, second = ({"x": np.full(3, number, np.float32)} for number in (1, 2))
    assert opened.run(first)["y"].tolist() == [2, 2, 2]
    bound = (binding.inputs["x"], binding.outputs["y"])
    assert opened.run(second)["y"].tolist() == [4, 4, 4]
    assert opened.sample(first, count=4).shape == (4,)
    assert (binding.inputs["x"], binding.outputs["y"]) == bound
    assert binding.synchronised == 6
    opened.close()
    with pytest.raises(DeviceError, match="failed while running"):
        opened.run(first)


def plug_in(kind: str, name: str) -> Any:
    hardware = SimpleNamespace(
        type=SimpleNamespace(name=kind), vendor="Intel", vendor_id=0x8086, device_id=1, metadata={}
    )
    return SimpleNamespace(
        ep_name=OPENVINO, device=hardware, ep_metadata={"FULL_DEVICE_NAME": name, "version": "1.8.1"}
    )


def registering(devices: list[Any], registered: list[str]) -> Any:
    def register(name: str, path: str) -> None:
        if "bad" in path:
            raise RuntimeError("no such\nsymbol")
        registered.append(path)

    return SimpleNamespace(
        get_ep_devices=lambda: devices if registered else [], register_execution_provider_library=register
    )


def test_a_plug_in_is_registered_once_and_its_hardware_chosen(tmp_path: Path) -> None:
    library = tmp_path / "plugin.so"
    library.touch()
    registered: list[str] = []
    package = registering([plug_in("CPU", "A CPU"), plug_in("GPU", "Arc"), plug_in("GPU", "Arc 2")], registered)
    for hardware, name in (("", "A CPU"), ("gpu", "Arc"), ("gpu:1", "Arc 2")):
        found = plugin_device(package, Provider(OPENVINO, {}, str(library), hardware))
        assert found.ep_metadata["FULL_DEVICE_NAME"] == name
    assert registered == [str(library)]
    with pytest.raises(DeviceError, match=r"hardware 'npu' asked, it finds cpu \(A CPU\), gpu \(Arc\), gpu \(Arc 2\)"):
        plugin_device(package, Provider(OPENVINO, {}, str(library), "npu"))


def test_libraries_that_are_none(tmp_path: Path) -> None:
    bad = tmp_path / "bad.so"
    bad.touch()
    package = registering([], [])
    for library, kind, message in (
        ("no_such_plugin", InputError, r"pip install no-such-plugin"),
        ("json", InputError, r"not an installed package that tells get_library_path"),
        (str(tmp_path / "gone.so"), InputError, "no such file"),
        (str(bad), DeviceError, "cannot register the library .*bad.so: no such symbol"),
    ):
        with pytest.raises(kind, match=message):
            plugin_device(package, Provider(OPENVINO, {}, library))


def test_facts_are_of_the_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Runtime, "version", lambda self: "1.31.1")
    monkeypatch.setattr(nvidia, "output_of", lambda *command: SMI)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    found = OnnxRuntimeDevice(1, provider=CUDA).facts()
    assert found.identity["device_model"] == "NVIDIA H200 (compute capability 9.0, 143771 MiB)"
    assert found.context["gpu_driver"] == "570.1"
    assert "io=device" in found.identity["provider_options"]
    assert "provider.use_tf32=0" in found.identity["provider_options"]
    monkeypatch.setattr(intel, "accelerator_context", lambda: {"intel_gpu": "8086:56a0 (xe)"})
    gpu = OnnxRuntimeDevice(1, provider=OPENVINO, provider_options={"device_type": "GPU"}).facts()
    assert gpu.identity["device_model"] == "8086:56a0 (xe)"
    assert OnnxRuntimeDevice(1, provider="CoreMLExecutionProvider").facts().identity["device_model"] == host.cpu_model()


def test_session_settings_are_checked_and_in_the_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Runtime, "version", lambda self: "1.31.1")
    device = OnnxRuntimeDevice(
        1, inter_op_threads=2, graph_optimization="basic", session_config={"session.dynamic_block_base": 4}
    )
    assert device.facts().identity["provider_options"] == (
        "allow_spinning=0;execution=parallel;graph_optimization=basic;inter_op=2;io=bound;session.dynamic_block_base=4"
    )
    for wrong, message in (
        ({"graph_optimization": "most"}, "give one of none, basic, extended, layout, all"),
        ({"inter_op_threads": 0}, "inter_op_threads = 0"),
        ({"session_config": {STRICT: "0"}}, "the tool itself sets 'session.disable_cpu_ep_fallback'"),
    ):
        with pytest.raises(InputError, match=message):
            OnnxRuntimeDevice(1, **wrong)
