"""Quantising: what is made, that it is the same each time, and what is refused."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, load_model_from_string, numpy_helper

from binas_deploy.adapters import host
from binas_deploy.adapters.base import Precision
from binas_deploy.adapters.onnxruntime import OnnxRuntimeDevice
from binas_deploy.errors import BinasError, DeviceError, InputError
from binas_deploy.model import OnnxModel
from binas_deploy.quantised import compute_nodes, in_float, nodes_of, silent_on_precision, with_any_batch
from binas_deploy.quantisers import quantiser, quantiser_names
from binas_deploy.quantisers.for_timing import as_compiled, quantised_for_timing, random_image
from binas_deploy.quantisers.running import logits
from binas_deploy.testing.networks import random_network, small_space

pytest.importorskip("onnxruntime")
PLACES = ("stem", "stages.0.0", "stages.1.0", "stages.1.1", "stages.2.0", "head")


def network(seed: int = 1, batch: int = 1) -> OnnxModel:
    space = small_space()
    return random_network(space, space.largest(), seed, batch=batch)


def images(count: int = 8, seed: int = 0) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.random.default_rng(seed).standard_normal((count, 3, 16, 16), dtype=np.float32)


@pytest.fixture(scope="module", params=quantiser_names())
def name(request: pytest.FixtureRequest) -> str:
    pytest.importorskip(request.param)
    return str(request.param)


@pytest.fixture(scope="module")
def original() -> ModelProto:
    return load_model_from_string(network().payload)


@pytest.fixture(scope="module")
def quantised(name: str) -> OnnxModel:
    return quantiser(name).quantise(network(), images())


@pytest.fixture(scope="module")
def made(quantised: OnnxModel) -> ModelProto:
    return load_model_from_string(quantised.payload)


def tensors(model: ModelProto) -> dict[str, TensorProto]:
    return {tensor.name: tensor for tensor in model.graph.initializer}


def weight_of(model: ModelProto, node: onnx.NodeProto) -> tuple[TensorProto, TensorProto]:
    """(int8 weights, scales) that reach a node by its DequantizeLinear."""
    makers = {output: maker for maker in model.graph.node for output in maker.output}
    link = makers[node.input[1]]
    assert link.op_type == "DequantizeLinear"
    return tensors(model)[link.input[0]], tensors(model)[link.input[1]]


def quantised_nodes(model: ModelProto) -> list[onnx.NodeProto]:
    """Those with int8 weights."""
    links = {output for node in model.graph.node if node.op_type == "DequantizeLinear" for output in node.output}
    return [node for node in compute_nodes(model) if node.input[1] in links]


def test_what_is_made_is_onnx_of_the_same_shapes(quantised: OnnxModel, made: ModelProto) -> None:
    onnx.checker.check_model(made, full_check=True)
    assert (quantised.input_shape, quantised.output_shape) == (network().input_shape, network().output_shape)
    dims = [[dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in made.graph.input]
    assert dims == [list(network().input_shape)]
    assert made.opset_import[0].version == 20
    assert {one.domain for one in made.opset_import} <= {"", "ai.onnx.ml"}
    assert not made.producer_version


def test_every_node_of_the_float_network_is_still_there(made: ModelProto, original: ModelProto) -> None:
    names = [node.name for node in made.graph.node]
    assert {node.name for node in original.graph.node} <= set(names)
    assert len(names) == len(set(names))


def test_weights_are_int8_by_output_channel(made: ModelProto) -> None:
    for node in quantised_nodes(made):
        weight, scales = weight_of(made, node)
        assert weight.data_type == TensorProto.INT8, node.name
        assert list(scales.dims) == [weight.dims[0]], node.name


def test_all_layers_are_quantised_but_squeeze_and_excitation_by_nncf(made: ModelProto, name: str) -> None:
    found = {node.name for node in quantised_nodes(made)}
    gates = {node.name for node in compute_nodes(made) if node.name.endswith((".squeeze", ".excite"))}
    assert gates
    assert found >= {node.name for node in compute_nodes(made)} - gates
    assert bool(found & gates) == (name == "onnxruntime")


def test_weights_are_within_half_a_step_of_the_float_ones(made: ModelProto, original: ModelProto) -> None:
    floats = tensors(original)
    for node in quantised_nodes(made):
        weight, scales = (numpy_helper.to_array(tensor) for tensor in weight_of(made, node))
        steps = scales.reshape(-1, *[1] * (weight.ndim - 1))
        before = numpy_helper.to_array(floats[f"{node.name}.weight"])
        # NNCF narrows the first layer's range to half, so that sums cannot overflow: its steps are twice as large.
        assert np.abs(weight * steps - before).max() <= 0.51 * steps.max()


def test_outputs_are_near_those_in_fp32(made: ModelProto, original: ModelProto) -> None:
    inputs = images(64, seed=5)
    found, expected = logits(made, inputs), logits(original, inputs)
    noise = np.square(found - expected).sum() / np.square(expected).sum()
    assert noise < 0.1, f"signal is only {10 * np.log10(1 / noise):.1f} dB above the noise"
    assert np.mean(found.argmax(1) == expected.argmax(1)) > 0.8


def test_the_batch_is_kept(name: str) -> None:
    found = quantiser(name).quantise(network(batch=3), images(2), timing_only=True)
    assert found.input_shape == (3, 3, 16, 16)
    read = load_model_from_string(found.payload)
    assert read.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 3


def test_the_model_that_is_given_stays_as_it_is(name: str) -> None:
    model = network()
    before = hashlib.sha256(model.payload).hexdigest()
    quantiser(name).quantise(model, images(1), timing_only=True)
    assert hashlib.sha256(model.payload).hexdigest() == before


SCRIPT = """
import sys
sys.path.insert(0, {folder!r})
from test_quantisers import images, network
from binas_deploy.quantisers import quantiser
print(quantiser({name!r}).quantise(network(), images()).sha256)
"""


def test_another_process_makes_the_same_bytes_and_prints_nothing(name: str, quantised: OnnxModel) -> None:
    """With other hashes of text, and with a root logger that lets everything through."""
    script = "import logging; logging.basicConfig(level=0)\n" + SCRIPT.format(
        folder=str(Path(__file__).parent), name=name
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7", "NNCF_CI": "", "PYTEST_VERSION": ""}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, check=False, env=environment
    )
    assert done.stdout.split() == [quantised.sha256], done.stderr
    assert "quantiz" not in done.stderr.lower()


def test_nncf_sends_nothing_to_anybody() -> None:
    pytest.importorskip("nncf")
    script = (
        "import numpy, sys; from binas_deploy.quantisers.nncf import _imported\n"
        "with _imported(): pass\n"
        "from nncf.telemetry import wrapper; print(type(wrapper.telemetry).__name__)"
    )
    rest = {key: value for key, value in os.environ.items() if key != "NNCF_CI"}
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, env=rest)
    assert done.stdout.strip() == "MagicMock", done.stderr


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (images(0), "0 calibration inputs"),
        (images(2)[:, :1], "float32 of shape"),
        (images(2).astype(np.float64), "not float64"),
        (np.full((2, 3, 16, 16), np.nan, np.float32), "not finite"),
        (np.full((2, 3, 16, 16), np.inf, np.float32), "not finite"),
        (np.zeros((2, 3, 16, 16), np.float32), "are all 0"),
        ([1, 2], "not list"),
        (np.broadcast_to(np.float32(1), (20_000, 3, 16, 16)), "20000 calibration inputs"),
    ],
)
def test_calibration_that_tells_nothing_is_refused(name: str, given: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        quantiser(name).quantise(network(), given)  # type: ignore[arg-type]


def test_what_is_no_network_is_refused(name: str) -> None:
    with pytest.raises(DeviceError, match="cannot quantise this network"):
        quantiser(name).quantise(OnnxModel(b"no model", (1, 3, 16, 16), (1, 7)), images(1))


def test_an_unknown_quantiser_is_refused_naming_those_there_are() -> None:
    with pytest.raises(InputError, match=r"'pot'\. Known: nncf, onnxruntime"):
        quantiser("pot")


@pytest.mark.parametrize(
    ("machine", "flags", "narrow"),
    [
        ("x86_64", "avx2 fma", True),
        ("x86_64", "avx2 avx_vnni", False),
        ("AMD64", "avx512_vnni", False),
        ("aarch64", "", False),
    ],
)
def test_weights_are_narrow_where_sums_would_overflow(
    machine: str, flags: str, narrow: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr(host, "_cpuinfo", lambda field: flags if field == "flags" else "")
    assert host.adds_in_16_bits() is narrow


def test_narrow_weights_use_half_of_the_numbers() -> None:
    from binas_deploy.quantisers.onnxruntime import OnnxRuntimeQuantiser

    found = load_model_from_string(OnnxRuntimeQuantiser(narrow=True).quantise(network(), images(1)).payload)
    for node in quantised_nodes(found):
        weight, _ = weight_of(found, node)
        assert np.abs(numpy_helper.to_array(weight)).max() <= 64


# Blocks in float again


def test_everything_in_float_again_is_the_network_that_it_was(made: ModelProto, original: ModelProto) -> None:
    back = in_float(made, original, {node.name for node in original.graph.node})
    assert not {node.op_type for node in back.graph.node} & {"QuantizeLinear", "DequantizeLinear"}
    assert np.array_equal(logits(back, images(4)), logits(original, images(4)))


@pytest.mark.parametrize("place", PLACES)
def test_a_block_that_is_kept_has_its_own_weights_and_nothing_between_its_nodes(
    place: str, made: ModelProto, original: ModelProto
) -> None:
    kept = nodes_of(original, [place])
    assert kept
    back = in_float(made, original, kept)
    onnx.checker.check_model(back, full_check=True)
    before, now = tensors(original), tensors(back)
    makers = {output: node for node in back.graph.node for output in node.output}
    names = {output: node.name for node in original.graph.node for output in node.output}
    found = {node.name: node for node in back.graph.node}
    for node in (node for node in original.graph.node if node.name in kept):
        for was, value in zip(node.input, found[node.name].input, strict=True):
            if was in before:
                assert now[value].raw_data == before[was].raw_data
            elif names.get(was) in kept:
                assert makers[value].name == names[was], "something stands between two nodes of the block"


def test_other_blocks_stay_as_they_are(made: ModelProto, original: ModelProto) -> None:
    back = in_float(made, original, nodes_of(original, ["stages.1.0"]))
    count = Counter(node.op_type for node in back.graph.node)
    assert 0 < count["QuantizeLinear"] < Counter(node.op_type for node in made.graph.node)["QuantizeLinear"]
    for node in quantised_nodes(back):
        if not node.name.startswith("stages.1.0."):
            weight, _ = weight_of(back, node)
            assert weight == tensors(made)[weight.name]


def test_the_more_blocks_in_float_the_less_noise(made: ModelProto, original: ModelProto) -> None:
    inputs, noise = images(32, seed=3), []
    expected = logits(original, inputs)
    for count in range(len(PLACES) + 1):
        back = in_float(made, original, nodes_of(original, PLACES[:count]))
        noise.append(float(np.square(logits(back, inputs) - expected).mean()))
    assert noise[-1] == 0
    assert noise[0] > noise[3] > noise[-1]


def test_nothing_kept_changes_nothing(made: ModelProto, original: ModelProto) -> None:
    back = in_float(made, original, nodes_of(original, []))
    assert np.array_equal(logits(back, images(2)), logits(made, images(2)))


def test_any_batch_gives_what_single_inputs_give(original: ModelProto) -> None:
    whole = logits(with_any_batch(original), images(5))
    alone = np.concatenate([logits(original, image[None]) for image in images(5)])
    assert np.abs(whole - alone).max() <= 1e-5 * np.abs(whole).max()


# For tables


def test_what_is_timed_is_quantised_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = quantised_for_timing(network(), "onnxruntime", tmp_path)
    monkeypatch.setattr("binas_deploy.quantisers.onnxruntime.OnnxRuntimeQuantiser.quantise", None)
    assert quantised_for_timing(network(), "onnxruntime", tmp_path) == first
    with pytest.raises(TypeError):
        quantised_for_timing(network(seed=2), "onnxruntime", tmp_path)


def test_only_int8_is_quantised_and_only_what_is_not_yet(tmp_path: Path) -> None:
    model = network()
    device = OnnxRuntimeDevice(threads=1, precision="int8")
    quantised = as_compiled(device, model, Precision.INT8, tmp_path)
    assert silent_on_precision(model)
    assert not silent_on_precision(quantised)
    assert as_compiled(device, quantised, Precision.INT8, tmp_path) is quantised
    assert as_compiled(OnnxRuntimeDevice(threads=1), model, Precision.FP32, tmp_path) is model


def test_a_device_that_quantises_itself_gets_the_network_as_it_is(tmp_path: Path) -> None:
    model = network()
    assert as_compiled(object(), model, Precision.INT8, tmp_path) is model  # type: ignore[arg-type]


def test_int8_of_a_network_that_is_not_quantised_is_refused(tmp_path: Path) -> None:
    device = OnnxRuntimeDevice(threads=1, precision="int8")
    with pytest.raises(InputError, match=r"this one has none \(of Add, .*Conv, .* and Sigmoid\)"):
        device.compile(network(), precision=Precision.INT8, cache=tmp_path)


def test_random_images_are_the_same_each_time() -> None:
    assert np.array_equal(random_image(network()), random_image(network(seed=2)))


def test_without_its_library_the_line_that_installs_it_is_told(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in [module for module in sys.modules if module.partition(".")[0] == name]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, name, None)  # importing it fails as if it were not installed
    with pytest.raises(BinasError, match=r"pip install 'binas-deploy\[(cpu|int8)\]'|cannot be imported"):
        quantiser(name).quantise(network(), images(1))
