"""The graph builder against a plain NumPy account of what each piece computes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from binas_deploy import graph
from binas_deploy.block import Activation, Block, Head, Op, Option, Piece
from binas_deploy.errors import InputError
from binas_deploy.model import OnnxModel
from binas_deploy.space import Architecture, SearchSpace
from binas_deploy.space_file import load_space

Floats = NDArray[np.float32]
Arrays = Mapping[str, Floats]

INVERTED = Block(Option(Op.INVERTED_RESIDUAL, 5, 2.0, 0.5), 8, 8, 6, 1, Activation.HARD_SWISH)
PIECES: list[Piece] = [
    Block(Option(Op.CONV, 3), 3, 8, 7, 2, Activation.RELU),
    Block(Option(Op.CONV, 1), 4, 6, 5, 1, Activation.RELU),
    Block(Option(Op.DEPTHWISE_SEPARABLE, 3), 8, 8, 6, 1, Activation.RELU),
    Block(Option(Op.DEPTHWISE_SEPARABLE, 5, 1.0, 0.25), 8, 12, 7, 2, Activation.RELU),
    INVERTED,
    replace(INVERTED, option=Option(Op.INVERTED_RESIDUAL, 3, 3.0), c_out=16, resolution=7, stride=2),
    replace(INVERTED, option=Option(Op.INVERTED_RESIDUAL, 7, 1.0, 1.0), resolution=2),
    Block(Option(Op.IDENTITY), 8, 8, 6, 1, Activation.RELU),
    Head(12, 3, 16, 5, Activation.RELU),
    Head(12, 3, 0, 5, Activation.RELU),
]


# What a piece computes, written a second time and differently: float64, explicit windows, no ONNX.


def reference_conv(x: NDArray[np.float64], weights: Arrays, name: str, stride: int = 1) -> NDArray[np.float64]:
    """A convolution with k // 2 zeros on each side; depthwise when one input channel meets several."""
    kernel = weights[f"{name}.weight"].astype(np.float64)
    pad = kernel.shape[-1] // 2
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape[2:], axis=(2, 3))[:, :, ::stride, ::stride]
    if name.endswith("depthwise"):
        product = np.einsum("nchwij,cij->nchw", windows, kernel[:, 0])
    else:
        product = np.einsum("nchwij,ocij->nohw", windows, kernel)
    result: NDArray[np.float64] = product + weights[f"{name}.bias"][:, None, None]
    return result


def reference_activation(x: NDArray[np.float64], kind: Activation) -> NDArray[np.float64]:
    """The activations by their definitions."""
    if kind is Activation.RELU:
        return np.maximum(x, 0)
    if kind is Activation.RELU6:
        return np.clip(x, 0, 6)
    if kind is Activation.HARD_SWISH:
        return np.asarray(x * np.clip(x + 3, 0, 6) / 6)
    return np.asarray(x / (1 + np.exp(-x)))


def reference_piece(piece: Piece, weights: Arrays, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """What ``piece`` computes from (batch, c_in, r, r)."""
    if isinstance(piece, Head):
        pooled = x.mean(axis=(2, 3), keepdims=True)
        if piece.hidden:
            pooled = reference_activation(reference_conv(pooled, weights, "hidden"), piece.activation)
        return np.asarray(pooled[:, :, 0, 0] @ weights["classifier.weight"].T + weights["classifier.bias"])
    if piece.option.op is Op.IDENTITY:
        return x
    if piece.option.op is Op.CONV:
        return reference_activation(reference_conv(x, weights, "conv", piece.stride), piece.activation)
    y = x
    if piece.option.op is Op.INVERTED_RESIDUAL:
        y = reference_activation(reference_conv(y, weights, "expand"), piece.activation)
    y = reference_activation(reference_conv(y, weights, "depthwise", piece.stride), piece.activation)
    if piece.option.se_ratio:
        squeezed = np.maximum(reference_conv(y.mean(axis=(2, 3), keepdims=True), weights, "squeeze"), 0)
        y = y * np.clip(reference_conv(squeezed, weights, "excite") / 6 + 0.5, 0, 1)
    y = reference_conv(y, weights, "project")
    return y + x if piece.stride == 1 and piece.c_in == piece.c_out else y


def of_place(weights: Arrays, place: str) -> dict[str, Floats]:
    """The weights of one place, without its name."""
    return {name[len(place) + 1 :]: value for name, value in weights.items() if name.startswith(f"{place}.")}


def run(model: OnnxModel, x: Floats) -> Floats:
    """The output of ONNX Runtime on one CPU thread."""
    runtime = pytest.importorskip("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    session = runtime.InferenceSession(model.payload, options, providers=["CPUExecutionProvider"])
    assert [value.name for value in session.get_inputs()] == ["input"]
    assert tuple(session.get_inputs()[0].shape) == model.input_shape
    (output,) = session.run(["output"], {"input": x})
    assert output.shape == model.output_shape
    assert output.dtype == np.float32
    return np.asarray(output)


def assert_close(found: Floats, wanted: NDArray[np.float64] | Floats, tolerance: float = 1e-5) -> None:
    """Max absolute difference / max absolute reference."""
    assert np.abs(found - wanted).max() <= tolerance * np.abs(wanted).max()


def check(model: OnnxModel) -> onnx.ModelProto:
    """The model, passed by onnx.checker with strict shape inference."""
    proto = onnx.load_from_string(model.payload)
    onnx.checker.check_model(proto, full_check=True)
    return proto


def network(space: SearchSpace, arch: Architecture, seed: int = 0) -> dict[str, Floats]:
    """Random weights of a network."""
    return graph.random_weights(graph.network_weight_shapes(space, arch), np.random.default_rng(seed))


@pytest.mark.parametrize("activation", list(Activation))
@pytest.mark.parametrize("piece", PIECES, ids=lambda piece: piece.key)
def test_piece_agrees_with_reference(piece: Piece, activation: Activation) -> None:
    piece, rng = replace(piece, activation=activation), np.random.default_rng(1)
    weights = graph.random_weights(graph.weight_shapes(piece), rng)
    model = graph.build_piece(piece, weights, batch=2)
    check(model)
    # Scaled so that both ends of relu6, hard-swish and the gate are reached.
    x = 4 * rng.standard_normal(model.input_shape, np.float32)
    assert_close(run(model, x), reference_piece(piece, weights, x.astype(np.float64)))


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), batch=st.integers(1, 3))
def test_network_agrees_with_reference(tiny_space: SearchSpace, seed: int, batch: int) -> None:
    rng = np.random.default_rng(seed)
    arch = tiny_space.sample(rng)
    weights = network(tiny_space, arch, seed)
    model = graph.build_network(tiny_space, arch, weights, batch=batch)
    check(model)
    x = rng.standard_normal(model.input_shape, np.float32)
    wanted = x.astype(np.float64)
    for place, piece in graph.named_pieces(tiny_space, arch):
        wanted = reference_piece(piece, of_place(weights, place), wanted)
    assert_close(run(model, x), wanted)


@pytest.mark.parametrize("name", ["cifar10", "mobilenetv3"])
def test_network_equals_its_pieces_in_a_chain(name: str) -> None:
    space, rng = load_space(name), np.random.default_rng(5)
    arch = space.sample(rng)
    weights = network(space, arch)
    model = graph.build_network(space, arch, weights)
    proto = check(model)
    assert (model.input_shape, model.output_shape) == ((1, *space.input_shape), (1, space.classes))
    assert [dim.dim_value for dim in proto.graph.output[0].type.tensor_type.shape.dim] == [1, space.classes]
    x = rng.standard_normal(model.input_shape, np.float32)
    chained = x
    for place, piece in graph.named_pieces(space, arch):
        chained = run(graph.build_piece(piece, of_place(weights, place)), chained)
    assert_close(run(model, x), chained)


@pytest.mark.parametrize("name", ["cifar10", "mobilenetv3"])
def test_every_shipped_piece_builds_and_runs(name: str) -> None:
    space, rng = load_space(name), np.random.default_rng(0)
    for piece in space.blocks():
        weights = graph.random_weights(graph.weight_shapes(piece), rng)
        model = graph.build_piece(piece, weights)
        assert model.input_shape == (1, piece.c_in, piece.resolution, piece.resolution)
        # A folded batch normalisation is one bias a channel where `params` counts a scale and a shift.
        assert 0 <= piece.params - sum(value.size for value in weights.values()) < 0.2 * piece.params + 1
        assert np.isfinite(run(model, rng.standard_normal(model.input_shape, np.float32))).all()


def test_weight_names_and_shapes() -> None:
    assert graph.weight_shapes(INVERTED) == {
        "expand.weight": (16, 8, 1, 1),
        "expand.bias": (16,),
        "depthwise.weight": (16, 1, 5, 5),
        "depthwise.bias": (16,),
        "squeeze.weight": (8, 16, 1, 1),
        "squeeze.bias": (8,),
        "excite.weight": (16, 8, 1, 1),
        "excite.bias": (16,),
        "project.weight": (8, 16, 1, 1),
        "project.bias": (8,),
    }
    assert graph.weight_shapes(PIECES[0]) == {"conv.weight": (8, 3, 3, 3), "conv.bias": (8,)}
    assert list(graph.weight_shapes(PIECES[2])) == [
        "depthwise.weight",
        "depthwise.bias",
        "project.weight",
        "project.bias",
    ]
    assert graph.weight_shapes(PIECES[7]) == {}
    assert graph.weight_shapes(PIECES[8])["classifier.weight"] == (5, 16)
    assert graph.weight_shapes(PIECES[9]) == {"classifier.weight": (5, 12), "classifier.bias": (5,)}


def test_names_tell_the_place_and_activations_are_single_nodes(tiny_space: SearchSpace) -> None:
    arch = Architecture((1, 1, 1), ((4,), (1,), (0,)))
    proto = check(graph.build_network(tiny_space, arch, network(tiny_space, arch)))
    assert [(node.op_type, node.name) for node in proto.graph.node] == [
        ("Conv", "stem.conv"),
        ("HardSwish", "stem.conv.hard_swish"),
        ("Conv", "stages.1.0.expand"),
        ("HardSwish", "stages.1.0.expand.hard_swish"),
        ("Conv", "stages.1.0.depthwise"),
        ("HardSwish", "stages.1.0.depthwise.hard_swish"),
        ("GlobalAveragePool", "stages.1.0.squeeze.pool"),
        ("Conv", "stages.1.0.squeeze"),
        ("Relu", "stages.1.0.squeeze.relu"),
        ("Conv", "stages.1.0.excite"),
        ("HardSigmoid", "stages.1.0.excite.hard_sigmoid"),
        ("Mul", "stages.1.0.excite.scale"),
        ("Conv", "stages.1.0.project"),
        ("Conv", "stages.2.0.conv"),
        ("HardSwish", "stages.2.0.conv.hard_swish"),
        ("GlobalAveragePool", "head.pool"),
        ("Conv", "head.hidden"),
        ("HardSwish", "head.hidden.hard_swish"),
        ("Flatten", "head.flatten"),
        ("Gemm", "head.classifier"),
    ]
    assert [value.name for value in proto.graph.initializer] == list(graph.network_weight_shapes(tiny_space, arch))
    assert (proto.ir_version, proto.opset_import[0].version) == (10, 20)


def test_identity_is_nothing_in_a_network_and_a_node_alone(tiny_space: SearchSpace) -> None:
    short, skipping = (Architecture((d, 1, 1), (row, (0,), (0,))) for d, row in ((1, (0,)), (2, (0, 4))))
    weights = network(tiny_space, short)
    assert graph.build_network(tiny_space, skipping, weights).payload == (
        graph.build_network(tiny_space, short, weights).payload
    )
    alone = check(graph.build_piece(tiny_space.block(0, 1, 4), {}))
    assert [node.op_type for node in alone.graph.node] == ["Identity"]


def test_bytes_do_not_depend_on_the_order_or_layout_of_the_input(tiny_space: SearchSpace) -> None:
    arch = tiny_space.largest()
    weights = network(tiny_space, arch)
    model = graph.build_network(tiny_space, arch, weights, metadata={"b": "2", "a": "1"})
    shuffled = {name: np.asfortranarray(weights[name]) for name in reversed(list(weights))}
    again = graph.build_network(tiny_space, arch, shuffled, metadata={"a": "1", "b": "2"})
    assert again.payload == model.payload
    assert [(row.key, row.value) for row in check(model).metadata_props] == [("a", "1"), ("b", "2")]
    assert graph.build_network(tiny_space, arch, weights).sha256 != model.sha256


def test_bytes_are_the_same_in_another_process() -> None:
    # Another hash seed reorders sets; the weights come from the seed alone.
    script = (
        "import numpy as np; from binas_deploy import graph; from binas_deploy.space_file import load_space\n"
        "space = load_space('cifar10'); arch = space.largest(); rng = np.random.default_rng(0)\n"
        "weights = graph.random_weights(graph.network_weight_shapes(space, arch), rng)\n"
        "print(graph.build_network(space, arch, weights, metadata={'y': '1', 'x': '2'}).sha256)"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        )
        for seed in ("1", "2")
    ]
    assert runs[0].stdout == runs[1].stdout
    assert len(runs[0].stdout.strip()) == 64


@pytest.mark.parametrize("extreme", ["largest", "smallest"])
@pytest.mark.parametrize("name", ["cifar10", "mobilenetv3"])
def test_random_weights_keep_activations_in_range(name: str, extreme: str) -> None:
    runtime = pytest.importorskip("onnxruntime")
    space, rng = load_space(name), np.random.default_rng(3)
    arch = getattr(space, extreme)()
    proto = onnx.load_from_string(graph.build_network(space, arch, network(space, arch)).payload)
    inner = [onnx.ValueInfoProto(name=node.output[0]) for node in proto.graph.node[:-1]]
    proto.graph.output.extend(inner)
    session = runtime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    one, other = (
        session.run(None, {"input": rng.standard_normal((1, *space.input_shape), np.float32)}) for _ in range(2)
    )
    for value in one:
        assert 0.05 < np.sqrt(np.mean(np.square(value))) < 5_000
        assert not ((value != 0) & (np.abs(value) < np.finfo(np.float32).tiny)).any(), "denormals"
    # The logits depend on the input: a comparison of two implementations sees the first layers too.
    assert np.abs(one[0] - other[0]).max() > 0.01 * np.abs(one[0]).max()


def test_random_weights_are_float32_and_follow_the_seed() -> None:
    shapes = graph.weight_shapes(INVERTED)
    first, second = (graph.random_weights(shapes, np.random.default_rng(7)) for _ in range(2))
    assert {name: value.shape for name, value in first.items()} == shapes
    assert {value.dtype for value in first.values()} == {np.dtype(np.float32)}
    assert all(np.array_equal(first[name], second[name]) for name in shapes)


def broken(name: str, value: object) -> dict[str, Floats]:
    """Weights of `INVERTED` with one array replaced, or left out for None."""
    weights: dict[str, object] = dict(graph.random_weights(graph.weight_shapes(INVERTED), np.random.default_rng(0)))
    weights[name] = value
    return {key: item for key, item in weights.items() if item is not None}  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("squeeze.bias", None, r"'squeeze.bias' is missing, needed is float32 of shape \(8,\)"),
        ("hidden.bias", np.zeros(3, np.float32), "'hidden.bias' is not part of this network"),
        (
            "expand.weight",
            np.zeros((16, 9, 1, 1), np.float32),
            r"'expand.weight': found float32 of shape \(16, 9, 1, 1\), needed is float32 of shape \(16, 8, 1, 1\)",
        ),
        ("expand.bias", np.zeros(16), r"'expand.bias': found float64 of shape \(16,\), needed is float32"),
        ("expand.bias", np.zeros(16, ">f4"), r"'expand.bias': found >f4 of shape \(16,\), needed is float32"),
        ("expand.bias", [0.0] * 16, "'expand.bias': found a list, needed is float32"),
        ("expand.bias", np.full(16, np.nan, np.float32), "'expand.bias': found values that are not finite"),
        ("expand.bias", np.full(16, -np.inf, np.float32), "'expand.bias': found values that are not finite"),
    ],
)
def test_wrong_weights_are_refused(name: str, value: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        graph.build_piece(INVERTED, broken(name, value))


def test_weights_of_another_network_are_refused_in_one_short_message(tiny_space: SearchSpace) -> None:
    small, large = tiny_space.smallest(), tiny_space.largest()
    with pytest.raises(InputError, match=r"'stages\.0\.0\.expand\.weight' is missing.*and \d+ more") as caught:
        graph.build_network(tiny_space, large, network(tiny_space, small))
    assert len(str(caught.value)) < 400
    with pytest.raises(InputError, match=r"'stages\.0\.0\.depthwise\.bias' is not part of this network"):
        graph.build_network(tiny_space, small, network(tiny_space, large))


@pytest.mark.parametrize("batch", [0, -1, 1.5, True, "1"])
def test_wrong_batch_is_refused(tiny_space: SearchSpace, batch: int) -> None:
    arch = tiny_space.smallest()
    with pytest.raises(InputError, match="batch"):
        graph.build_network(tiny_space, arch, network(tiny_space, arch), batch=batch)
    with pytest.raises(InputError, match="batch"):
        graph.build_piece(PIECES[7], {}, batch=batch)


def test_architecture_of_another_space_is_refused(tiny_space: SearchSpace) -> None:
    foreign = load_space("cifar10").smallest()
    with pytest.raises(InputError, match="6 stages"):
        graph.network_weight_shapes(tiny_space, foreign)
    with pytest.raises(InputError, match="6 stages"):
        graph.build_network(tiny_space, foreign, {})


def test_over_two_gib_is_refused_before_anything_is_read() -> None:
    huge = Block(Option(Op.CONV, 9), 4096, 4096, 8, 1, Activation.RELU)
    with pytest.raises(InputError, match=r"5,435,834,368 bytes.*under 2 GiB"):
        graph.build_piece(huge, {})
