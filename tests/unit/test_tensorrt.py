"""The tensorrt adapter without a GPU: keys, options, refusals, and its own logic on stand-ins (see stand_in_gpu)."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper

from binas_deploy.adapters import cuda
from binas_deploy.adapters.base import Device, KeepsArtefacts, Precision, Program
from binas_deploy.adapters.jetson import Jetson
from binas_deploy.adapters.registry import ADAPTERS, missing_package
from binas_deploy.adapters.tensorrt.device import TIMING_CACHE, TensorRtDevice, TensorRtRtxDevice
from binas_deploy.adapters.tensorrt.options import Options
from binas_deploy.adapters.tensorrt.recipe import Place, Recipe, calibrates, engine_key, packed, unpacked
from binas_deploy.conditions import BACK_TO_BACK, Conditions
from binas_deploy.devices import load_device_spec, open_device
from binas_deploy.errors import DeviceError, InputError, MissingExtraError
from binas_deploy.model import OUTPUT_NAME, OnnxModel
from binas_deploy.testing.device_suite import DeviceSuite
from binas_deploy.testing.networks import random_feed, random_network, small_space
from tests.unit.stand_in_gpu import StandInCuda, StandInTensorRt, stand_in

PLACE = Place("tensorrt", "10.13.0.35", "NVIDIA Stand-in", "9.0")
RECIPE = Recipe(Precision.FP32)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> tuple[StandInTensorRt, StandInCuda]:
    return stand_in(monkeypatch)


@pytest.fixture
def model() -> OnnxModel:
    space = small_space()
    return random_network(space, space.smallest(), 1, batch=2)


def quantized(model: OnnxModel) -> OnnxModel:
    """The same with a pair of Q and DQ behind its input."""
    proto: ModelProto = onnx.load_model_from_string(model.payload)
    scale = onnx.numpy_helper.from_array(np.array(0.05, np.float32), "scale")
    nodes = [
        helper.make_node("QuantizeLinear", ["input", "scale"], ["input.q"]),
        helper.make_node("DequantizeLinear", ["input.q", "scale"], ["input.dq"]),
    ]
    for node in proto.graph.node:
        node.input[:] = ["input.dq" if name == "input" else name for name in node.input]
    kept = list(proto.graph.node)
    proto.graph.ClearField("node")
    proto.graph.node.extend([*nodes, *kept])
    proto.graph.initializer.append(scale)
    return OnnxModel(proto.SerializeToString(), model.input_shape, model.output_shape)


def test_the_key_changes_with_everything_that_matters(tmp_path: Path) -> None:
    tables = [tmp_path / name for name in ("a.cache", "b.cache")]
    for path in tables:
        path.write_text(path.name, encoding="utf-8")
    recipes = [
        RECIPE,
        *(replace(RECIPE, precision=precision) for precision in (Precision.FP16, Precision.INT8)),
        replace(RECIPE, optimization_level=5),
        replace(RECIPE, tf32=True),
        replace(RECIPE, workspace_mib=64),
        replace(RECIPE, calibration="random"),
        *(replace(RECIPE, calibration=str(path)) for path in tables),
    ]
    places = [
        PLACE,
        replace(PLACE, package="tensorrt_rtx"),
        replace(PLACE, version="10.13.0.36"),
        replace(PLACE, gpu="NVIDIA H200"),
        replace(PLACE, capability="8.7"),
    ]
    keys = [engine_key(sha, place, recipe) for sha in ("one", "two") for place in places for recipe in recipes]
    assert len(set(keys)) == len(keys)
    assert keys[0] == engine_key("one", PLACE, RECIPE)


def test_engines_are_packed_with_their_place() -> None:
    assert unpacked(packed(b"\n\x00engine", PLACE)) == (PLACE, b"\n\x00engine")
    for wrong in (b"", b"an engine", packed(b"", PLACE), b"binas-deploy engine 1\n{}\nengine"):
        with pytest.raises(DeviceError, match="no engine that binas-deploy packed"):
            unpacked(wrong)


def test_an_engine_of_another_place_is_refused_with_both(gpu: object, model: OnnxModel) -> None:
    elsewhere = replace(PLACE, version="10.3.0", gpu="Orin", capability="8.7")
    program = Program(model.sha256, packed(b"engine", elsewhere))
    with (
        pytest.raises(DeviceError, match=r"version: built for 10.3.0, here is 10.13.0.35; gpu: built for Orin"),
        TensorRtDevice(1).load(program),
    ):
        pass


def test_a_damaged_engine_is_refused_with_what_tensorrt_says(gpu: object, model: OnnxModel) -> None:
    with (
        pytest.raises(DeviceError, match=r"cannot load model .*: magic tag does not match"),
        TensorRtDevice(1).load(Program(model.sha256, packed(b"damaged", PLACE))),
    ):
        pass


@pytest.mark.parametrize("wrong", [{"optimization_level": 6}, {"gpu": -1}, {"workspace_mib": -1}])
def test_options_that_make_no_sense_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(InputError):
        Options(**wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="one thread feeds a GPU"):
        TensorRtDevice(2)


def test_without_tensorrt_it_is_explained() -> None:
    for name, hint in (("tensorrt", "JetPack"), ("tensorrt_rtx", "SDK")):
        if missing_package(ADAPTERS[name]) is None:
            pytest.skip(f"{name} is installed")
        assert hint in str(missing_package(ADAPTERS[name]))


def test_without_cuda_bindings_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch)
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", None)
    with pytest.raises(MissingExtraError, match=r"binas-deploy\[cuda\]"):
        cuda.runtime()


def test_cuda_s_errors_have_their_name_and_a_remedy(gpu: object) -> None:
    with pytest.raises(DeviceError, match="cudaErrorInvalidDevice: there are fewer GPUs"):
        TensorRtDevice(1, gpu=3).facts()


def test_without_a_driver_that_is_said() -> None:
    pytest.importorskip("cuda.bindings.runtime")
    if int(cuda.runtime().cudaGetDeviceCount()[0]) == 0:
        assert cuda.gpu(0).name
        return
    with pytest.raises(DeviceError, match="there is no NVIDIA"):
        cuda.gpu(0)


def test_the_shipped_devices_open(gpu: object, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("gpu", "jetson"):
        assert isinstance(open_device(load_device_spec(name)), TensorRtDevice)
    stand_in(monkeypatch, "tensorrt_rtx", "1.7.0.5")
    assert isinstance(open_device(load_device_spec("gpu-rtx")), TensorRtRtxDevice)


def test_facts_hold_gpu_version_and_settings(gpu: object) -> None:
    facts = TensorRtDevice(1, tf32=True, copies=True).facts()
    assert facts.identity["device_model"] == "NVIDIA Stand-in (compute capability 9.0, 132 multiprocessors)"
    assert (facts.identity["runtime"], facts.identity["runtime_version"]) == ("tensorrt", "10.13")
    options = "cuda_graph=1;io=pinned;optimization_level=3;tf32=1;workspace_mib=0"
    assert facts.identity["provider_options"] == options
    assert facts.context["cuda_driver"] == "12.8"
    assert facts.advice == ()


def test_a_board_states_its_power_mode_and_what_to_do(
    gpu: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, text in {
        "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 1\n",
        "proc/device-tree/model": "NVIDIA Jetson AGX Orin Developer Kit\0",
        "etc/nvpmodel.conf": "< POWER_MODEL ID=0 NAME=MAXN >\n< POWER_MODEL ID=2 NAME=MODE_30W >\n",
        "var/lib/nvpmodel/status": "pmode:0002\n",
        "sys/class/thermal/cooling_device1/type": "gpu-throttle-alert\n",
        "sys/class/thermal/cooling_device1/cur_state": "0\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    device = TensorRtDevice(1, power_mode=0)
    monkeypatch.setattr(device, "_board", Jetson(tmp_path))
    facts = device.facts()
    assert facts.identity["device_model"] == "NVIDIA Jetson AGX Orin Developer Kit"
    assert facts.identity["power_mode"] == "2 (MODE_30W)"
    assert facts.advice == ("power mode 0 (MAXN) is asked for, the board is in 2 (MODE_30W): sudo nvpmodel -m 0",)
    Conditions({**facts.identity, "device": "d", "precision": "fp16", "batch": "1", "cadence": BACK_TO_BACK}, {})
    space = small_space()
    network = random_network(space, space.smallest(), 1)
    program = device.compile(network, precision=Precision.FP32, cache=tmp_path / "cache")
    with device.load(program) as executable:
        executable.sample(random_feed(network, 1), count=2)
        (tmp_path / "sys/class/thermal/cooling_device1/cur_state").write_text("1\n", encoding="utf-8")
        with pytest.raises(DeviceError, match="this round is not recorded"):
            executable.sample(random_feed(network, 1), count=2)
    with pytest.raises(DeviceError, match=r"the board throttles .gpu-throttle-alert."):
        device.facts()


class OnStandIns(DeviceSuite):
    cycles = 20

    def make_device(self) -> Device:
        return TensorRtDevice(1)


@pytest.mark.parametrize(
    "part",
    [
        "outputs_equal_the_reference",
        "batches",
        "runs_are_deterministic",
        "samples_are_positive_integers",
        "broken_models_are_refused",
        "loading_leaks_nothing",
    ],
)
def test_what_stand_ins_can_sit_of_the_exam(gpu: object, tmp_path: Path, part: str) -> None:
    getattr(OnStandIns(), f"test_{part}")(tmp_path)


@pytest.mark.parametrize("copies", [False, True])
@pytest.mark.parametrize("graph", [False, True])
def test_every_way_of_calling_gives_the_same_and_frees_all(
    gpu: tuple[StandInTensorRt, StandInCuda], model: OnnxModel, tmp_path: Path, graph: bool, copies: bool
) -> None:
    device = TensorRtDevice(1, cuda_graph=graph, copies=copies)
    program = device.compile(model, precision=Precision.FP32, cache=tmp_path)
    first, second = random_feed(model, 1), random_feed(model, 2)
    with device.load(program) as executable:
        found = [executable.run(feed)[OUTPUT_NAME] for feed in (first, second, first)]
        assert gpu[1].live["executable graph"] == graph
        executable.sample(second, count=3)
    assert np.array_equal(found[0], found[2])
    assert not np.array_equal(found[0], found[1])
    assert not any(gpu[1].live.values())
    with pytest.raises(DeviceError, match="closed"):
        executable.run(first)


def test_inputs_of_another_shape_are_refused(gpu: object, model: OnnxModel, tmp_path: Path) -> None:
    device = TensorRtDevice(1)
    with device.load(device.compile(model, precision=Precision.FP32, cache=tmp_path)) as executable:
        for feed in ({"input": np.zeros((1, 3, 16, 16), np.float32)}, {}):
            with pytest.raises(InputError, match=r"input 'input' takes shape \(2, 3, 16, 16\), found"):
                executable.run(feed)


def test_an_engine_is_built_once(gpu: tuple[StandInTensorRt, StandInCuda], model: OnnxModel, tmp_path: Path) -> None:
    package, _ = gpu
    programs = [TensorRtDevice(1).compile(model, precision=Precision.FP32, cache=tmp_path) for _ in range(2)]
    assert programs[0] == programs[1]
    assert package.built == [{"typed": True, "flags": set(), "level": 3}]
    (engine,) = tmp_path.glob("tensorrt/*.engine")
    engine.write_bytes(engine.read_bytes()[:40])
    TensorRtDevice(1).compile(model, precision=Precision.FP32, cache=tmp_path)
    assert len(package.built) == 2


def test_the_timing_cache_is_shared_kept_and_its_hash_stated(gpu: object, model: OnnxModel, tmp_path: Path) -> None:
    device, other = TensorRtDevice(1), random_network(small_space(), small_space().largest(), 2)
    assert isinstance(device, KeepsArtefacts)
    assert "timing_cache" not in device.facts().context
    for network in (model, other):
        device.compile(network, precision=Precision.FP32, cache=tmp_path)
    assert device.artefacts() == {TIMING_CACHE: b"++"}
    assert device.facts().context["timing_cache"] == hashlib.sha256(b"++").hexdigest()[:16]


def test_a_kept_timing_cache_is_begun_with(gpu: object, model: OnnxModel, tmp_path: Path) -> None:
    for content, expected in ((b"kept", b"kept+"), (b"of another GPU", b"+")):
        path = tmp_path / f"{len(content)}.timing-cache"
        path.write_bytes(content)
        device = TensorRtDevice(1, timing_cache=str(path))
        device.compile(model, precision=Precision.FP32, cache=tmp_path / str(len(content)))
        assert device.artefacts() == {TIMING_CACHE: expected}


def test_a_timing_cache_that_is_not_there_is_refused(gpu: object, model: OnnxModel, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"options.timing_cache = 'nowhere': no such file"):
        TensorRtDevice(1, timing_cache="nowhere").compile(model, precision=Precision.FP32, cache=tmp_path)


def test_fp16_is_a_strongly_typed_network(
    gpu: tuple[StandInTensorRt, StandInCuda], model: OnnxModel, tmp_path: Path
) -> None:
    device, feed = TensorRtDevice(1), random_feed(model, 1)
    found = []
    for precision in (Precision.FP32, Precision.FP16):
        with device.load(device.compile(model, precision=precision, cache=tmp_path)) as executable:
            found.append(executable.run(feed)[OUTPUT_NAME])
    assert found[1].dtype == np.float32
    assert 0 < np.abs(found[0] - found[1]).max() / np.abs(found[0]).max() < 1e-2
    assert [row["typed"] for row in gpu[0].built] == [True, True]


def test_int8_takes_networks_that_say_how(
    gpu: tuple[StandInTensorRt, StandInCuda], model: OnnxModel, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"no QuantizeLinear.*or give options.calibration"):
        TensorRtDevice(1).compile(model, precision=Precision.INT8, cache=tmp_path)
    TensorRtDevice(1).compile(quantized(model), precision=Precision.INT8, cache=tmp_path)
    assert gpu[0].built[-1] == {"typed": True, "flags": set(), "level": 3}


@pytest.mark.parametrize(("calibration", "batches"), [("random", 1), ("kept", 0)])
def test_tensorrt_10_calibrates(
    gpu: tuple[StandInTensorRt, StandInCuda], model: OnnxModel, tmp_path: Path, calibration: str, batches: int
) -> None:
    path = tmp_path / "calibration.cache"
    path.write_bytes(b"ranges")
    device = TensorRtDevice(1, calibration=str(path) if calibration == "kept" else calibration)
    device.compile(model, precision=Precision.INT8, cache=tmp_path)
    assert gpu[0].built[-1] == {"typed": False, "flags": {"int8", "fp16"}, "level": 3}
    assert gpu[0].calibration_batches == batches
    assert not any(gpu[1].live.values())


@pytest.mark.parametrize(
    "place", [replace(PLACE, version="11.4.1"), replace(PLACE, package="tensorrt_rtx", version="1.7")]
)
def test_later_ones_do_not(place: Place) -> None:
    with pytest.raises(InputError, match="has no calibration"):
        calibrates(Recipe(Precision.INT8, calibration="random"), place)
    assert not calibrates(Recipe(Precision.INT8), place)
    assert not calibrates(Recipe(Precision.FP32, calibration="random"), place)


def test_unsupported_operators_are_named(gpu: object, tmp_path: Path) -> None:
    proto = onnx.load_model_from_string(random_network(small_space(), small_space().smallest(), 1).payload)
    proto.graph.node[0].op_type = "Unheard"
    with pytest.raises(DeviceError, match="cannot read the network: Conv: no such thing"):
        TensorRtDevice(1).compile(
            OnnxModel(proto.SerializeToString(), (1,), (1,)), precision=Precision.FP32, cache=tmp_path
        )


def test_rtx_captures_by_itself_and_keeps_kernels_in_place_of_timings(
    monkeypatch: pytest.MonkeyPatch, model: OnnxModel, tmp_path: Path
) -> None:
    _, runtime = stand_in(monkeypatch, "tensorrt_rtx", "1.7.0.5")
    device = TensorRtRtxDevice(1)
    with device.load(device.compile(model, precision=Precision.FP32, cache=tmp_path)) as executable:
        executable.sample(random_feed(model, 1), count=2)
        assert not runtime.live["executable graph"]
    assert device.artefacts() == {}
    assert [path.read_bytes() for path in tmp_path.glob("tensorrt_rtx/*.kernels")] == [b"kernels"]
    assert device.facts().identity["runtime"] == "tensorrt_rtx"
