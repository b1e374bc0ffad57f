"""The torch adapter's borders: what it refuses, what it leaves as it was, and CUDA's path with a clock of the CPU's."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from binas_deploy.adapters import host, runtime
from binas_deploy.adapters.base import Precision
from binas_deploy.adapters.onnxruntime import OnnxRuntimeDevice
from binas_deploy.adapters.runtime import Runtime
from binas_deploy.adapters.torch.device import TorchDevice
from binas_deploy.adapters.torch.settings import MARK, Settings
from binas_deploy.devices import load_device_spec, open_device
from binas_deploy.errors import DeviceError, InputError, MissingExtraError
from binas_deploy.model import INPUT_NAME, OUTPUT_NAME, OnnxModel
from binas_deploy.testing.networks import random_feed, random_network, small_space

torch = pytest.importorskip("torch")
from binas_deploy.adapters.torch import place as places  # noqa: E402  it needs torch
from binas_deploy.adapters.torch.executable import Executable  # noqa: E402

SHAPE = (1, 4, 6, 6)
WEIGHT, BIAS = np.ones((4, 4, 3, 3), np.float32), np.ones(4, np.float32)
SAME: dict[str, Any] = {"kernel_shape": [3, 3], "strides": [1, 1], "pads": [1, 1, 1, 1], "group": 1}


@pytest.fixture(scope="module")
def model() -> OnnxModel:
    space = small_space()
    return random_network(space, space.smallest(), 0)


def loaded(device: TorchDevice, model: OnnxModel) -> contextlib.AbstractContextManager[Executable]:
    return device.load(device.compile(model, precision=Precision.FP32, cache=Path()))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threads": 0}, "at least 1"),
        ({"target": "gpu"}, "'cpu', 'cuda' and 'cuda:1'"),
        ({"target": 1}, "'cpu', 'cuda' and 'cuda:1'"),
        ({"execution": "jit"}, "'eager' and 'compile'"),
        ({"execution": "compile", "mode": "quick"}, "default and max-autotune-no-cudagraphs"),
        ({"execution": "compile", "mode": "reduce-overhead"}, "Set cuda_graphs = true and mode = 'default'"),
        ({"mode": "max-autotune-no-cudagraphs"}, "eager execution has no mode"),
        ({"channels_last": "yes"}, "write true or false"),
        ({"cuda_graphs": True}, "only CUDA has that"),
        ({"tf32": True}, 'tf32 = true: only CUDA has that. Remove it, or set target = "cuda"'),
    ],
)
def test_settings_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TorchDevice(**{"threads": 1, **options})


def test_the_shipped_file_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "usable_cpus", lambda: 2)
    facts = open_device(load_device_spec("torch")).facts()
    assert facts.identity == TorchDevice(1).facts().identity
    assert facts.identity["runtime"] == "torch"
    assert (facts.identity["provider"], facts.identity["provider_options"]) == (
        "CPU",
        "channels_last=0;execution=eager",
    )


def test_facts_of_a_cpu_are_read_without_importing_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr(runtime, "_installed_version", lambda name: "2.13.0+cpu")
    monkeypatch.setattr(Runtime, "imported", lambda self: pytest.fail("imported"))
    facts = TorchDevice(1, execution="compile", channels_last=True).facts()
    assert (facts.identity["runtime_version"], facts.context["runtime_version_full"]) == ("2.13", "2.13.0+cpu")
    assert facts.identity["provider_options"].startswith("channels_last=1;cxx=")
    assert facts.identity["provider_options"].endswith(";execution=compile;mode=default")


def test_variables_that_change_torch_are_part_of_the_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = TorchDevice(1).facts().identity["provider_options"]
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx2")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert TorchDevice(1).facts().identity["provider_options"] == f"ATEN_CPU_CAPABILITY=avx2;{plain}"


def test_the_compiler_is_named_also_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "/nowhere/c++")
    assert "cxx=c++ unknown;" in TorchDevice(1, execution="compile").facts().identity["provider_options"]


def test_no_torch_is_a_missing_extra(monkeypatch: pytest.MonkeyPatch, model: OnnxModel) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(runtime, "_installed_version", lambda name: "")
    with pytest.raises(MissingExtraError, match=r"pip install 'binas-deploy\[torch\]'"), loaded(TorchDevice(1), model):
        pass


def test_precisions_that_the_target_does_not_have_are_refused(model: OnnxModel, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="precision 'fp16': on CPUs torch is slower"):
        TorchDevice(1).compile(model, precision=Precision.FP16, cache=tmp_path)
    for target in ("cpu", "cuda"):
        with pytest.raises(InputError, match="precision 'int8'"):
            TorchDevice(1, target=target).compile(model, precision=Precision.INT8, cache=tmp_path)
    assert TorchDevice(1, target="cuda").compile(model, precision=Precision.FP16, cache=tmp_path).payload[:4] == b"fp16"


def test_a_gpu_that_is_not_there_is_the_device_s_error(model: OnnxModel) -> None:
    device = TorchDevice(1, target="cuda:77")
    with pytest.raises(DeviceError, match=r"target 'cuda:77' asked, torch .* sees \d CUDA devices"):
        device.facts()
    with pytest.raises(DeviceError, match="target 'cuda:77' asked"), loaded(device, model):
        pass


def one_node(op: str, *inputs: str, domain: str = "", source: str = INPUT_NAME, **attributes: Any) -> OnnxModel:
    node = helper.make_node(op, [source, *inputs], [OUTPUT_NAME], name="odd", domain=domain, **attributes)
    arrays = {"w": WEIGHT, "b": BIAS, "0": np.float32(0), "5": np.float32(5), "m": np.ones((2, 144), np.float32)}
    value, output = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, SHAPE) for name in (INPUT_NAME, OUTPUT_NAME)
    )
    initialisers = [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()]
    graph = helper.make_graph([node], "odd", [value], [output], initialisers)
    return OnnxModel(bytes(helper.make_model(graph).SerializeToString()), SHAPE, SHAPE)


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        (one_node("Softmax"), "operator 'Softmax' .node 'odd'.: the torch adapter has Add, Clip, Conv"),
        (one_node("Relu", domain="theirs"), "operator 'theirs.Relu'"),
        (one_node("Relu", source="nowhere"), "Relu node 'odd' reads 'nowhere'"),
        (one_node("Add", "b"), "Add node 'odd' reads 'b'"),
        (one_node("Conv", "w", **SAME), "Conv node 'odd' has 2 inputs, the torch adapter knows 3"),
        (one_node("Conv", "w", "b", **SAME, dilations=[2, 2]), r"dilations = \[2, 2\], the torch adapter knows none"),
        (one_node("Conv", "w", "b", kernel_shape=[3, 3]), "group = none, the torch adapter knows any"),
        (one_node("Conv", "w", "b", **{**SAME, "pads": [0, 1, 2, 1]}), r"Conv with pads = \[0, 1, 2, 1\]"),
        (one_node("Clip", "0", "5"), r"Clip to \[0.0, 5.0\]"),
        (one_node("HardSigmoid"), "alpha = none, the torch adapter knows 0.1666"),
        (one_node("HardSigmoid", alpha=0.2, beta=0.5), "alpha = 0.2"),
        (one_node("Flatten", axis=2), "axis = 2, the torch adapter knows 1"),
        (one_node("Gemm", "m", "b", transB=1, alpha=0.5), "alpha = 0.5, the torch adapter knows none"),
        (OnnxModel(b"", SHAPE, SHAPE), "the model has 0 inputs"),
        (OnnxModel(b"no model", SHAPE, SHAPE), "cannot load model"),
    ],
)
def test_what_our_networks_do_not_have_is_refused_by_name(odd: OnnxModel, message: str) -> None:
    with pytest.raises(DeviceError, match=message) as error, loaded(TorchDevice(1), odd):
        pass
    assert str(error.value).startswith("torch cannot load model")


def test_wrong_inputs_are_the_device_s_error(model: OnnxModel) -> None:
    with loaded(TorchDevice(1), model) as executable:
        for feed in ({INPUT_NAME: np.zeros((1, 3, 5, 5), np.float32)}, {"other": np.zeros((1,), np.float32)}):
            for call in (lambda feed=feed: executable.run(feed), lambda feed=feed: executable.sample(feed, count=1)):
                with pytest.raises(DeviceError, match="torch failed while running: the model takes 'input' of shape"):
                    call()
    with pytest.raises(DeviceError, match="this program is closed"):
        executable.run(random_feed(model, 0))


def test_sampling_uses_the_values_given(model: OnnxModel) -> None:
    read_only = random_feed(model, 3)
    read_only[INPUT_NAME].flags.writeable = False
    with loaded(TorchDevice(1), model) as executable:
        first = executable.run(random_feed(model, 1))[OUTPUT_NAME]
        for feed in (random_feed(model, 1), random_feed(model, 2), read_only):
            assert executable.sample(feed, count=3).shape == (3,)
        assert np.array_equal(first, executable.run(random_feed(model, 1))[OUTPUT_NAME])


def test_loading_draws_no_random_numbers(model: OnnxModel) -> None:
    before = torch.get_rng_state()
    with loaded(TorchDevice(1), model):
        assert torch.equal(torch.get_rng_state(), before)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, bool, str]]:
    """(threads, inference mode, precision of products) at each block of samples."""
    found: list[tuple[int, bool, str]] = []

    def times(self: Any, run: Callable[[], Any], count: int) -> list[int]:
        found.append((torch.get_num_threads(), torch.is_inference_mode_enabled(), torch.get_float32_matmul_precision()))
        return [1] * count

    monkeypatch.setattr(places.Place, "times", times)
    return found


@pytest.fixture
def three_threads() -> Iterator[None]:
    """A process whose own number of threads no device asks for."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("three_threads")
def test_devices_with_other_threads_do_not_disturb_one_another(
    model: OnnxModel, seen: list[tuple[int, bool, str]]
) -> None:
    feed, others = random_feed(model, 1), []
    torch.set_float32_matmul_precision("medium")
    try:
        with loaded(TorchDevice(1), model) as one, loaded(TorchDevice(2), model) as two:
            assert torch.get_num_threads() == 3
            for executable in (one, two, two, one):
                executable.sample(feed, count=1)
            two.run(feed)
            assert torch.get_num_threads() == 1
            other = threading.Thread(target=lambda: others.append(two.sample(feed, count=1)))
            other.start()
            other.join()
            assert torch.get_num_threads() == 1
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert seen == [(threads, True, "highest") for threads in (1, 2, 2, 1, 2)]
    assert others[0].tolist() == [1]
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("three_threads")
def test_what_fails_gives_all_back(model: OnnxModel) -> None:
    with loaded(TorchDevice(2), model) as executable, pytest.raises(DeviceError):
        executable.sample({}, count=1)
    assert torch.get_num_threads() == 3
    with pytest.raises(DeviceError), loaded(TorchDevice(2), one_node("Softmax")):
        pass
    assert torch.get_num_threads() == 3


class Event:
    """A CUDA event by the CPU's clock."""

    def __init__(self, enable_timing: bool = False) -> None:
        assert enable_timing
        self.ns = 0

    def record(self) -> None:
        self.ns = time.perf_counter_ns()

    def synchronize(self) -> None:
        log("wait")

    def elapsed_time(self, end: Event) -> float:
        return (end.ns - self.ns) / 1e6


class Stream:
    def wait_stream(self, other: Stream) -> None:
        log("order")


class Graph:
    """What a capture holds is done at once, and again when replayed: here nothing, as the input has not changed."""

    def replay(self) -> None:
        log("replay")


calls: list[str] = []
log = calls.append


class OnCpu(places.CudaPlace):
    """CUDA's path, with tensors that are where this machine has them."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.device = torch.device("cpu")


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """As much of torch.cuda as `CudaPlace` uses."""
    calls.clear()
    properties = {"name": "A GPU", "major": 9, "minor": 0, "multi_processor_count": 132}
    doubles: dict[str, Any] = {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "get_device_properties": lambda device: type("Properties", (), properties),
        "synchronize": lambda device: log("synchronize"),
        "empty_cache": lambda: log("empty"),
        "current_stream": Stream,
        "device": contextlib.nullcontext,
        "stream": contextlib.nullcontext,
        "graph": lambda graph, stream, capture_error_mode: contextlib.nullcontext(log(f"capture {capture_error_mode}")),
        "Event": Event,
        "Stream": Stream,
        "CUDAGraph": Graph,
    }
    for name, double in doubles.items():
        monkeypatch.setattr(torch.cuda, name, double)
    monkeypatch.setattr(places, "_pinned", lambda like: torch.empty_like(like, device="cpu"))


def settings(**changed: Any) -> Settings:
    plain = {"execution": "eager", "mode": "default", "channels_last": False, "cuda_graphs": False}
    rest = {"transfers": False, "tf32": False, "cudnn_benchmark": False}
    return Settings(threads=1, target="cuda", **{**plain, **rest, **changed})


@pytest.mark.usefixtures("cuda")
@pytest.mark.parametrize("precision", [Precision.FP32, Precision.FP16])
@pytest.mark.parametrize("changed", [{}, {"transfers": True}, {"channels_last": True, "transfers": True}])
def test_cuda_s_path_gives_right_outputs_and_times(
    model: OnnxModel, precision: Precision, changed: dict[str, bool]
) -> None:
    feed = random_feed(model, 1)
    chosen = settings(**changed)
    with loaded(TorchDevice(1), model) as right:
        expected = right.run(feed)[OUTPUT_NAME]
    executable = Executable(chosen, OnCpu(chosen), precision.value.encode() + MARK + model.payload)
    found: NDArray[np.float32] = executable.run(feed)[OUTPUT_NAME]
    assert found.dtype == np.float32
    allowed = 1e-5 if precision is Precision.FP32 else 2e-2
    assert np.abs(found - expected).max() <= allowed * np.abs(expected).max()
    calls.clear()
    assert (executable.sample(feed, count=4) > 0).all()
    assert calls == ["synchronize", *["wait"] * 4]


@pytest.mark.usefixtures("cuda")
def test_a_cuda_graph_is_captured_once_and_replayed(model: OnnxModel) -> None:
    chosen = settings(cuda_graphs=True, transfers=True)
    executable = Executable(chosen, OnCpu(chosen), b"fp32" + MARK + model.payload)
    assert calls == ["order", "order", "capture thread_local", "replay", "replay", "synchronize"]
    calls.clear()
    executable.sample(random_feed(model, 1), count=2)
    assert calls == ["synchronize", "replay", "wait", "replay", "wait"]


@pytest.mark.usefixtures("cuda")
def test_the_gpu_s_facts_and_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91002)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(host, "cpu_model", lambda: "A CPU")
    identity = TorchDevice(1, target="cuda", cuda_graphs=True, tf32=True).facts().identity
    assert (identity["device_model"], identity["provider"]) == ("A GPU (sm_90, 132 SMs)", "CUDA")
    assert identity["provider_options"] == (
        "channels_last=0;cuda=13.0;cuda_graphs=1;cudnn=91002;cudnn_benchmark=0;execution=eager;host=A CPU;tf32=1;"
        "transfers=0"
    )
    cudnn = torch.backends.cudnn
    before = (cudnn.allow_tf32, cudnn.benchmark)
    with OnCpu(settings(tf32=False, cudnn_benchmark=True)).settings():
        assert (cudnn.enabled, cudnn.allow_tf32, cudnn.benchmark) == (True, False, True)
    assert (cudnn.allow_tf32, cudnn.benchmark) == before
    with pytest.raises(DeviceError, match="target 'cuda:1' asked"):
        TorchDevice(1, target="cuda:1").facts()


def test_the_networks_of_both_shipped_spaces_are_rebuilt() -> None:
    """Every operator that the builder can write, against ONNX Runtime, where numbers are largest."""
    pytest.importorskip("onnxruntime")
    from binas_deploy.space_file import load_space

    for name in ("cifar10", "mobilenetv3"):
        space = load_space(name)
        model = random_network(space, space.smallest(), 5)
        with loaded(TorchDevice(1), model) as executable:
            found = executable.run(random_feed(model, 5))[OUTPUT_NAME]
        other = OnnxRuntimeDevice(1)
        with other.load(other.compile(model, precision=Precision.FP32, cache=Path())) as session:
            expected = session.run(random_feed(model, 5))[OUTPUT_NAME]
        assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()
        assert onnx.load_model_from_string(model.payload).graph.node
