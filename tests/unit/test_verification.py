from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from binas_deploy import documents
from binas_deploy.adapters.base import DeviceFacts, SelfWarming
from binas_deploy.adapters.registry import ADAPTERS, Adapter
from binas_deploy.bundle.latency import Replication
from binas_deploy.bundle.manifest import (
    MODEL_NAME,
    VECTORS_NAME,
    VERIFICATION_NAME,
    DataSource,
    Manifest,
    Predicted,
    StatedAnchor,
    load_vectors,
    save_vectors,
)
from binas_deploy.bundle.tolerances import tolerance_of
from binas_deploy.bundle.verification import (
    Accuracy,
    AccuracyNotMeasured,
    AnchorMedians,
    ColdStart,
    Latency,
    Parity,
    ParityNotMeasured,
    ProcessLatency,
    SetUse,
    Shown,
    Verdict,
    VerificationReport,
)
from binas_deploy.cli.verification_report import slack_text, verification_text
from binas_deploy.conditions import IDENTITY_KEYS, Conditions
from binas_deploy.devices import DeviceSpec
from binas_deploy.errors import DeviceError, DocumentError, InputError, MismatchError
from binas_deploy.estimate import Estimate
from binas_deploy.measure import Timing
from binas_deploy.measurement import Measurement
from binas_deploy.progress import SILENT
from binas_deploy.quality import Machine, ThisMachine
from binas_deploy.steps.inference import outputs_of
from binas_deploy.steps.replicas import replication_of
from binas_deploy.steps.verify import verify
from binas_deploy.steps.verify_latency import LEAST_SAMPLES, measure_latency, plan
from binas_deploy.table.reconcile import reconcile
from binas_deploy.testing import fake_device
from binas_deploy.testing.bundles import restate
from binas_deploy.testing.fake_device import FakeDevice

GOLDEN = Path(__file__).parents[1] / "data" / "formats" / "verification-v1.json"
Bundle = tuple[Path, Manifest]
ONES = np.ones((2, 3), np.float32)
MEDIAN = Shown("median", "back-to-back")
TOLERANCE = tolerance_of("onnx", "fp32")
WRONG = Parity(1, 1.0, 1.0, 0.1, 0.0, TOLERANCE)
NOTHING = Parity(0, None, 0.0, None, None, TOLERANCE)


FIVE = (488_000, 489_000, 490_000, 489_500, 491_000)
COLD = ColdStart(110_000_000, 20_000_000, 1_000_000, 90_000_000, 97_000_000)


def latency(values: Sequence[int] = FIVE, budget: int = 500_000, anchors: int = 8) -> Latency:
    """Processes of some 489 us against a prediction of 470 us on a machine that is 2 % slower."""
    taken = np.array([value + 1_000 * (i * 7 % 20 - 10) for value in values for i in range(40)])
    return Latency(
        measurement=Measurement(taken, np.repeat(np.arange(len(values)), 40)),
        budget_ns=budget,
        predicted=Estimate(470_000, 460_000, 480_000, "ns", 0.95, "median; t, 8 anchors"),
        anchors=tuple(AnchorMedians("random", 100_000.0 + i, 102_000.0 + 1.02 * i) for i in range(anchors)),
        processes=tuple(ProcessLatency(value, 12, COLD, 1.02) for value in values),
        stopped_by="decided",
        noise={"measured_s": "6.1", "contention_cpus": "0.1"},
        anchor_noise=0.008,
        shown=Shown("median", "back-to-back"),
    )


def accuracy(correct: int = 8_800, predicted: float = 88.4) -> Accuracy:
    holdout = Estimate(predicted, predicted - 0.9, predicted + 0.9, "%", 0.95, "Wilson, n = 5000")
    return Accuracy(correct, 10_000, "cifar10", holdout, SetUse("cifar10", 2, 2))


def report_of(**changes: Any) -> VerificationReport:
    identity = dict.fromkeys(IDENTITY_KEYS, "x") | {"batch": "1", "threads": "1"}
    made = VerificationReport(
        bundle="cifar10-cpu-0.5ms",
        manifest_digest="ab" * 32,
        program_sha256="cd" * 32,
        created="2026-11-22T09:30:00+00:00",
        conditions=Conditions(identity, {"load_average": "0.10"}),
        parity=Parity(8, 2e-6, 4.5, 0.999999, 1.0, TOLERANCE),
        latency=latency(),
        accuracy=accuracy(),
        seed=3,
    )
    return replace(made, **changes)


# Parity


def test_parity_compares_with_the_largest_reference_output() -> None:
    parity = Parity.of(ONES + np.array([0, 0, 3e-4], np.float32), ONES * np.array([1, 1, 1], np.float32))
    assert parity.relative == pytest.approx(3e-4, rel=1e-3)
    assert parity.verdict is Verdict.FAIL
    assert "by 0.0003 of the largest one, at most 0.0001 is allowed" in parity.reason
    assert Parity.of(10 * ONES + np.float32(3e-4), 10 * ONES).verdict is Verdict.PASS


def test_comparing_nothing_fails() -> None:
    parity = Parity.of(ONES[:0], ONES[:0])
    assert parity == NOTHING
    assert parity.verdict is Verdict.FAIL
    assert "nothing was compared" in parity.reason


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_values_that_are_not_finite_fail(wrong: float) -> None:
    parity = Parity.of(np.full_like(ONES, wrong), ONES)
    assert (parity.max_abs_diff, parity.relative, parity.verdict) == (None, None, Verdict.FAIL)
    assert "not finite" in parity.reason


def test_all_zero_outputs_agree_only_with_zeros() -> None:
    assert Parity.of(0 * ONES, 0 * ONES).verdict is Verdict.PASS
    assert Parity.of(ONES, 0 * ONES).verdict is Verdict.FAIL


def test_parity_needs_equal_shapes() -> None:
    with pytest.raises(InputError, match="cannot be compared"):
        Parity.of(ONES, ONES[:1])


# Latency


def test_the_latency_verdict_is_by_the_bounds_over_processes() -> None:
    found = latency()
    assert found.interval is not None
    low, high = found.interval
    assert low < found.value_ns < high
    verdicts = [latency(budget=budget).verdict for budget in (high, high - 1, low, low - 1)]
    assert verdicts == [Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.INCONCLUSIVE, Verdict.FAIL]
    assert "too close to tell" in latency(budget=low).reason
    assert "is over the budget of 0.4000 ms" in latency(budget=400_000).reason


def test_no_verdict_is_against_most_of_the_processes() -> None:
    """Beside the anchors they agree, so that the bounds are near: only the machine was another in one process."""

    def swinging(values: Sequence[int], mean_speed: int) -> Latency:
        found = latency(values)
        return replace(
            found, processes=tuple(replace(row, slowness=row.value_ns / mean_speed) for row in found.processes)
        )

    fast = swinging([505_000, 504_000, 350_000, 503_000], 480_000)
    assert fast.interval is not None
    assert fast.interval[1] < fast.budget_ns < fast.settled_ns == 503_000
    assert fast.verdict is Verdict.INCONCLUSIVE
    assert "3 of 4 fresh processes were over the budget of 0.5000 ms" in fast.reason
    assert swinging([490_000, 504_000, 350_000, 503_000], 480_000).verdict is Verdict.PASS
    slow = swinging([495_000, 494_000, 700_000, 493_000], 540_000)
    assert (slow.verdict, slow.over_budget) == (Verdict.INCONCLUSIVE, 1)
    assert swinging([505_000, 494_000, 700_000, 493_000], 540_000).verdict is Verdict.FAIL


def test_too_few_processes_decide_nothing() -> None:
    found = latency([400_000, 400_100])
    assert (found.interval, found.verdict) == (None, Verdict.INCONCLUSIVE)
    assert "2 fresh processes are too few" in found.reason


@pytest.mark.parametrize("count", [0, 11])
def test_processes_beyond_the_rule_are_refused(count: int) -> None:
    with pytest.raises(InputError, match="do not fit the samples"):
        replace(latency(), processes=(ProcessLatency(1, 1),) * count)


def test_it_is_told_how_much_slower_the_machine_may_get() -> None:
    found = latency()
    assert found.slack_percent == pytest.approx(100 * (500_000 / found.value_ns - 1))
    assert found.sure_slack_percent is not None
    assert 0 < found.sure_slack_percent < found.slack_percent
    assert "holds until this machine is 2.1 % slower, at least 1" in slack_text(found)
    assert "would hold if this machine were 22.4 % faster" in slack_text(latency(budget=400_000))


def test_another_statistic_or_rhythm_has_no_prediction() -> None:
    found = replace(latency(), shown=Shown("p95", "every 33ms", 0.99), predicted=None, anchors=())
    assert (found.machine, found.predicted_now_ns, found.error_percent) == (None, None, None)
    report = report_of(latency=found)
    text = verification_text(report)
    assert "measured p95 every 33ms (bounds " in text
    assert ", 99 % each)" in text
    assert "the table predicts another statistic or rhythm" in text


def test_the_machine_now_is_found_from_the_anchors() -> None:
    rows = tuple(AnchorMedians("random", then, 1.1 * then + 2_000) for then in (2e5, 3e5, 4e5, 6e5))
    found = replace(latency(), anchors=rows)
    assert found.machine is not None
    assert found.machine == reconcile([row.then_ns for row in rows], [row.now_ns for row in rows], noise=0.008)
    assert found.machine.anchors == 4
    assert found.predicted_now_ns == found.machine.scale * 470_000 + found.machine.offset_ns
    assert found.predicted_now_ns == pytest.approx(1.1 * 470_000 + 2_000, rel=0.002)
    noisier = replace(found, anchor_noise=0.02).machine
    assert noisier is not None
    assert noisier.relative_sd > 2 * found.machine.relative_sd
    assert replace(found, anchors=()).machine is None


def test_the_prediction_is_judged_for_the_machine_as_it_is_now() -> None:
    found = latency()
    assert found.predicted_now_ns == pytest.approx(470_000 * 1.02)
    assert found.error_percent == pytest.approx(100 * (470_000 * 1.02 / found.value_ns - 1))
    assert found.headroom_percent == pytest.approx(100 * (1 - found.value_ns / 500_000))


# Accuracy


def test_accuracy_may_lie_a_point_and_the_sampling_error_below() -> None:
    found = accuracy(correct=8_800, predicted=88.0)
    half = (found.top1.high - found.top1.low) / 2
    assert found.allowed == pytest.approx(1 + np.hypot(half, 0.9), abs=1e-9)
    assert found.difference == pytest.approx(0.0)
    below = accuracy(correct=8_800, predicted=88.0 + found.allowed - 0.01)
    assert (below.verdict, below.reason) == (Verdict.PASS, "")
    wrong = accuracy(correct=8_800, predicted=88.0 + found.allowed + 0.01)
    assert wrong.verdict is Verdict.FAIL
    assert "points below the predicted" in wrong.reason


def test_better_than_predicted_passes_and_is_said() -> None:
    found = accuracy(correct=9_500, predicted=88.0)
    assert found.verdict is Verdict.PASS
    assert "7.00 points above the predicted 88.00 %" in found.reason


@pytest.mark.parametrize(("correct", "images"), [(3, 2), (-1, 2), (0, 0)])
def test_impossible_counts_are_refused(correct: int, images: int) -> None:
    with pytest.raises(InputError, match="cannot be"):
        Accuracy(correct, images, "x", accuracy().predicted)


# The report


PARTS: dict[str, tuple[dict[str, Any], Verdict, int]] = {
    "all pass": ({}, Verdict.PASS, 0),
    "not parity": ({"parity": NOTHING}, Verdict.FAIL, 1),
    "not another format": ({"formats": (WRONG,)}, Verdict.FAIL, 1),
    "not latency": ({"latency": latency(budget=1000)}, Verdict.FAIL, 1),
    "not accuracy": ({"accuracy": accuracy(correct=5_000)}, Verdict.FAIL, 1),
    "too close": ({"latency": latency(budget=490_000)}, Verdict.INCONCLUSIVE, 4),
    "no outputs": ({"parity": ParityNotMeasured("it only times")}, Verdict.NOT_MEASURED, 4),
    "no images": ({"accuracy": AccuracyNotMeasured("no images", asked=True)}, Verdict.NOT_MEASURED, 4),
    "no accuracy asked": ({"accuracy": AccuracyNotMeasured("not asked", asked=False)}, Verdict.PASS, 0),
    "simulated": ({"simulated": True}, Verdict.INCONCLUSIVE, 4),
    "simulated and wrong": ({"simulated": True, "parity": WRONG}, Verdict.FAIL, 1),
    "no images and wrong": (
        {"accuracy": AccuracyNotMeasured("no images", asked=True), "latency": latency(budget=1000)},
        Verdict.FAIL,
        1,
    ),
}


@pytest.mark.parametrize(("changes", "verdict", "code"), PARTS.values(), ids=PARTS.keys())
def test_the_verdict_and_its_exit_code(changes: dict[str, Any], verdict: Verdict, code: int, tmp_path: Path) -> None:
    report = report_of(**changes)
    assert (report.verdict, report.exit_code) == (verdict, code)
    assert (code == 0) or report.reasons
    report.save(tmp_path / "v.json")
    assert VerificationReport.load(tmp_path / "v.json") == report


def test_a_simulated_latency_says_so() -> None:
    assert any("no clock measured it" in reason for reason in report_of(simulated=True).reasons)


def test_the_golden_file_of_version_1_loads() -> None:
    report = VerificationReport.load(GOLDEN)
    assert report == report_of()
    content = json.loads(GOLDEN.read_text())
    assert (content["verdict"], content["exit_code"]) == ("pass", 0)
    assert content["latency"]["value"] == report.latency.value_ns == 489_499
    assert content["latency"]["p99"] == report.latency.measurement.p99
    assert content["accuracy"]["top1_percent"] == 88.0


def rewritten(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    rest = {key: value for key, value in content.items() if key not in ("format", "version", "digest")}
    documents.write_document(path, documents.seal("verification", 1, rest))


FORGED: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "a verdict": (lambda c: c.update(verdict="pass"), "do not follow from what was measured"),
    "an exit code": (lambda c: c.update(exit_code=0), "do not follow"),
    "a median": (lambda c: c["latency"].update(median=1000.0), "do not follow"),
    "a part's verdict": (lambda c: c["latency"].update(verdict="pass"), "do not follow"),
    "a parity": (lambda c: c.update(parity={"verdict": "pass", "reason": ""}), "parity"),
    "a count": (lambda c: c["accuracy"].update(correct=99_999), "cannot be"),
    "a missing part": (lambda c: c.pop("parity"), "parity: Field required"),
    "a field of ours": (lambda c: c.update(remark=""), "remark"),
    "a machine": (lambda c: c["latency"]["machine"].update(scale=1.0), "do not follow"),
    "no anchors": (lambda c: c["latency"].update(anchors=[]), "do not follow"),
    "anchors without noise": (lambda c: c["latency"].update(anchor_noise=0.0), "latency.anchor_noise"),
    "an identity with holes": (lambda c: c["conditions"]["identity"].pop("runtime"), "missing runtime"),
}


@pytest.mark.parametrize(("change", "message"), FORGED.values(), ids=FORGED.keys())
def test_figures_that_do_not_follow_are_refused(
    change: Callable[[dict[str, Any]], object], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "v.json"
    report_of(latency=latency(budget=1000)).save(path)
    rewritten(path, change)
    with pytest.raises(DocumentError, match=message):
        VerificationReport.load(path)


def test_an_edited_or_newer_report_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "v.json"
    path.write_text(GOLDEN.read_text().replace('"seed": 3', '"seed": 4'))
    with pytest.raises(DocumentError, match="does not match its digest"):
        VerificationReport.load(path)
    path.write_text(json.dumps({**json.loads(GOLDEN.read_text()), "version": 2}))
    with pytest.raises(DocumentError, match="Upgrade binas-deploy"):
        VerificationReport.load(path)


# Verifying, on the simulated device


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """60 training and 20 test images that all look alike; their labels are what an untrained network may say."""
    monkeypatch.setenv("BINAS_DEPLOY_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "pictures.npz"
    rng = np.random.default_rng(0)
    np.savez(
        path,
        train_images=rng.integers(0, 256, (60, 3, 8, 8), dtype=np.uint8),
        train_labels=np.arange(60) % 5,
        test_images=rng.integers(0, 256, (20, 3, 8, 8), dtype=np.uint8),
        test_labels=np.arange(20) % 5,
        classes=np.array([f"class{index}" for index in range(5)]),
    )
    return path


def run(bundle: Path, spec: DeviceSpec | None, **more: Any) -> VerificationReport:
    return verify(bundle, device=spec, workspace=bundle.parents[1], **more)


@pytest.mark.usefixtures("fake_adapter")
def test_a_good_bundle_on_a_simulated_device_never_passes(bundle: Bundle, fake_spec: DeviceSpec) -> None:
    folder, manifest = bundle
    report = run(folder, fake_spec, accuracy="never", seed=5)
    assert (report.parity.verdict, report.latency.verdict) == (Verdict.PASS, Verdict.PASS)
    assert (report.verdict, report.exit_code, report.simulated) == (Verdict.INCONCLUSIVE, 4, True)
    assert report.manifest_digest == manifest.digest
    assert report.conditions.identity == manifest.identity
    assert VerificationReport.load(folder / VERIFICATION_NAME) == report


@pytest.mark.usefixtures("fake_adapter")
def test_the_network_gets_enough_samples_and_every_anchor_is_measured(bundle: Bundle, fake_spec: DeviceSpec) -> None:
    report = run(bundle[0], fake_spec, accuracy="never")
    assert len(report.latency.measurement) >= LEAST_SAMPLES * len(report.latency.processes)
    assert (report.latency.replication, report.latency.cold) == ("run", None)  # nothing here is simulated twice
    assert len(report.latency.anchors) == len(bundle[1].anchors)
    assert report.latency.anchor_noise == bundle[1].table.noise
    assert report.latency.predicted_now_ns == pytest.approx(bundle[1].predicted.latency.value, rel=0.01)
    assert report.latency.error_percent == pytest.approx(0, abs=2)


@pytest.mark.usefixtures("fake_adapter")
def test_the_same_seed_gives_the_same_measurement(bundle: Bundle, fake_spec: DeviceSpec) -> None:
    found = [run(bundle[0], fake_spec, accuracy="never", seed=seed).latency.measurement for seed in (1, 1)]
    assert found[0] == found[1]


@pytest.mark.usefixtures("fake_adapter")
def test_the_device_is_by_default_the_bundle_s_own(bundle: Bundle) -> None:
    folder, _ = bundle
    devices = folder.parents[1] / "devices"
    devices.mkdir()
    text = 'format = "binas-deploy/device"\nversion = 1\nname = "fake"\nadapter = "simulated"\n'
    (devices / "fake.toml").write_text(text)
    assert run(folder, None, accuracy="never").parity.verdict is Verdict.PASS
    (devices / "fake.toml").unlink()
    with pytest.raises(InputError, match="unknown device 'fake'"):
        run(folder, None, accuracy="never")


@pytest.mark.usefixtures("fake_adapter")
def test_a_slower_machine_is_told_from_a_slower_network(
    bundle: Bundle, fake_spec: DeviceSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_down(monkeypatch, 1.2)
    report = run(bundle[0], fake_spec, accuracy="never")
    assert report.latency.machine is not None
    assert report.latency.error_percent is not None
    assert report.latency.machine.scale == pytest.approx(1.2, abs=0.04)
    assert report.latency.predicted_now_ns == pytest.approx(1.2 * bundle[1].predicted.latency.value, rel=0.01)
    assert abs(report.latency.error_percent) < 2
    assert (report.latency.verdict, report.exit_code) == (Verdict.FAIL, 1)


def slow_down(monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
    for name in ("CALL_NS", "NODE_NS", "NS_PER_MAC", "NS_PER_BYTE"):
        monkeypatch.setattr(fake_device, name, factor * getattr(fake_device, name))


@pytest.mark.usefixtures("fake_adapter")
@pytest.mark.parametrize("name", [MODEL_NAME, VECTORS_NAME])
def test_a_damaged_file_ends_it_and_writes_nothing(bundle: Bundle, fake_spec: DeviceSpec, name: str) -> None:
    folder, _ = bundle
    payload = bytearray((folder / name).read_bytes())
    payload[-1] ^= 1
    (folder / name).write_bytes(payload)
    with pytest.raises(DocumentError, match="SHA-256"):
        run(folder, fake_spec)
    assert not (folder / VERIFICATION_NAME).exists()


@pytest.mark.usefixtures("fake_adapter")
def test_a_model_that_is_none_is_the_device_s_error(bundle: Bundle, fake_spec: DeviceSpec) -> None:
    folder, manifest = bundle
    (folder / MODEL_NAME).write_bytes(b"not a model")
    restate(folder, manifest)
    with pytest.raises(DeviceError, match="not a model"):
        run(folder, fake_spec)


@pytest.mark.usefixtures("fake_adapter")
def test_other_outputs_fail_parity(bundle: Bundle, fake_spec: DeviceSpec) -> None:
    folder, manifest = bundle
    inputs, outputs = load_vectors(folder)
    save_vectors(folder, inputs, outputs * np.float32(1.01))
    restate(folder, manifest)
    report = run(folder, fake_spec, accuracy="never")
    assert (report.parity.verdict, report.exit_code) == (Verdict.FAIL, 1)


@pytest.mark.usefixtures("fake_adapter")
def test_no_vectors_fail_parity(bundle: Bundle, fake_spec: DeviceSpec) -> None:
    folder, manifest = bundle
    inputs, outputs = load_vectors(folder)
    save_vectors(folder, inputs[:0], outputs[:0])
    restate(folder, manifest)
    report = run(folder, fake_spec, accuracy="never")
    assert isinstance(report.parity, Parity)
    assert (report.parity.vectors, report.parity.verdict, report.exit_code) == (0, Verdict.FAIL, 1)


@pytest.mark.usefixtures("fake_adapter")
def test_vectors_of_another_shape_are_refused(bundle: Bundle, fake_spec: DeviceSpec) -> None:
    folder, manifest = bundle
    save_vectors(folder, np.zeros((1, 3, 9, 9), np.float32), np.zeros((1, 5), np.float32))
    restate(folder, manifest)
    with pytest.raises(DocumentError, match=r"vectors\.safetensors: inputs and outputs of shapes"):
        run(folder, fake_spec)


@pytest.mark.usefixtures("fake_adapter")
def test_another_device_is_refused_with_each_difference(bundle: Bundle, fake_spec: DeviceSpec) -> None:
    other = fake_spec.model_copy(update={"name": "other", "options": {"noise": 0.5}})
    with pytest.raises(MismatchError) as caught:
        run(bundle[0], other)
    assert "device: made for fake, here other" in str(caught.value)
    assert "provider_options: made for noise=0.01;seed=0, here noise=0.5;seed=0" in str(caught.value)
    assert not (bundle[0] / VERIFICATION_NAME).exists()


@pytest.mark.usefixtures("fake_adapter")
def test_the_number_of_threads_is_the_bundle_s(bundle: Bundle, fake_spec: DeviceSpec) -> None:
    report = run(bundle[0], fake_spec.with_threads(4), accuracy="never")
    assert report.conditions.identity["threads"] == "1"


@pytest.mark.usefixtures("fake_adapter")
def test_accuracy_is_that_of_the_test_images(bundle: Bundle, fake_spec: DeviceSpec, images: Path) -> None:
    report = run(bundle[0], fake_spec, data=str(images))
    assert isinstance(report.accuracy, Accuracy)
    assert (report.accuracy.images, report.accuracy.data) == (20, "pictures")
    assert report.accuracy.predicted == bundle[1].predicted.accuracy


@pytest.mark.usefixtures("fake_adapter")
def test_uses_of_the_test_images_are_counted_and_told(bundle: Bundle, fake_spec: DeviceSpec, images: Path) -> None:
    folder, manifest = bundle
    first = run(folder, fake_spec, data=str(images))
    assert isinstance(first.accuracy, Accuracy)
    assert first.accuracy.use == SetUse("tiny", 1, 1)
    other = onnx.load_model_from_string((folder / MODEL_NAME).read_bytes())
    other.doc_string = "another network"
    (folder / MODEL_NAME).write_bytes(other.SerializeToString())
    restate(folder, manifest)
    second = run(folder, fake_spec, data=str(images))
    assert any("network 2 of 2 of space tiny that these test images have judged" in text for text in second.reasons)


@pytest.mark.usefixtures("fake_adapter")
def test_a_count_that_fails_costs_no_figure(
    bundle: Bundle, fake_spec: DeviceSpec, images: Path, tmp_path: Path
) -> None:
    (tmp_path / "cache").mkdir(exist_ok=True)
    (tmp_path / "cache" / "test-uses.json").write_text("{")
    report = run(bundle[0], fake_spec, data=str(images))
    assert isinstance(report.accuracy, Accuracy)
    assert report.accuracy.use is None


def test_what_is_fresh_depends_on_where_the_network_runs(bundle: Bundle, fake_spec: DeviceSpec) -> None:
    class Elsewhere(FakeDevice):
        def machine(self) -> Machine:
            return ThisMachine()

    class Warming(Summing, SelfWarming):
        pass

    real, simulated = DeviceFacts({}, {}), DeviceFacts({}, {}, simulated=True)
    here, there = FakeDevice(), Elsewhere()
    assert replication_of(here, real, Summing()) == "process"
    assert replication_of(there, real, Summing()) == "session"
    assert replication_of(here, real, Warming()) == "run"
    assert replication_of(there, simulated, Summing()) == "run"


def test_every_session_opens_a_device_of_its_own(
    bundle: Bundle, fake_spec: DeviceSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[FakeDevice] = []

    def new(_: DeviceSpec) -> FakeDevice:
        opened.append(FakeDevice())
        return opened[-1]

    monkeypatch.setattr("binas_deploy.steps.replicas.open_device", new)
    made = measure_latency(bundle[0], bundle[1], MEDIAN, FakeDevice(), fake_spec, "session", seed=1, progress=SILENT)
    assert len(opened) == len(made.processes) >= 3
    assert made.cold is None
    assert "fresh processes of the agent there" in verification_text(report_of(latency=made))


def test_it_stops_for_want_of_time_and_says_so(bundle: Bundle, fake_spec: DeviceSpec) -> None:
    close = replace(bundle[1], asked=replace(bundle[1].asked, budget=f"{fake_latency(bundle):.0f}ns"))
    ticks = iter(range(0, 100_000, 1_000))
    made = measure_latency(
        bundle[0], close, MEDIAN, FakeDevice(), fake_spec, "run", seed=1, progress=SILENT, clock=lambda: next(ticks)
    )
    assert (len(made.processes), made.stopped_by, made.verdict) == (3, "seconds", Verdict.INCONCLUSIVE)
    assert "after 3 measuring runs: it is too close to tell" in made.reason


def fake_latency(bundle: Bundle) -> float:
    return fake_device.count_work((bundle[0] / MODEL_NAME).read_bytes()).latency_ns


@pytest.mark.usefixtures("fake_adapter")
def test_the_held_out_accuracy_is_what_the_test_is_compared_with(
    bundle: Bundle, fake_spec: DeviceSpec, images: Path
) -> None:
    folder, manifest = bundle
    direct = Estimate(20.0, 1.0, 40.0, "%", 0.95, "Wilson, n = 30")
    old = manifest.predicted
    replace(manifest, predicted=Predicted(old.latency, old.accuracy, direct)).save(folder)
    report = run(folder, fake_spec, data=str(images))
    assert isinstance(report.accuracy, Accuracy)
    assert report.accuracy.predicted == direct
    assert report.accuracy.verdict is Verdict.PASS


NO_IMAGES = [
    ("nowhere.npz", "no such data set, folder or file"),
    ("cifar10", "Fetch it with: binas-deploy data fetch cifar10"),
]


@pytest.mark.usefixtures("fake_adapter")
@pytest.mark.parametrize(("data", "reason"), NO_IMAGES, ids=["nowhere", "not fetched"])
def test_images_that_are_missing_are_not_measured(
    bundle: Bundle, fake_spec: DeviceSpec, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, data: str, reason: str
) -> None:
    monkeypatch.setenv("BINAS_DEPLOY_CACHE", str(tmp_path / "empty"))
    report = run(bundle[0], fake_spec, data=data)
    assert isinstance(report.accuracy, AccuracyNotMeasured)
    assert reason in report.accuracy.why
    assert (report.accuracy.asked, report.exit_code) == (True, 4)


@pytest.mark.usefixtures("fake_adapter")
def test_images_of_the_same_name_and_other_content_are_not_used(
    bundle: Bundle, fake_spec: DeviceSpec, images: Path
) -> None:
    folder, manifest = bundle
    replace(manifest, data=DataSource("pictures", "9" * 64, 0)).save(folder)
    report = run(folder, fake_spec, data=str(images))
    assert isinstance(report.accuracy, AccuracyNotMeasured)
    assert "the bundle was made with 999999999999" in report.accuracy.why


@pytest.mark.usefixtures("fake_adapter")
def test_images_of_other_classes_are_not_used(bundle: Bundle, fake_spec: DeviceSpec, images: Path) -> None:
    folder, manifest = bundle
    replace(manifest, labels=("e", "d", "c", "b", "a")).save(folder)
    report = run(folder, fake_spec, data=str(images))
    assert isinstance(report.accuracy, AccuracyNotMeasured)
    assert "the classes of pictures are not the labels of the bundle" in report.accuracy.why


@pytest.mark.usefixtures("fake_adapter")
def test_over_budget_accuracy_can_be_left_out(
    bundle: Bundle, fake_spec: DeviceSpec, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    within = run(bundle[0], fake_spec, data=str(images), accuracy="if_within_budget")
    assert isinstance(within.accuracy, Accuracy)
    slow_down(monkeypatch, 1.2)
    over = run(bundle[0], fake_spec, data=str(images), accuracy="if_within_budget")
    assert isinstance(over.accuracy, AccuracyNotMeasured)
    assert "not shown to be within the budget" in over.accuracy.why


def test_an_absent_runtime_is_named(bundle: Bundle, fake_spec: DeviceSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ADAPTERS, "simulated", Adapter("nowhere:Device", "nowhere_at_all"))
    with pytest.raises(DeviceError, match="nowhere_at_all"):
        run(bundle[0], fake_spec)


# Pieces of it


class Summing:
    """An executable: the output is the sum of each input, twice."""

    def __init__(self, name: str = "output", width: int = 2) -> None:
        self.name, self.width, self.batches = name, width, 0

    def run(self, feed: Any) -> dict[str, Any]:
        self.batches += 1
        sums = feed["input"].sum(axis=(1, 2, 3))
        return {self.name: np.repeat(sums[:, None], self.width, axis=1)}

    def sample(self, feed: Any, *, count: int) -> Any:
        raise NotImplementedError


@pytest.mark.parametrize(("count", "batch", "batches"), [(0, 4, 0), (3, 4, 1), (8, 4, 2), (9, 4, 3), (5, 1, 5)])
def test_batches_are_filled_up_and_cut(count: int, batch: int, batches: int) -> None:
    inputs = np.arange(count * 12, dtype=np.float32).reshape(count, 3, 2, 2)
    executable = Summing()
    found = outputs_of(executable, inputs, batch=batch, classes=2)
    np.testing.assert_array_equal(found, np.repeat(inputs.sum(axis=(1, 2, 3))[:, None], 2, axis=1))
    assert executable.batches == batches


@pytest.mark.parametrize("executable", [Summing(name="y"), Summing(width=3)], ids=["name", "shape"])
def test_outputs_of_another_form_are_the_device_s_fault(executable: Summing) -> None:
    with pytest.raises(DeviceError, match=r"'output' of shape \(1, 2\) expected"):
        outputs_of(executable, np.zeros((1, 3, 2, 2), np.float32), batch=1, classes=2)


@pytest.mark.parametrize("shown", [MEDIAN, Shown("p99", "back-to-back")], ids=["median", "p99"])
@pytest.mark.parametrize("median_ns", [2e4, 5e5, 5e6, 3e7, 1e9])
@pytest.mark.parametrize("wanted", [Timing(), Timing(samples_per_visit=1), Timing(warmup_ms=100.0)])
@pytest.mark.parametrize("replication", ["process", "run"])
def test_every_plan_takes_enough_samples(
    bundle: Bundle, median_ns: float, wanted: Timing, shown: Shown, replication: Replication
) -> None:
    made = plan(slow(bundle[1], median_ns), shown, wanted, replication)
    taken = made.visits * made.timing.samples_per_visit * made.timing.min_rounds
    assert taken >= LEAST_SAMPLES
    assert taken * (1 - shown.quantile) >= 5
    assert made.timing.samples_per_visit <= wanted.samples_per_visit
    assert made.timing.max_rounds == made.timing.min_rounds


def slow(manifest: Manifest, median_ns: float) -> Manifest:
    """All networks of that latency."""
    anchors = tuple(StatedAnchor(anchor.arch, anchor.kind, median_ns) for anchor in manifest.anchors)
    found = Estimate(median_ns, median_ns, median_ns, "ns", 0.95, "")
    return replace(manifest, anchors=anchors, predicted=replace(manifest.predicted, latency=found))


def test_fast_networks_get_more_rounds_and_all_anchors(bundle: Bundle) -> None:
    made, fast = (plan(each, MEDIAN, Timing()) for each in (slow(bundle[1], 3e7), bundle[1]))
    assert made.timing.min_rounds < fast.timing.min_rounds
    assert (made.stride > 1, fast.stride) == (True, 1)
