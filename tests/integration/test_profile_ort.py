"""Profiling the tiny space on ONNX Runtime for real. What is asserted does not depend on how fast anything is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from binas_deploy.adapters.base import Precision
from binas_deploy.devices import DeviceSpec, TimingSpec, load_device_spec, open_device
from binas_deploy.measure import Timing, measure
from binas_deploy.space import SearchSpace
from binas_deploy.steps.profile import profile
from binas_deploy.steps.subjects import anchor_subjects, network_key
from binas_deploy.steps.tables import find_table
from binas_deploy.table import LatencyTable, measured_pieces

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def spec() -> DeviceSpec:
    timing = TimingSpec(warmup_ms=0.1, samples_per_visit=4, min_rounds=6, max_rounds=6)
    return load_device_spec("cpu").model_copy(update={"timing": timing})


def test_profile_on_the_cpu(tiny_space: SearchSpace, spec: DeviceSpec, tmp_path: Path) -> None:
    path, table = profile(tiny_space, spec, workspace=tmp_path)
    assert path.parent == tmp_path / "latency_tables" / "cpu" / "tiny"
    assert path.name.startswith("fp32-b1-t1-")
    assert not table.simulated
    assert set(table.pieces) == {piece.key for piece in measured_pieces(tiny_space)}
    assert table.conditions.identity["runtime"] == "onnxruntime"
    assert table.runs[0].host["stopped_by"] in {"rounds", "target"}
    assert table.predict(tiny_space.largest()).value > 0
    loaded = LatencyTable.load(path)
    assert loaded.digest == table.digest
    assert find_table(tiny_space, spec, workspace=tmp_path)[0] == path


def test_anchors_are_measured_again_in_another_run(tiny_space: SearchSpace, spec: DeviceSpec, tmp_path: Path) -> None:
    _, table = profile(tiny_space, spec, workspace=tmp_path)
    keys = [network_key(tiny_space, anchor.arch) for anchor in table.anchors]
    with anchor_subjects(table, open_device(spec)) as subjects:
        assert [subject.key for subject in subjects] == keys
        timing = Timing(0.1, 4, min_rounds=3, max_rounds=3)
        measured = measure(subjects, timing=timing, rng=np.random.default_rng(0), sentinel=keys[0])
    assert all(len(measured.samples(key)) == 12 for key in keys)


def test_batches_and_threads_have_tables_of_their_own(
    tiny_space: SearchSpace, spec: DeviceSpec, tmp_path: Path
) -> None:
    path, table = profile(tiny_space, spec.model_copy(update={"batch": 2}), workspace=tmp_path)
    assert path.name.startswith("fp32-b2-t1-")
    assert table.conditions.identity["batch"] == "2"
    assert Precision(table.conditions.identity["precision"]) is Precision.FP32
