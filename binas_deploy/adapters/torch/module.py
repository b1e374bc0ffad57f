"""ONNX -> torch module, for exactly the operators that `binas_deploy.graph` writes, one layer for each node.

Whatever else a model has is refused by name: an attribute that went unseen would give wrong outputs, not an error.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper
from torch import fx, nn

from binas_deploy.errors import DeviceError

Attributes = dict[str, Any]
Arrays = list[NDArray[np.float32]]
_Item = TypeVar("_Item")

_ANY: Final = object()
"""Stands for an attribute that the layer reads; any other must have the value given."""


@dataclass(frozen=True)
class Rebuilt:
    """``module`` takes the tensor of ``input_name``, of ``input_shape``, and gives that of ``output_name``."""

    module: fx.GraphModule
    input_name: str
    input_shape: tuple[int, ...]
    output_name: str


@dataclass(frozen=True)
class _Operator:
    """``layer(attributes, arrays)`` gives a module or a function of ``values`` tensors; ``arrays`` are constants.

    ``defaults`` are those of ``attributes`` that a node may leave out, as ONNX has it.
    """

    layer: Callable[[Attributes, Arrays], Callable[..., Any]]
    attributes: dict[str, object] = field(default_factory=dict)
    defaults: dict[str, object] = field(default_factory=dict)
    values: int = 1
    arrays: int = 0


def rebuild(payload: bytes) -> Rebuilt:
    """The module of a serialised ONNX model: float32, on the CPU, for inference.

    Each network is code of its own (torch.fx): torch.compile keeps what it compiled by code, and only a few of each.

    Raises:
        DeviceError: an operator, attribute or input that `binas_deploy.graph` does not write; the message names it.
        google.protobuf.message.DecodeError: the bytes are no ONNX model.
    """
    source = onnx.load_model_from_string(payload).graph
    arrays = {tensor.name: np.array(numpy_helper.to_array(tensor)) for tensor in source.initializer}
    entry = _only([value for value in source.input if value.name not in arrays], "the model", "input")
    root, graph = nn.Module(), fx.Graph()
    values = {entry.name: graph.placeholder("value")}
    for index, node in enumerate(source.node):
        _add(node, f"n{index}_{node.op_type.lower()}", root, graph, values, arrays)
    found = _only(source.output, "the model", "output")
    graph.output(_lookup(values, found.name, "the model"))
    return Rebuilt(fx.GraphModule(root, graph).eval(), entry.name, _shape(entry), found.name)


def _add(
    node: NodeProto,
    name: str,
    root: nn.Module,
    graph: fx.Graph,
    values: dict[str, fx.Node],
    arrays: dict[str, NDArray[np.float32]],
) -> None:
    """One more node of the graph, and its layer as ``root``'s module ``name``."""
    what = f"{node.op_type} node '{node.name}'"
    known = _operator(node, what)
    inputs = tuple(_lookup(values, source, what) for source in node.input[: known.values])
    constants = [_lookup(arrays, source, what) for source in node.input[known.values :]]
    layer = known.layer(_attributes(node), constants)
    if isinstance(layer, nn.Module):
        root.add_module(name, layer)
        made = graph.call_module(name, inputs)
    else:
        made = graph.call_function(layer, inputs)
    values[_only(node.output, what, "output")] = made


def _operator(node: NodeProto, what: str) -> _Operator:
    known = None if node.domain else _OPERATORS.get(node.op_type)
    if known is None:
        named = f"'{node.domain}.{node.op_type}'" if node.domain else f"'{node.op_type}'"
        raise DeviceError(f"operator {named} (node '{node.name}'): the torch adapter has {', '.join(_OPERATORS)}.")
    inputs = known.values + known.arrays
    if len(node.input) != inputs:
        raise DeviceError(f"{what} has {len(node.input)} inputs, the torch adapter knows {inputs}.")
    found = known.defaults | _attributes(node)
    for name in sorted(found.keys() | known.attributes.keys()):
        asked = known.attributes.get(name, "none")
        if name not in found or (asked is not _ANY and found[name] != asked):
            needed = "any" if asked is _ANY else asked
            raise DeviceError(f"{what}: {name} = {found.get(name, 'none')}, the torch adapter knows {needed}.")
    return known


def _attributes(node: NodeProto) -> Attributes:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _convolution(attributes: Attributes, arrays: Arrays) -> nn.Module:
    weight, bias = arrays
    pads, group = list(attributes["pads"]), attributes["group"]
    if pads[:2] != pads[2:]:
        raise DeviceError(f"Conv with pads = {pads}: the torch adapter knows the same on both sides.")
    channels, sizes, strides = (weight.shape[1] * group, weight.shape[0]), weight.shape[2:], attributes["strides"]
    # On 'meta' no weights are drawn: that would be slow, and would advance torch's random numbers.
    layer = nn.Conv2d(*channels, sizes, tuple(strides), (pads[0], pads[1]), groups=group, device="meta")
    return _filled(layer, weight, bias)


def _linear(_: Attributes, arrays: Arrays) -> nn.Module:
    weight, bias = arrays
    return _filled(nn.Linear(weight.shape[1], weight.shape[0], device="meta"), weight, bias)


def _filled(layer: nn.Conv2d | nn.Linear, *arrays: NDArray[np.float32]) -> nn.Module:
    layer.weight, layer.bias = (nn.Parameter(torch.tensor(array), requires_grad=False) for array in arrays)
    return layer


def _relu6(_: Attributes, arrays: Arrays) -> nn.Module:
    limits = [array.tolist() for array in arrays]
    if limits != [0, 6]:
        raise DeviceError(f"Clip to {limits}: the torch adapter knows [0, 6].")
    return nn.ReLU6()


_OPERATORS: Final[dict[str, _Operator]] = {
    "Add": _Operator(lambda *_: operator.add, values=2),
    "Clip": _Operator(_relu6, arrays=2),
    "Conv": _Operator(_convolution, dict.fromkeys(("group", "kernel_shape", "pads", "strides"), _ANY), arrays=2),
    "Flatten": _Operator(lambda *_: nn.Flatten(1), {"axis": 1}, {"axis": 1}),
    "Gemm": _Operator(_linear, {"transB": 1}, arrays=2),
    "GlobalAveragePool": _Operator(lambda *_: nn.AdaptiveAvgPool2d(1)),
    "HardSigmoid": _Operator(lambda *_: nn.Hardsigmoid(), {"alpha": float(np.float32(1 / 6)), "beta": 0.5}),
    "HardSwish": _Operator(lambda *_: nn.Hardswish()),
    "Identity": _Operator(lambda *_: nn.Identity()),
    "Mul": _Operator(lambda *_: operator.mul, values=2),
    "Relu": _Operator(lambda *_: nn.ReLU()),
    "Sigmoid": _Operator(lambda *_: nn.Sigmoid()),
}


def _lookup(known: dict[str, _Item], name: str, reader: str) -> _Item:
    if name not in known:
        raise DeviceError(f"{reader} reads '{name}', which is not what the torch adapter expects there.")
    return known[name]


def _only(found: Sequence[_Item], owner: str, kind: str) -> _Item:
    if len(found) != 1:
        raise DeviceError(f"{owner} has {len(found)} {kind}s, the torch adapter knows 1.")
    return found[0]


def _shape(value: ValueInfoProto) -> tuple[int, ...]:
    described = value.type.tensor_type
    shape = tuple(int(dimension.dim_value) for dimension in described.shape.dim)
    if described.elem_type != TensorProto.FLOAT or not shape or min(shape) < 1:
        raise DeviceError(f"input '{value.name}' is not float32 of a fixed shape, as the torch adapter needs it.")
    return shape
