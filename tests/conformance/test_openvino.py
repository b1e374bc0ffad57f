"""OpenVINO holds to the protocol."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from binas_deploy.adapters.base import Device, Precision
from binas_deploy.adapters.openvino import OpenVinoDevice
from binas_deploy.adapters.openvino_settings import OpenVinoSettings
from binas_deploy.errors import DeviceError, InputError
from binas_deploy.quantisers.for_timing import as_compiled
from binas_deploy.testing.device_suite import INT8_TOLERANCE, DeviceSuite
from binas_deploy.testing.device_suite.candidate import reference, require_near
from binas_deploy.testing.networks import random_feed, random_network, small_space

openvino = pytest.importorskip("openvino")
HALF = "FP16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


class TestOpenVino(DeviceSuite):
    def make_device(self) -> Device:
        return OpenVinoDevice(threads=1)


class TestOpenVinoThroughput(DeviceSuite):
    def make_device(self) -> Device:
        return OpenVinoDevice(threads=1, target="best", hint="THROUGHPUT")


@pytest.mark.skipif(not HALF, reason="OpenVINO's CPU here does not compute in fp16")
class TestOpenVinoHalf(DeviceSuite):
    precision = Precision.FP16
    tolerance = 2e-2

    def make_device(self) -> Device:
        return OpenVinoDevice(threads=1, precision="fp16")


class QuantisedByOnnxRuntime(OpenVinoDevice):
    """NNCF takes seconds for each of the exam's networks; what it makes has a test of its own."""

    quantiser = "onnxruntime"


@pytest.mark.skipif(find_spec("onnxruntime") is None, reason="ONNX Runtime quantises the exam's networks")
class TestOpenVinoInt8(DeviceSuite):
    precision = Precision.INT8
    tolerance = INT8_TOLERANCE
    networks = 1  # quantising one of 224 px takes seconds

    def make_device(self) -> Device:
        return QuantisedByOnnxRuntime(threads=1, precision="int8")


def test_what_nncf_makes_runs_as_onnx_says(tmp_path: Path) -> None:
    pytest.importorskip("nncf")
    space, device = small_space(), OpenVinoDevice(1, precision="int8")
    network = random_network(space, space.largest(), 1)
    model = as_compiled(device, network, Precision.INT8, tmp_path)
    with device.load(device.compile(model, precision=Precision.INT8, cache=tmp_path)) as executable:
        found = executable.run(random_feed(model, 1))["output"]
    require_near(found, reference(model, 1), INT8_TOLERANCE)
    assert device.facts().identity["quantiser"] == "nncf"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"threads": 0}, "threads = 0"),
        ({"streams": 0}, "streams = 0"),
        ({"hint": "FAST"}, "LATENCY and THROUGHPUT"),
        ({"target": "AUTO"}, r"target = 'AUTO': give CPU, GPU, GPU\.1"),
        ({"target": "HETERO:GPU,CPU"}, "target = 'HETERO"),
        ({"precision": "int8", "inference_precision": "i8"}, 'with precision = "int8" it is f32 or f16 or bf16'),
        ({"inference_precision": "bf16"}, 'with precision = "fp32" it is f32'),
        ({"precision": "fp16", "inference_precision": "f32"}, 'with precision = "fp16" it is f16 or bf16'),
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        OpenVinoDevice(**{"threads": 1, **wrong})


@pytest.mark.parametrize("target", ["NPU", "GPU.7"])
def test_a_target_that_is_not_there_is_refused_naming_what_is(target: str) -> None:
    with pytest.raises(DeviceError, match=rf"no device '{target}' here .there: .*CPU"):
        OpenVinoDevice(threads=1, target=target).facts()


def told(found: Sequence[str], **kinds: str) -> Any:
    return SimpleNamespace(available_devices=found, get_property=lambda target, name: kinds[target.replace(".", "_")])


@pytest.mark.parametrize(
    ("core", "best"),
    [
        (told(["CPU"]), "CPU"),
        (told(["CPU", "NPU"]), "CPU"),
        (told(["CPU", "GPU", "NPU"], GPU="Type.INTEGRATED"), "GPU"),
        (told(["CPU", "GPU.0", "GPU.1"], GPU_0="Type.INTEGRATED", GPU_1="Type.DISCRETE"), "GPU.1"),
    ],
)
def test_the_best_of_what_is_there(core: Any, best: str) -> None:
    device = OpenVinoDevice(1, target="best")
    device._core = core
    assert device._resolved() == best


def test_what_best_stands_for_is_the_identity() -> None:
    """So a table of the CPU is found by either name of the target."""
    best, cpu = (dict(OpenVinoDevice(1, target=target).facts().identity) for target in ("best", "CPU"))
    if "GPU" not in openvino.Core().available_devices:
        assert best == cpu
    assert cpu["provider_options"] == "hint=LATENCY;precision=f32;streams=1"


def test_int8_needs_a_target_that_has_it() -> None:
    settings = OpenVinoSettings(1, "GPU", precision=Precision.INT8)
    settings.require_had("GPU", ["FP32", "INT8"])
    with pytest.raises(InputError, match=r"precision 'int8' \(f32\): OpenVINO's GPU here computes in FP32, FP16\."):
        settings.require_had("GPU", ["FP32", "FP16"])


def test_numbers_that_a_target_does_not_have_are_refused() -> None:
    npu = OpenVinoSettings(1, "NPU")
    with pytest.raises(InputError, match=r"precision 'fp32' \(f32\): OpenVINO's NPU here computes in FP16\."):
        npu.require_had("NPU", ["FP16", "INT8", "EXPORT_IMPORT"])


@pytest.mark.parametrize(
    ("runs_on", "numbers", "message"),
    [(["CPU"], "f32", "target GPU asked, it would run on CPU"), (["GPU.0"], "f16", "f32 asked, .* compute in f16")],
)
def test_a_runtime_that_does_not_keep_to_it_is_refused(runs_on: list[str], numbers: str, message: str) -> None:
    said = {
        "EXECUTION_DEVICES": runs_on,
        "INFERENCE_PRECISION_HINT": SimpleNamespace(get_type_name=lambda: numbers),
        "SUPPORTED_PROPERTIES": ["INFERENCE_PRECISION_HINT"],
    }
    with pytest.raises(DeviceError, match=message):
        OpenVinoSettings(1, "GPU").require_kept(SimpleNamespace(get_property=said.__getitem__), "GPU")


def test_settings_by_target() -> None:
    settings = OpenVinoSettings(2, streams=3)
    common = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    assert settings.properties("CPU") == {**common, "NUM_STREAMS": "3", "INFERENCE_NUM_THREADS": "2"}
    assert settings.properties("GPU.1") == {**common, "NUM_STREAMS": "3"}
    assert settings.properties("NPU") == common


def test_the_cache_keeps_what_was_compiled_and_gives_the_same(tmp_path: Path) -> None:
    space = small_space()
    model = random_network(space, space.largest(), 1)
    feed, outputs = random_feed(model, 1), []
    for cached in (False, True, True):
        device = OpenVinoDevice(1, model_cache=cached)
        program = device.compile(model, precision=Precision.FP32, cache=tmp_path)
        with device.load(program) as executable:
            outputs.append(executable.run(feed)["output"])
        assert len(list(tmp_path.rglob("*.blob"))) == int(cached)
    assert all(np.array_equal(outputs[0], other) for other in outputs)
    assert "model_cache=1" in OpenVinoDevice(1, model_cache=True).facts().identity["provider_options"]


def test_a_cache_is_for_one_way_of_compiling(tmp_path: Path) -> None:
    made_by = {"openvino": "2026.4"}
    folders = {
        OpenVinoSettings(1).cache_folder(tmp_path, "CPU", made_by),
        OpenVinoSettings(2).cache_folder(tmp_path, "CPU", made_by),
        OpenVinoSettings(1, hint="THROUGHPUT").cache_folder(tmp_path, "CPU", made_by),
        OpenVinoSettings(1).cache_folder(tmp_path, "CPU", {"openvino": "2026.5"}),
        OpenVinoSettings(1).cache_folder(tmp_path, "GPU", made_by),
    }
    assert len(folders) == 5
