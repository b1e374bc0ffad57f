"""Networks in half precision: valid, alike, and refused where that cannot be said."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, checker, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from binas_deploy.errors import InputError
from binas_deploy.half import OPERATORS, in_half, is_quantized
from binas_deploy.model import INPUT_NAME, OUTPUT_NAME, OnnxModel
from binas_deploy.testing.networks import random_feed, random_network, small_space


def network(seed: int = 1) -> tuple[OnnxModel, ModelProto]:
    space = small_space()
    model = random_network(space, space.largest(), seed, batch=2)
    return model, onnx.load_model_from_string(model.payload)


def evaluated(proto: ModelProto, feed: dict[str, Any]) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    (output,) = ReferenceEvaluator(proto).run(None, feed)
    return np.asarray(output)


def small(op: str, weight: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> ModelProto:
    graph = helper.make_graph(
        [helper.make_node(op, [INPUT_NAME, "w"], [OUTPUT_NAME])],
        "one",
        [helper.make_tensor_value_info(INPUT_NAME, TensorProto.FLOAT, (2,))],
        [helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, (2,))],
        [numpy_helper.from_array(weight, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_a_half_network_is_valid_and_alike() -> None:
    model, whole = network()
    half = in_half(whole)
    checker.check_model(half, full_check=True)  # infers every type: nothing is float32 but the two ends
    assert {tensor.data_type for tensor in half.graph.initializer} == {TensorProto.FLOAT16}
    ends = [*half.graph.input, *half.graph.output]
    assert {value.type.tensor_type.elem_type for value in ends} == {TensorProto.FLOAT}
    assert {node.op_type for node in whole.graph.node} <= OPERATORS
    feed = dict(random_feed(model, 1))
    expected, found = (evaluated(proto, feed) for proto in (whole, half))
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() / np.abs(expected).max() < 1e-2


def test_the_given_network_stays_and_the_bytes_are_the_same_each_time() -> None:
    _, whole = network()
    before = whole.SerializeToString(deterministic=True)
    first, second = (in_half(whole).SerializeToString(deterministic=True) for _ in range(2))
    assert first == second != before == whole.SerializeToString(deterministic=True)


def test_a_half_network_is_taken_as_it_is() -> None:
    half = in_half(network()[1])
    assert in_half(half) == half


def test_unknown_operators_are_refused_by_name() -> None:
    with pytest.raises(InputError, match="no rule for converting Pow"):
        in_half(small("Pow", np.ones(2, np.float32)))


def test_weights_beyond_float16_are_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"weight 'w' reaches 7e[+]04, float16 ends at 65504"):
        in_half(small("Add", np.array([1, -70_000], np.float32)))


def test_quantized_networks_are_known_by_their_nodes() -> None:
    assert not is_quantized(network()[1])
    assert is_quantized(small("DequantizeLinear", np.ones(2, np.float32)))
