"""Models that this project does not build: other operators, other attributes, and what no runtime can run."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper, shape_inference

from binas_deploy.graph import IR_VERSION, OPSET
from binas_deploy.model import INPUT_NAME, OUTPUT_NAME, OnnxModel

UNKNOWN_OPERATOR: Final = "Wobble"
_UNKNOWN_DOMAIN: Final = "binas.exam"
_SHAPE: Final = (1, 6, 9, 9)
_CHANNELS: Final = _SHAPE[1]


def unusual_models() -> list[tuple[str, OnnxModel]]:
    """(operator, model): valid, and each right or refused; all but the operator named are those of our networks.

    Defaults and attributes that are easily overlooked come first: they make wrong outputs, not errors.
    """
    weight = _weights(_CHANNELS, _CHANNELS, 3, 3)
    flat, square = _weights(_CHANNELS * 81, 5), _weights(_CHANNELS, _CHANNELS, 1, 1)
    return [
        ("Conv", _model(_node("Conv", "w", dilations=[2, 2]), w=weight)),
        ("Conv", _model(_node("Conv", "w", auto_pad="SAME_UPPER", strides=[2, 2]), w=weight)),
        ("Conv", _model(_node("Conv", "w", pads=[0, 1, 2, 1], strides=[2, 1]), w=weight)),
        ("Conv", _model(_node("Conv", "w", pads=[1, 1, 1, 1], group=2), w=weight[:, :3])),
        ("HardSigmoid", _model(_node("HardSigmoid"))),
        ("Clip", _model(_node("Clip", "low"), low=np.array(-0.25, np.float32))),
        ("Clip", _model(_node("Clip", "", "high"), high=np.array(0.25, np.float32))),
        ("Add", _model(_node("Add", "row"), row=_weights(9))),
        ("Mul", _model(_node("Mul", INPUT_NAME))),
        ("Flatten", _model(_node("Flatten", axis=2))),
        ("Gemm", _model(*_gemm(alpha=0.5, beta=2.0), w=flat, b=_weights(5))),
        ("Gemm", _model(*_gemm(), w=flat, b=_weights(1, 5))),
        ("AveragePool", _model(_node("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1]))),
        ("ConvTranspose", _model(_node("ConvTranspose", "w", strides=[2, 2]), w=square)),
        ("Softmax", _model(_node("Softmax", axis=1))),
        ("Transpose", _model(_node("Transpose", perm=[0, 2, 3, 1]))),
        ("Erf", _model(_node("Erf"))),
    ]


def unknown_operator_model() -> OnnxModel:
    """Well-formed, with an operator of a domain that no runtime has."""
    node = helper.make_node(UNKNOWN_OPERATOR, [INPUT_NAME], [OUTPUT_NAME], name="wobble", domain=_UNKNOWN_DOMAIN)
    return _serialised(_graph([node], _SHAPE, {}), _SHAPE, _UNKNOWN_DOMAIN)


def dangling_model() -> OnnxModel:
    """A graph one of whose inputs comes from nowhere."""
    node = helper.make_node("Add", [INPUT_NAME, "nowhere"], [OUTPUT_NAME], name="sum")
    return _serialised(_graph([node], _SHAPE, {}), _SHAPE)


def _node(op: str, *inputs: str, source: str = INPUT_NAME, target: str = OUTPUT_NAME, **attributes: Any) -> NodeProto:
    return helper.make_node(op, [source, *inputs], [target], name=f"the.{op}", **attributes)


def _gemm(**attributes: Any) -> tuple[NodeProto, NodeProto]:
    return _node("Flatten", target="flat"), _node("Gemm", "w", "b", source="flat", **attributes)


def _weights(*shape: int) -> Any:
    return np.random.default_rng(5).standard_normal(shape, np.float32)


def _model(*nodes: NodeProto, **arrays: Any) -> OnnxModel:
    """``arrays`` are initialisers by name; the output's shape is inferred."""
    inferred = shape_inference.infer_shapes(helper.make_model(_graph(list(nodes), None, arrays)), strict_mode=True)
    dimensions = inferred.graph.output[0].type.tensor_type.shape.dim
    shape = tuple(int(dimension.dim_value) for dimension in dimensions)
    return _serialised(_graph(list(nodes), shape, arrays), shape)


def _graph(nodes: list[NodeProto], output_shape: tuple[int, ...] | None, arrays: dict[str, Any]) -> GraphProto:
    source = helper.make_tensor_value_info(INPUT_NAME, TensorProto.FLOAT, _SHAPE)
    target = helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, output_shape)
    initialisers = [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in arrays.items()]
    return helper.make_graph(nodes, "unusual", [source], [target], initialisers)


def _serialised(graph: GraphProto, output_shape: tuple[int, ...], *domains: str) -> OnnxModel:
    opsets = [helper.make_opsetid("", OPSET), *(helper.make_opsetid(domain, 1) for domain in domains)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="binas-deploy")
    return OnnxModel(bytes(model.SerializeToString(deterministic=True)), _SHAPE, output_shape)
