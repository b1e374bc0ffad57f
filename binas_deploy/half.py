"""An ONNX network in half precision, for runtimes that take the arithmetic from the network's own types.

Weights become float16 and so does everything between; the input and the output stay float32 and are cast inside, so
that whoever feeds the network sees no difference. Only operators that our builder emits are converted: with others,
what may be half and what may not depends on the operator.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from binas_deploy.errors import InputError

LARGEST_HALF: Final = float(np.finfo(np.float16).max)
OPERATORS: Final = frozenset(
    [
        "Add",
        "Clip",
        "Conv",
        "Flatten",
        "Gemm",
        "GlobalAveragePool",
        "HardSigmoid",
        "HardSwish",
        "Identity",
        "Mul",
        "Relu",
        "Sigmoid",
    ]
)
"""Those that `graph` emits; each takes float16 (ONNX operator schemas, opset 20)."""
_SUFFIX: Final = ".half"


def is_quantized(model: ModelProto) -> bool:
    """Whether the network says itself where it is quantized, by QuantizeLinear or DequantizeLinear."""
    return any(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in model.graph.node)


def in_half(model: ModelProto) -> ModelProto:
    """A copy of ``model`` in float16; one that holds float16 weights already is taken as its author made it.

    Raises:
        InputError: an operator that is not known to convert, or a weight beyond what float16 holds (65504).
    """
    result = ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    if any(tensor.data_type == TensorProto.FLOAT16 for tensor in graph.initializer):
        return result
    _require_known(graph.node)
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            tensor.CopyFrom(_half(tensor))
    del graph.value_info[:]
    _cast_ends(graph)
    return result


def _require_known(nodes: Iterable[NodeProto]) -> None:
    unknown = sorted({node.op_type for node in nodes} - OPERATORS)
    if unknown:
        raise InputError(
            f"precision 'fp16': no rule for converting {', '.join(unknown)}. Give the network in float16 (NVIDIA's "
            'ModelOpt AutoCast writes one), or use precision = "fp32".'
        )


def _half(tensor: TensorProto) -> TensorProto:
    values = numpy_helper.to_array(tensor)
    largest = float(np.abs(values).max(initial=0.0))
    if largest > LARGEST_HALF:
        raise InputError(
            f"precision 'fp16': weight {tensor.name!r} reaches {largest:.3g}, float16 ends at {LARGEST_HALF:.0f}. Use "
            'precision = "fp32".'
        )
    return numpy_helper.from_array(values.astype(np.float16), tensor.name)


def _cast_ends(graph: GraphProto) -> None:
    """float32 to float16 behind every input, and back before every output."""
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value.name for value in graph.input if value.name not in weights]
    outputs = [value.name for value in graph.output]
    renamed = {name: f"{name}{_SUFFIX}" for name in (*inputs, *outputs)}
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    nodes = [
        *(_cast(name, renamed[name], TensorProto.FLOAT16) for name in inputs),
        *graph.node,
        *(_cast(renamed[name], name, TensorProto.FLOAT) for name in outputs),
    ]
    kept = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)


def _cast(source: str, target: str, to: int) -> NodeProto:
    return helper.make_node("Cast", [source], [target], name=f"{source}.cast", to=to)
