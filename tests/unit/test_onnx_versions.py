from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from binas_deploy.errors import InputError
from binas_deploy.graph import build_network, network_weight_shapes, random_weights
from binas_deploy.onnx_versions import NEWEST, NEWEST_OPSET, OLDEST_OPSET, OnnxVersion, version_for
from binas_deploy.testing.networks import random_feed, small_space


@pytest.mark.parametrize(
    ("runtime", "version", "opset", "ir"),
    [
        ("onnxruntime", "1.31", 20, 10),
        ("onnxruntime", "1.18", 20, 10),
        ("onnxruntime", "1.17", 20, 9),
        ("onnxruntime", "1.16.3", 19, 9),
        ("onnxruntime", "1.12", 17, 8),
        ("onnxruntime", "1.8.1", 14, 7),
        ("tensorrt", "8.6", 17, 8),
        ("tensorrt", "10.13", 20, 10),
        ("tensorrt", "11.0", 20, 10),
        ("openvino", "2026.4", 20, 10),
        ("simulated", "1", 20, 10),
        ("onnxruntime", "unknown", 20, 10),
    ],
)
def test_a_runtime_gets_what_it_reads(runtime: str, version: str, opset: int, ir: int) -> None:
    assert version_for(runtime, version) == OnnxVersion(opset, ir)


@pytest.mark.parametrize(("runtime", "version"), [("onnxruntime", "1.7"), ("tensorrt", "8.5")])
def test_one_that_reads_none_is_refused_with_the_oldest_that_does(runtime: str, version: str) -> None:
    with pytest.raises(InputError, match=f"Use {runtime} .* or newer"):
        version_for(runtime, version)


def test_networks_compute_the_same_in_each() -> None:
    space = small_space()
    weights = random_weights(network_weight_shapes(space, space.largest()), np.random.default_rng(0))
    outputs = []
    for opset in range(OLDEST_OPSET, NEWEST_OPSET + 1):
        model = build_network(space, space.largest(), weights, version=OnnxVersion(opset, 7 if opset == 14 else 10))
        read = onnx.load_model_from_string(model.payload)
        onnx.checker.check_model(read, full_check=True)
        assert read.opset_import[0].version == opset
        evaluator: Any = ReferenceEvaluator(read)
        outputs.append(evaluator.run(None, dict(random_feed(model, 1)))[0])
    for found in outputs:
        np.testing.assert_array_equal(found, outputs[-1])
    assert build_network(space, space.largest(), weights, version=NEWEST).payload == model.payload


@pytest.mark.parametrize("opset", [13, 21])
def test_others_are_refused(opset: int) -> None:
    with pytest.raises(InputError, match="14 to 20"):
        OnnxVersion(opset)
