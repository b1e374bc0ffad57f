"""Networks cut and changed as ONNX graphs: up to a node, with every value given out, at another batch.

A cut network ends at one node and gives that node's output under the name that all networks give theirs. Nothing else
about it changes, so a runtime fuses and rewrites what is left as it does in the whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, checker, helper, shape_inference
from onnx import load_model_from_string as parse

from binas_deploy.errors import InputError
from binas_deploy.model import INPUT_NAME, OUTPUT_NAME, OnnxModel

_FLOAT: Final = TensorProto.FLOAT


@dataclass(frozen=True)
class Node:
    """One node. ``inputs``: places of the nodes that its inputs come from, without weights and the network's input."""

    name: str
    operator: str
    value: str
    inputs: tuple[int, ...]


def nodes_of(model: OnnxModel) -> tuple[Node, ...]:
    """The nodes in order: each stands behind those that its inputs come from."""
    graph = _parsed(model).graph
    places = {value: index for index, node in enumerate(graph.node) for value in node.output}
    return tuple(
        Node(
            name=node.name or node.output[0],
            operator=node.op_type,
            value=node.output[0],
            inputs=tuple(sorted({places[name] for name in node.input if name in places})),
        )
        for node in graph.node
    )


def cut_at(model: OnnxModel, place: int) -> OnnxModel:
    """The network up to the node at ``place``, which is its output then, as float32.

    Raises:
        InputError: there is no such node, its shape cannot be told, or it gives no float32.
    """
    whole = _inferred(model)
    if not 0 <= place < len(whole.graph.node):
        raise InputError(f"node {place} of {len(whole.graph.node)} cannot be cut at.")
    value = _known(whole.graph, whole.graph.node[place].output[0])
    kept = _needed(whole.graph.node, place)
    result = ModelProto()
    result.CopyFrom(whole)
    graph = result.graph
    _set_nodes(graph, [whole.graph.node[index] for index in kept])
    used = {name for node in graph.node for name in node.input}
    initialisers = [array for array in whole.graph.initializer if array.name in used]
    del graph.initializer[:], graph.value_info[:], graph.output[:]
    graph.initializer.extend(initialisers)
    _rename(graph, value.name, OUTPUT_NAME)
    shape = _shape(value)
    graph.output.append(helper.make_tensor_value_info(OUTPUT_NAME, _FLOAT, shape))
    return OnnxModel(_checked(result), model.input_shape, shape)


def with_every_value(model: OnnxModel) -> OnnxModel:
    """The network that gives every float32 value that a node makes, each under its own name."""
    whole = _inferred(model)
    there = {value.name for value in whole.graph.output}
    made = [name for node in whole.graph.node for name in node.output]
    known = {value.name: value for value in whole.graph.value_info}
    more = [known[name] for name in made if name in known and name not in there and _is_float(known[name])]
    whole.graph.output.extend(more)
    del whole.graph.value_info[:]
    return OnnxModel(_checked(whole), model.input_shape, model.output_shape)


def with_batch(model: OnnxModel, batch: int) -> OnnxModel:
    """The same network, its weights included, for so many inputs at once.

    Raises:
        InputError: not positive, or a network with the batch written into it, as by a Reshape.
    """
    if batch < 1:
        raise InputError(f"batch {batch}: give 1 or more.")
    changed = _parsed(model)
    for value in (*changed.graph.input, *changed.graph.output):
        if value.name in (INPUT_NAME, OUTPUT_NAME):
            value.type.tensor_type.shape.dim[0].dim_value = batch
    del changed.graph.value_info[:]
    return OnnxModel(_checked(changed), (batch, *model.input_shape[1:]), (batch, *model.output_shape[1:]))


def _parsed(model: OnnxModel) -> ModelProto:
    try:
        return parse(model.payload)
    except Exception as error:
        raise InputError(f"model {model.sha256[:12]} is no ONNX: {error}") from error


def _inferred(model: OnnxModel) -> ModelProto:
    try:
        return shape_inference.infer_shapes(_parsed(model), strict_mode=True)
    except Exception as error:
        raise InputError(f"the shapes in model {model.sha256[:12]} cannot be told: {error}") from error


def _checked(model: ModelProto) -> bytes:
    """Serialised, once every shape in it is known to fit."""
    try:
        checker.check_model(model)
        shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    except Exception as error:
        raise InputError(f"a network changed like this does not fit together: {error}") from error
    return bytes(model.SerializeToString(deterministic=True))


def _needed(nodes: Sequence[NodeProto], place: int) -> list[int]:
    """Places of the nodes that the one at ``place`` rests on, and its own, in order."""
    places = {value: index for index, node in enumerate(nodes) for value in node.output}
    found, open_ = {place}, [place]
    while open_:
        for name in nodes[open_.pop()].input:
            index = places.get(name)
            if index is not None and index not in found:
                found.add(index)
                open_.append(index)
    return sorted(found)


def _set_nodes(graph: GraphProto, nodes: Sequence[NodeProto]) -> None:
    kept = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)


def _rename(graph: GraphProto, old: str, new: str) -> None:
    for node in graph.node:
        node.output[:] = [new if name == old else name for name in node.output]
        node.input[:] = [new if name == old else name for name in node.input]


def _known(graph: GraphProto, name: str) -> ValueInfoProto:
    found: ValueInfoProto | None = next(
        (value for value in (*graph.value_info, *graph.output) if value.name == name), None
    )
    if found is None or not _is_float(found):
        raise InputError(f"value '{name}' cannot be an output: its shape is unknown, or it is no float32.")
    return found


def _is_float(value: ValueInfoProto) -> bool:
    return bool(value.type.tensor_type.elem_type == _FLOAT)


def _shape(value: ValueInfoProto) -> tuple[int, ...]:
    return tuple(int(dimension.dim_value) for dimension in value.type.tensor_type.shape.dim)
