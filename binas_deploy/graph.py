"""Architecture + weight arrays -> ONNX in inference form, for a whole network or a single piece.

Weights are float32 arrays with batch normalisation already folded in. A layer has ``<layer>.weight`` and
``<layer>.bias``; in a whole network each piece's names stand behind its place: ``stem``, ``stages.{s}.{j}``, ``head``.

===================  ==================================================================================
conv                 conv (o, i, k, k)
depthwise-separable  depthwise (m, 1, k, k), [squeeze (q, m, 1, 1), excite (m, q, 1, 1)], project (o, m, 1, 1)
inverted residual    expand (m, i, 1, 1), then as depthwise-separable
identity             none: no node within a network, one Identity node as a piece
head                 [hidden (h, i, 1, 1)], classifier (classes, features)
===================  ==================================================================================

The same input gives the same bytes: nothing depends on time, hash order or the order of the given mappings.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

from binas_deploy.block import Activation, Block, Head, Op, Piece
from binas_deploy.errors import InputError
from binas_deploy.model import INPUT_NAME, OUTPUT_NAME, OnnxModel
from binas_deploy.onnx_versions import NEWEST, OnnxVersion
from binas_deploy.space import Architecture, SearchSpace

OPSET: Final = NEWEST.opset
IR_VERSION: Final = NEWEST.ir
MAX_WEIGHT_BYTES: Final = 2**31 - 2**20  # protobuf ends at 2 GiB; the rest is for the nodes
BIAS_SCALE: Final = 0.02

Shape = tuple[int, ...]
Weights = Mapping[str, NDArray[np.float32]]


def named_pieces(space: SearchSpace, arch: Architecture) -> tuple[tuple[str, Piece], ...]:
    """(place, piece) of one network in order: ``stem``, ``stages.{s}.{j}``, ``head``."""
    places = [f"stages.{s}.{j}" for s, row in enumerate(arch.options) for j in range(len(row))]
    return tuple(zip(["stem", *places, "head"], space.pieces(arch), strict=True))


def weight_shapes(piece: Piece) -> dict[str, Shape]:
    """Shape of each array that `build_piece` needs, by name without a place."""
    if isinstance(piece, Head):
        hidden = _layer("hidden", piece.hidden, piece.c_in, 1, 1) if piece.hidden else {}
        return hidden | _layer("classifier", piece.classes, piece.features)
    op, mid, kernel = piece.option.op, piece.mid, piece.option.kernel
    if op is Op.IDENTITY:
        return {}
    if op is Op.CONV:
        return _layer("conv", piece.c_out, piece.c_in, kernel, kernel)
    expand = _layer("expand", mid, piece.c_in, 1, 1) if op is Op.INVERTED_RESIDUAL else {}
    squeeze = _layer("squeeze", piece.squeeze, mid, 1, 1) | _layer("excite", mid, piece.squeeze, 1, 1)
    depthwise = _layer("depthwise", mid, 1, kernel, kernel)
    return expand | depthwise | (squeeze if piece.squeeze else {}) | _layer("project", piece.c_out, mid, 1, 1)


def network_weight_shapes(space: SearchSpace, arch: Architecture) -> dict[str, Shape]:
    """Shape of each array that `build_network` needs, by name with its place.

    Raises:
        InputError: ``arch`` is not in ``space``.
    """
    named = named_pieces(space, space.validate(arch))
    return {f"{place}.{name}": shape for place, piece in named for name, shape in weight_shapes(piece).items()}


def random_weights(shapes: Mapping[str, Shape], rng: np.random.Generator) -> dict[str, NDArray[np.float32]]:
    """Uniform weights around 0 that keep activations in range through deep networks, for timing and tests.

    The variance is 2 / fan-in, which undoes what an activation halves (He et al., arXiv 1502.01852). Biases are a floor
    of deviation `BIAS_SCALE`: nothing shrinks to denormals, which are slow, and all depends on the input still.
    """
    return {name: _uniform(rng, shape, _scale(name, shape)) for name, shape in shapes.items()}


def build_network(
    space: SearchSpace,
    arch: Architecture,
    weights: Weights,
    *,
    batch: int = 1,
    metadata: Mapping[str, str] | None = None,
    version: OnnxVersion = NEWEST,
) -> OnnxModel:
    """The whole network: (batch, channels, resolution, resolution) to (batch, classes) logits.

    ``metadata`` becomes the model's metadata properties, in the order of its keys. ``version`` is the one of ONNX that
    the model is written in; its operators are the same in all.

    Raises:
        InputError: ``arch`` is not in ``space``, ``batch`` is not positive, or ``weights`` are not exactly the arrays
            of `network_weight_shapes`, float32 and finite.
    """
    _check(network_weight_shapes(space, arch), weights, batch)
    graph, value = _Graph(weights), INPUT_NAME
    for place, piece in named_pieces(space, arch):
        value = _add_piece(graph, f"{place}.", piece, value)
    return graph.model(space.name, (batch, *space.input_shape), (batch, space.classes), metadata or {}, version)


def build_piece(piece: Piece, weights: Weights, *, batch: int = 1) -> OnnxModel:
    """One piece alone, on an input of (batch, c_in, resolution, resolution).

    It gives (batch, c_out, resolution_out, resolution_out), or (batch, classes) for a `Head`.

    Raises:
        InputError: ``batch`` is not positive, or ``weights`` are not exactly the arrays of `weight_shapes`.
    """
    _check(weight_shapes(piece), weights, batch)
    graph = _Graph(weights)
    if _add_piece(graph, "", piece, INPUT_NAME) == INPUT_NAME:
        graph.node("Identity", "identity", INPUT_NAME)
    input_shape = (batch, piece.c_in, piece.resolution, piece.resolution)
    if isinstance(piece, Head):
        return graph.model(piece.key, input_shape, (batch, piece.classes), {})
    return graph.model(piece.key, input_shape, (batch, piece.c_out, piece.resolution_out, piece.resolution_out), {})


def _layer(name: str, *shape: int) -> dict[str, Shape]:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def _uniform(rng: np.random.Generator, shape: Shape, deviation: float) -> NDArray[np.float32]:
    # Normal ones take three times as long to draw: 0.1 s more for a network of 5 M weights, of which there are 64.
    values = rng.random(shape, np.float32)
    values -= np.float32(0.5)
    values *= np.float32(math.sqrt(12) * deviation)
    return values


def _scale(name: str, shape: Shape) -> float:
    return BIAS_SCALE if name.endswith(".bias") else math.sqrt(2 / math.prod(shape[1:]))


def _check(shapes: Mapping[str, Shape], weights: Weights, batch: int) -> None:
    if isinstance(batch, bool) or not isinstance(batch, int) or batch < 1:
        raise InputError(f"batch {batch!r}: the number of inputs in a batch is a whole number from 1 up.")
    size = 4 * sum(math.prod(shape) for shape in shapes.values())
    if size > MAX_WEIGHT_BYTES:
        raise InputError(f"weights of {size:,} bytes: an ONNX file holds under 2 GiB. Use a narrower network.")
    missing = [f"{name!r} is missing, needed is {_text(shapes[name])}" for name in shapes if name not in weights]
    unexpected = [f"{name!r} is not part of this network" for name in weights if name not in shapes]
    faults = {name: _fault(weights[name], shape) for name, shape in shapes.items() if name in weights}
    wrong = [f"{name!r}: found {fault}, needed is {_text(shapes[name])}" for name, fault in faults.items() if fault]
    # One tensor of each kind is named and the rest counted: another network's weights are wrong in hundreds of places.
    found = [_first(rows) for rows in (missing, sorted(unexpected), wrong) if rows]
    if found:
        raise InputError(f"weights: {'; '.join(found)}. Give the folded weights of exactly this architecture.")


def _first(rows: list[str]) -> str:
    return rows[0] if len(rows) == 1 else f"{rows[0]} (and {len(rows) - 1} more)"


def _fault(array: NDArray[np.float32], shape: Shape) -> str:
    if not isinstance(array, np.ndarray):
        return f"a {type(array).__name__}"
    if array.shape != shape or array.dtype != np.float32:
        return f"{array.dtype} of shape {array.shape}"
    return "" if np.isfinite(array).all() else "values that are not finite"


def _text(shape: Shape) -> str:
    return f"float32 of shape {shape}"


@dataclass
class _Graph:
    """Nodes and initialisers in the order they are added; the value that a node gives bears the node's name."""

    weights: Weights
    nodes: list[NodeProto] = field(default_factory=list)
    initialisers: dict[str, TensorProto] = field(default_factory=dict)

    def node(self, op: str, name: str, *inputs: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=name, **attributes))
        return name

    def array(self, name: str, value: NDArray[np.float32]) -> str:
        self.initialisers[name] = numpy_helper.from_array(value, name)
        return name

    def layer(self, op: str, name: str, value: str, **attributes: Any) -> str:
        arrays = [self.array(f"{name}.{part}", self.weights[f"{name}.{part}"]) for part in ("weight", "bias")]
        return self.node(op, name, value, *arrays, **attributes)

    def conv(self, name: str, value: str, *, stride: int = 1, group: int = 1) -> str:
        kernel = self.weights[f"{name}.weight"].shape[-1]
        pads, sizes, strides = [kernel // 2] * 4, [kernel, kernel], [stride, stride]
        return self.layer("Conv", name, value, kernel_shape=sizes, strides=strides, pads=pads, group=group)

    def activation(self, layer: str, kind: Activation) -> str:
        if kind is Activation.RELU:
            return self.node("Relu", f"{layer}.relu", layer)
        if kind is Activation.HARD_SWISH:
            return self.node("HardSwish", f"{layer}.hard_swish", layer)
        if kind is Activation.SWISH:
            return self.node("Mul", f"{layer}.swish", layer, self.node("Sigmoid", f"{layer}.sigmoid", layer))
        limits = [self.array("relu6.low", np.array(0, np.float32)), self.array("relu6.high", np.array(6, np.float32))]
        return self.node("Clip", f"{layer}.relu6", layer, *limits)

    def model(
        self,
        name: str,
        input_shape: Shape,
        output_shape: Shape,
        metadata: Mapping[str, str],
        version: OnnxVersion = NEWEST,
    ) -> OnnxModel:
        self.nodes[-1].output[0] = OUTPUT_NAME
        source = helper.make_tensor_value_info(INPUT_NAME, TensorProto.FLOAT, input_shape)
        target = helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, output_shape)
        graph = helper.make_graph(self.nodes, name, [source], [target], list(self.initialisers.values()))
        return OnnxModel(_serialised(graph, metadata, version), input_shape, output_shape)


def _serialised(graph: GraphProto, metadata: Mapping[str, str], version: OnnxVersion) -> bytes:
    # No producer_version: an upgrade of this tool must not change the hash of an unchanged network.
    opsets = [helper.make_opsetid("", version.opset)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=version.ir, producer_name="binas-deploy")
    helper.set_model_props(model, {key: metadata[key] for key in sorted(metadata)})
    return bytes(model.SerializeToString(deterministic=True))


def _add_piece(graph: _Graph, prefix: str, piece: Piece, value: str) -> str:
    if isinstance(piece, Head):
        return _add_head(graph, prefix, piece, value)
    if piece.option.op is Op.IDENTITY:
        return value
    if piece.option.op is Op.CONV:
        return graph.activation(graph.conv(f"{prefix}conv", value, stride=piece.stride), piece.activation)
    return _add_bottleneck(graph, prefix, piece, value)


def _add_bottleneck(graph: _Graph, prefix: str, block: Block, value: str) -> str:
    inner = value
    if block.option.op is Op.INVERTED_RESIDUAL:
        inner = graph.activation(graph.conv(f"{prefix}expand", inner), block.activation)
    depthwise = graph.conv(f"{prefix}depthwise", inner, stride=block.stride, group=block.mid)
    inner = graph.activation(depthwise, block.activation)
    if block.squeeze:
        inner = _add_squeeze_excite(graph, prefix, inner)
    inner = graph.conv(f"{prefix}project", inner)
    return graph.node("Add", f"{prefix}residual", inner, value) if block.residual else inner


def _add_squeeze_excite(graph: _Graph, prefix: str, value: str) -> str:
    pooled = graph.node("GlobalAveragePool", f"{prefix}squeeze.pool", value)
    squeezed = graph.activation(graph.conv(f"{prefix}squeeze", pooled), Activation.RELU)
    excited = graph.conv(f"{prefix}excite", squeezed)
    gate = graph.node("HardSigmoid", f"{prefix}excite.hard_sigmoid", excited, alpha=1 / 6, beta=0.5)
    return graph.node("Mul", f"{prefix}excite.scale", value, gate)


def _add_head(graph: _Graph, prefix: str, head: Head, value: str) -> str:
    pooled = graph.node("GlobalAveragePool", f"{prefix}pool", value)
    if head.hidden:
        pooled = graph.activation(graph.conv(f"{prefix}hidden", pooled), head.activation)
    flat = graph.node("Flatten", f"{prefix}flatten", pooled, axis=1)
    return graph.layer("Gemm", f"{prefix}classifier", flat, transB=1)
