"""Networks that say themselves where they are quantised: QuantizeLinear and DequantizeLinear (Q/DQ) between nodes.

A quantised network keeps the nodes of the float one, by name, and their order. So single nodes can be brought back to
float: they get their own weights again, and what passes between two of them passes as it is. What reaches them from
outside stays quantised, since its maker runs in int8 and writes int8.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final

from onnx import ModelProto, NodeProto, TensorProto, load_model_from_string

from binas_deploy.half import is_quantized
from binas_deploy.model import OnnxModel

_OURS: Final = ".fp32"
_COMPUTE: Final = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_LINKS: Final = ("QuantizeLinear", "DequantizeLinear")


def silent_on_precision(model: OnnxModel) -> bool:
    """Whether it is a network with weights that does not say itself where it is quantised."""
    try:
        read = load_model_from_string(model.payload)
    except Exception:  # noqa: BLE001  protobuf's error comes in several classes; whoever runs these bytes says more
        return False
    return not is_quantized(read) and bool(compute_nodes(read))


def operators_text(model: OnnxModel) -> str:
    """Which operators a network has, such as 'of Conv, Gemm and Relu'; where it is none, that."""
    try:
        found = sorted({node.op_type for node in load_model_from_string(model.payload).graph.node})
    except Exception:  # noqa: BLE001  as above
        return "no readable network"
    return f"of {', '.join(found[:-1])} and {found[-1]}" if len(found) > 1 else f"of {''.join(found) or 'nothing'}"


def nodes_of(model: ModelProto, places: Iterable[str]) -> frozenset[str]:
    """Names of the nodes that belong to ``places`` of a network, such as ``stages.0.1``; see `graph`."""
    prefixes = tuple(f"{place}." for place in places)
    return frozenset(node.name for node in model.graph.node if prefixes and node.name.startswith(prefixes))


def in_float(quantised: ModelProto, original: ModelProto, nodes: Collection[str]) -> ModelProto:
    """A copy of ``quantised`` in which ``nodes`` (names) compute in float, with the weights of ``original``."""
    result = ModelProto()
    result.CopyFrom(quantised)
    found = {node.name: node for node in result.graph.node}
    weights = {tensor.name: tensor for tensor in original.graph.initializer}
    whole = _whole_values(original, found, nodes)
    used: dict[str, TensorProto] = {}
    for node in original.graph.node:
        if node.name in nodes and node.name in found:
            used |= {name: weights[name] for name in node.input if name in weights}
            _rewire(found[node.name], node, whole, weights)
    for name, tensor in used.items():
        added = result.graph.initializer.add()
        added.CopyFrom(tensor)
        added.name = f"{name}{_OURS}"
    _drop_unused(result)
    return result


def with_any_batch(model: ModelProto) -> ModelProto:
    """A copy that takes any number of inputs at once."""
    result = ModelProto()
    result.CopyFrom(model)
    for value in (*result.graph.input, *result.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    del result.graph.value_info[:]
    return result


def serialised(model: ModelProto, like: OnnxModel) -> OnnxModel:
    """``model`` with inputs and outputs as ``like`` has them; the same network gives the same bytes."""
    return OnnxModel(bytes(model.SerializeToString(deterministic=True)), like.input_shape, like.output_shape)


def compute_nodes(model: ModelProto) -> list[NodeProto]:
    """The nodes with weights: convolutions, fully connected layers and other products."""
    return [node for node in model.graph.node if node.op_type in _COMPUTE]


def _whole_values(original: ModelProto, found: Mapping[str, NodeProto], nodes: Collection[str]) -> dict[str, str]:
    """Values of ``original`` that are there in float, unquantised, for ``nodes``: by the name that they have now."""
    ends = {value.name: value.name for value in original.graph.input}
    inner = {
        output: found[node.name].output[index]
        for node in original.graph.node
        if node.name in nodes and node.name in found
        for index, output in enumerate(node.output)
    }
    return ends | inner


def _rewire(node: NodeProto, original: NodeProto, whole: Mapping[str, str], weights: Mapping[str, TensorProto]) -> None:
    for index, name in enumerate(original.input):
        if name in weights:
            node.input[index] = f"{name}{_OURS}"
        elif name in whole:
            node.input[index] = whole[name]


def _drop_unused(model: ModelProto) -> None:
    """Without the Q/DQ and weights that nobody reads any more."""
    graph = model.graph
    needed = {value.name for value in graph.output}
    kept: list[NodeProto] = []
    for node in reversed(graph.node):  # ONNX has its nodes in order: whoever reads a value comes later
        if node.op_type not in _LINKS or needed.intersection(node.output):
            needed.update(node.input)
            kept.append(NodeProto.FromString(node.SerializeToString()))
    del graph.node[:]
    graph.node.extend(reversed(kept))
    tensors = [TensorProto.FromString(tensor.SerializeToString()) for tensor in graph.initializer]
    del graph.initializer[:]
    graph.initializer.extend(tensor for tensor in tensors if tensor.name in needed)
