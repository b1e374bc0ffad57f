"""Verifying bundles of the tiny space on ONNX Runtime for real. Nothing that is asserted depends on how fast it is."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from binas_deploy.accuracy import AccuracyModel
from binas_deploy.adapters.base import Device, Executable, Precision, Program
from binas_deploy.adapters.onnxruntime.device import OnnxRuntimeDevice
from binas_deploy.budget import Budget
from binas_deploy.bundle.manifest import MODEL_NAME, VERIFICATION_NAME, DataSource, Manifest, load_vectors, save_vectors
from binas_deploy.bundle.verification import (
    Accuracy,
    AccuracyNotMeasured,
    Parity,
    Shown,
    Verdict,
    VerificationReport,
)
from binas_deploy.devices import DeviceSpec, TimingSpec, device_conditions, load_device_spec, open_device
from binas_deploy.errors import DocumentError, MismatchError
from binas_deploy.model import OnnxModel
from binas_deploy.search_result import SearchResult
from binas_deploy.space import SearchSpace
from binas_deploy.steps.profile import profile
from binas_deploy.steps.search import search
from binas_deploy.steps.verify import Asking, verify
from binas_deploy.steps.verify_latency import LEAST_SAMPLES
from binas_deploy.table import LatencyTable
from binas_deploy.testing.bundles import restate, write_bundle

pytest.importorskip("onnxruntime")

AMPLE = Budget.parse("10s")
LESS_THAN_A_CALL = "1ns"


@pytest.fixture(scope="module")
def spec() -> DeviceSpec:
    timing = TimingSpec(warmup_ms=0.1, samples_per_visit=4, min_rounds=6, max_rounds=6)
    return load_device_spec("cpu").model_copy(update={"timing": timing, "batch": 4})


@pytest.fixture(scope="module")
def table(tiny_space: SearchSpace, spec: DeviceSpec, tmp_path_factory: pytest.TempPathFactory) -> LatencyTable:
    return profile(tiny_space, spec, workspace=tmp_path_factory.mktemp("profiled"))[1]


@pytest.fixture(scope="module")
def result(tiny_space: SearchSpace, table: LatencyTable) -> SearchResult:
    rng = np.random.default_rng(0)
    archs = [tiny_space.sample(rng) for _ in range(40)]
    model = AccuracyModel.fit(tiny_space, [(arch, 20 + tiny_space.macs(arch) / 1e5) for arch in archs])
    return search(tiny_space, accuracy=model, budgets=[AMPLE], tables=[table])


@pytest.fixture
def in_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """For what has nothing to do with latency: starting processes takes seconds."""
    monkeypatch.setattr("binas_deploy.steps.replicas.in_fresh_process", lambda function, *given: function(*given))


@pytest.fixture
def bundle(result: SearchResult, table: LatencyTable, tmp_path: Path) -> Path:
    write_bundle(tmp_path / "bundle", result, table, vectors=6)  # no multiple of the batch
    return tmp_path / "bundle"


def within(bundle: Path, budget: str) -> None:
    manifest = Manifest.load(bundle)
    replace(manifest, asked=replace(manifest.asked, budget=budget)).save(bundle)


def test_an_ample_budget_passes(bundle: Path, spec: DeviceSpec, tmp_path: Path) -> None:
    report = verify(bundle, device=spec, workspace=tmp_path, accuracy="never")
    assert isinstance(report.parity, Parity)
    assert (report.parity.verdict, report.parity.vectors) == (Verdict.PASS, 6)
    assert (report.latency.verdict, report.verdict, report.exit_code) == (Verdict.PASS, Verdict.PASS, 0)
    assert not report.simulated
    assert len(report.latency.measurement) >= LEAST_SAMPLES * len(report.latency.processes)
    assert (report.latency.replication, report.latency.stopped_by) == ("process", "decided")
    assert len(report.latency.processes) == 3  # a budget of seconds takes no more
    assert all(anchor.now_ns > 0 for anchor in report.latency.anchors)
    assert report.conditions.identity["runtime"] == "onnxruntime"
    assert VerificationReport.load(bundle / VERIFICATION_NAME) == report


@pytest.mark.usefixtures("in_one_process")
def test_what_is_measured_is_the_bundle_s_own_program(
    bundle: Path, spec: DeviceSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, compiled, original = Manifest.load(bundle), [], OnnxRuntimeDevice.compile

    def counted(self: OnnxRuntimeDevice, model: OnnxModel, *, precision: Precision, cache: Path) -> Program:
        compiled.append(model.sha256)
        return original(self, model, precision=precision, cache=cache)

    monkeypatch.setattr(OnnxRuntimeDevice, "compile", counted)
    report = verify(bundle, device=spec, workspace=tmp_path, accuracy="never")
    assert report.program_sha256 == manifest.formats["onnx"].program_sha256 == manifest.files[MODEL_NAME].sha256
    assert len(set(compiled)) == len(manifest.anchors)
    assert manifest.files[MODEL_NAME].sha256 not in compiled


def test_how_it_begins_is_measured_in_each_process(bundle: Path, spec: DeviceSpec, tmp_path: Path) -> None:
    asking = Asking(percentile=90, soak_s=1.0, batches=(4, 8), callers=(1, 2))
    report = verify(bundle, device=spec, workspace=tmp_path, accuracy="never", asking=asking)
    starts = [process.cold for process in report.latency.processes]
    for cold in starts:
        assert cold is not None
        assert min(cold.import_ns, cold.load_ns, cold.first_ns) > 0
        assert cold.peak_bytes >= cold.before_bytes > 10**6
    assert report.latency.shown == Shown("p90", "back-to-back")
    assert report.latency.predicted is None
    assert report.latency.machine is not None
    assert [(point.batch, point.concurrency) for point in report.sweep] == [(4, 1), (4, 2), (8, 1), (8, 2)]
    assert report.soak is not None
    assert report.soak.calls > 10
    assert VerificationReport.load(bundle / VERIFICATION_NAME) == report


class Wrong:
    """A runtime that takes one node for another operator."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self.facts, self.compile = device.facts, device.compile

    def load(self, program: Program) -> AbstractContextManager[Executable]:
        changed = onnx.load_model_from_string(program.payload)
        for node in changed.graph.node:
            if node.name == "stages.1.0.expand.hard_swish":
                node.op_type = "Relu"
        return self._device.load(replace(program, payload=changed.SerializeToString()))


@pytest.mark.usefixtures("in_one_process")
@pytest.mark.parametrize(("adapter", "against"), [("onnxruntime", "ONNX's reference"), ("openvino", "ONNX Runtime")])
def test_the_node_that_a_runtime_gets_wrong_is_named(
    adapter: str, against: str, bundle: Path, spec: DeviceSpec, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip(adapter)
    there = spec.model_copy(update={"adapter": adapter, "options": {}})
    identity = device_conditions(there, open_device(there).facts()).identity
    replace(Manifest.load(bundle), identity=identity).save(bundle)
    monkeypatch.setattr("binas_deploy.steps.verify.open_device", lambda asked: Wrong(open_device(asked)))
    report = verify(bundle, device=there, workspace=tmp_path, accuracy="never")
    assert isinstance(report.parity, Parity)
    found = report.parity.divergence
    assert found is not None
    assert (found.node, found.operator, found.block) == ("stages.1.0.expand.hard_swish", "HardSwish", "stages.1.0")
    assert found.against.startswith(against)
    assert "it begins at node stages.1.0.expand.hard_swish, HardSwish" in " ".join(report.reasons).replace("It", "it")
    assert VerificationReport.load(bundle / VERIFICATION_NAME) == report


def test_an_impossible_budget_fails(bundle: Path, spec: DeviceSpec, tmp_path: Path) -> None:
    within(bundle, LESS_THAN_A_CALL)
    report = verify(bundle, device=spec, workspace=tmp_path, accuracy="if_within_budget")
    assert (report.latency.verdict, report.exit_code) == (Verdict.FAIL, 1)
    assert isinstance(report.accuracy, AccuracyNotMeasured)


@pytest.mark.usefixtures("in_one_process")
def test_accuracy_counts_every_test_image(
    bundle: Path, spec: DeviceSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BINAS_DEPLOY_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (30, 3, 8, 8), dtype=np.uint8)
    names = np.array([f"class{index}" for index in range(5)])
    labels = np.arange(30) % 5
    np.savez(
        tmp_path / "pictures.npz",
        train_images=images,
        train_labels=labels,
        test_images=images[:11],
        test_labels=labels[:11],
        classes=names,
    )
    report = verify(bundle, device=spec, workspace=tmp_path, data=str(tmp_path / "pictures.npz"))
    assert isinstance(report.accuracy, Accuracy)
    assert report.accuracy.images == 11
    replace(Manifest.load(bundle), data=DataSource("pictures", "0" * 64, 0)).save(bundle)
    report = verify(bundle, device=spec, workspace=tmp_path, data=str(tmp_path / "pictures.npz"))
    assert (report.accuracy.verdict, report.exit_code) == (Verdict.NOT_MEASURED, 4)


@pytest.mark.usefixtures("in_one_process")
def test_wrong_reference_outputs_fail_parity(bundle: Path, spec: DeviceSpec, tmp_path: Path) -> None:
    inputs, outputs = load_vectors(bundle)
    save_vectors(bundle, inputs, outputs[::-1])
    restate(bundle, Manifest.load(bundle))
    report = verify(bundle, device=spec, workspace=tmp_path, accuracy="never")
    assert (report.parity.verdict, report.exit_code) == (Verdict.FAIL, 1)
    assert isinstance(report.parity, Parity)
    assert report.parity.divergence is not None
    assert report.parity.divergence.node == ""  # the runtime is right: it is the stored outputs that are not its


def test_a_flipped_byte_or_another_device_ends_it(bundle: Path, spec: DeviceSpec, tmp_path: Path) -> None:
    with pytest.raises(MismatchError, match="batch: made for 4, here 2"):
        verify(bundle, device=spec.model_copy(update={"batch": 2}), workspace=tmp_path)
    payload = bytearray((bundle / MODEL_NAME).read_bytes())
    payload[100] ^= 255
    (bundle / MODEL_NAME).write_bytes(payload)
    with pytest.raises(DocumentError, match="changed or damaged"):
        verify(bundle, device=spec, workspace=tmp_path)
    assert not (bundle / VERIFICATION_NAME).exists()
