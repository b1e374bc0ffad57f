"""Networks cut at a node, opened at every value, and at another batch."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx.reference import ReferenceEvaluator

from binas_deploy.errors import InputError
from binas_deploy.graph import build_network, network_weight_shapes, random_weights
from binas_deploy.model import OUTPUT_NAME, OnnxModel
from binas_deploy.surgery import cut_at, nodes_of, with_batch, with_every_value
from binas_deploy.testing.networks import random_feed, random_network, small_space

SPACE = small_space()


@pytest.fixture(scope="module")
def model() -> OnnxModel:
    return random_network(SPACE, SPACE.largest(), 1)


def evaluated(model: OnnxModel, feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    evaluator = ReferenceEvaluator(onnx.load_model_from_string(model.payload))
    return dict(zip(evaluator.output_names, evaluator.run(None, feed), strict=True))


def test_every_cut_gives_the_value_of_its_node(model: OnnxModel) -> None:
    feed = random_feed(model, 0)
    every = evaluated(with_every_value(model), feed)
    nodes = nodes_of(model)
    assert [node.value for node in nodes][-1] == OUTPUT_NAME
    assert set(every) == {node.value for node in nodes}
    for place in range(0, len(nodes), 5):
        cut = cut_at(model, place)
        found = evaluated(cut, feed)
        assert list(found) == [OUTPUT_NAME]
        np.testing.assert_allclose(found[OUTPUT_NAME], every[nodes[place].value], rtol=1e-6)
        assert cut.output_shape == found[OUTPUT_NAME].shape
        kept = onnx.load_model_from_string(cut.payload).graph
        assert len(kept.node) <= place + 1
        assert {array.name for array in kept.initializer} <= {name for node in kept.node for name in node.input}


def test_inputs_of_a_node_are_those_that_nodes_make(model: OnnxModel) -> None:
    nodes = nodes_of(model)
    assert nodes[0].inputs == ()
    scale = next(node for node in nodes if node.name.endswith("excite.scale"))
    assert len(scale.inputs) == 2
    assert all(max(node.inputs, default=-1) < place for place, node in enumerate(nodes))


def test_another_batch_is_what_the_builder_makes_of_it(model: OnnxModel) -> None:
    rng = np.random.default_rng(1)
    weights = random_weights(network_weight_shapes(SPACE, SPACE.largest()), rng)
    assert with_batch(model, 4) == build_network(SPACE, SPACE.largest(), weights, batch=4)
    assert with_batch(with_batch(model, 4), 1) == model


@pytest.mark.parametrize("batch", [0, -2])
def test_no_batch_is_refused(model: OnnxModel, batch: int) -> None:
    with pytest.raises(InputError, match="give 1 or more"):
        with_batch(model, batch)


def test_a_batch_that_is_written_into_a_network_cannot_be_changed() -> None:
    shape = helper.make_tensor("shape", onnx.TensorProto.INT64, [2], [1, 12])
    node = helper.make_node("Reshape", ["input", "shape"], ["output"])
    ends = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, dims)
        for name, dims in (("input", [1, 3, 2, 2]), ("output", [1, 12]))
    ]
    graph = helper.make_graph([node], "fixed", ends[:1], ends[1:], [shape])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    with pytest.raises(InputError, match="does not fit together"):
        with_batch(OnnxModel(made.SerializeToString(), (1, 3, 2, 2), (1, 12)), 2)


def test_what_is_no_network_cannot_be_cut(model: OnnxModel) -> None:
    with pytest.raises(InputError, match="no ONNX"):
        nodes_of(OnnxModel(b"nothing", (1,), (1,)))
    with pytest.raises(InputError, match="cannot be cut at"):
        cut_at(model, 10_000)
