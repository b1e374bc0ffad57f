"""What a check measures besides whole bundles is in the precision of these."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from binas_deploy.devices import load_device_spec
from binas_deploy.steps.check_models import payloads
from binas_deploy.testing.networks import random_network, small_space

pytest.importorskip("onnxruntime")


@pytest.mark.parametrize(("precision", "quantised"), [("fp32", False), ("int8", True)])
def test_models_are_quantised_as_the_precision_says(precision: str, quantised: bool, tmp_path: Path) -> None:
    space = small_space()
    models = {f"net {seed}": random_network(space, space.smallest(), seed) for seed in range(2)}
    found = payloads(load_device_spec("cpu").with_precision(precision), models, tmp_path)
    assert list(found) == list(models)
    for key, payload in found.items():
        operators = {node.op_type for node in onnx.load_model(payload.path).graph.node}
        assert ("QuantizeLinear" in operators) == quantised
        assert payload.input_shape == models[key].input_shape
        assert (payload.sha256 == models[key].sha256) != quantised
    assert len(np.unique([payload.path for payload in found.values()])) == 2
