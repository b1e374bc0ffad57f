"""Verifying bundles of the tiny space on ONNX Runtime for real. Nothing that is asserted depends on how fast it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from binas_deploy.accuracy import AccuracyModel
from binas_deploy.adapters.base import Precision, Program
from binas_deploy.adapters.onnxruntime.device import OnnxRuntimeDevice
from binas_deploy.budget import Budget
from binas_deploy.bundle.manifest import MODEL_NAME, VERIFICATION_NAME, DataSource, Manifest, load_vectors, save_vectors
from binas_deploy.bundle.verification import Accuracy, AccuracyNotMeasured, Parity, Verdict, VerificationReport
from binas_deploy.devices import DeviceSpec, TimingSpec, load_device_spec
from binas_deploy.errors import DocumentError, MismatchError
from binas_deploy.model import OnnxModel
from binas_deploy.search_result import SearchResult
from binas_deploy.space import SearchSpace
from binas_deploy.steps.profile import profile
from binas_deploy.steps.search import search
from binas_deploy.steps.verify import verify
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
    assert len(report.latency.measurement) >= LEAST_SAMPLES
    assert all(anchor.now_ns > 0 for anchor in report.latency.anchors)
    assert report.conditions.identity["runtime"] == "onnxruntime"
    assert VerificationReport.load(bundle / VERIFICATION_NAME) == report


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
    assert len(compiled) == len(manifest.anchors)
    assert manifest.files[MODEL_NAME].sha256 not in compiled


def test_an_impossible_budget_fails(bundle: Path, spec: DeviceSpec, tmp_path: Path) -> None:
    within(bundle, LESS_THAN_A_CALL)
    report = verify(bundle, device=spec, workspace=tmp_path, accuracy="if_within_budget")
    assert (report.latency.verdict, report.exit_code) == (Verdict.FAIL, 1)
    assert isinstance(report.accuracy, AccuracyNotMeasured)


def test_accuracy_counts_every_test_image(bundle: Path, spec: DeviceSpec, tmp_path: Path) -> None:
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


def test_wrong_reference_outputs_fail_parity(bundle: Path, spec: DeviceSpec, tmp_path: Path) -> None:
    inputs, outputs = load_vectors(bundle)
    save_vectors(bundle, inputs, outputs[::-1])
    restate(bundle, Manifest.load(bundle))
    report = verify(bundle, device=spec, workspace=tmp_path, accuracy="never")
    assert (report.parity.verdict, report.exit_code) == (Verdict.FAIL, 1)


def test_a_flipped_byte_or_another_device_ends_it(bundle: Path, spec: DeviceSpec, tmp_path: Path) -> None:
    with pytest.raises(MismatchError, match="batch: made for 4, here 2"):
        verify(bundle, device=spec.model_copy(update={"batch": 2}), workspace=tmp_path)
    payload = bytearray((bundle / MODEL_NAME).read_bytes())
    payload[100] ^= 255
    (bundle / MODEL_NAME).write_bytes(payload)
    with pytest.raises(DocumentError, match="changed or damaged"):
        verify(bundle, device=spec, workspace=tmp_path)
    assert not (bundle / VERIFICATION_NAME).exists()
