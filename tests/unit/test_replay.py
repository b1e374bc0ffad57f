"""Recordings and their replay: the order, the marks, and what was not recorded."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from binas_deploy.accuracy import AccuracyModel
from binas_deploy.adapters.base import Feed, Precision
from binas_deploy.adapters.recording import Recorder, Recording
from binas_deploy.adapters.registry import ADAPTERS, Adapter
from binas_deploy.adapters.replay import ReplayDevice
from binas_deploy.bundle.manifest import Manifest
from binas_deploy.bundle.verification import ParityNotMeasured, Verdict, VerificationReport
from binas_deploy.cli.main import cli
from binas_deploy.cli.verification_report import verification_text
from binas_deploy.conditions import unmeasured_text
from binas_deploy.devices import DeviceSpec, TimingSpec
from binas_deploy.errors import DeviceError, DocumentError, InputError, NoOutputsError
from binas_deploy.measured_models import network_model
from binas_deploy.model import OnnxModel
from binas_deploy.search_result import SearchResult
from binas_deploy.space import SearchSpace
from binas_deploy.steps import profile as profile_step
from binas_deploy.steps.profile import profile
from binas_deploy.steps.verify import verify
from binas_deploy.table import LatencyTable
from binas_deploy.testing.bundles import write_bundle
from binas_deploy.testing.fake_device import FakeDevice, FakeExecutable
from binas_deploy.testing.networks import random_feed

FAKE = Adapter("binas_deploy.testing.fake_device:FakeDevice", "binas_deploy")
TIMING = TimingSpec(warmup_ms=0.0, min_rounds=3, max_rounds=3, networks=24)


@pytest.fixture
def model(tiny_space: SearchSpace) -> OnnxModel:
    return network_model(tiny_space, tiny_space.smallest(), 1)


@pytest.fixture
def recorded(model: OnnxModel, tmp_path: Path) -> Path:
    identity = {**FakeDevice(1).facts().identity, "precision": "fp32"}
    Recording(identity, {"clock_mhz": "2000"}, {model.sha256: np.array([10, 20, 30])}).save(tmp_path / "r.json")
    return tmp_path / "r.json"


def test_latencies_come_in_order_and_then_again_from_the_first(
    recorded: Path, model: OnnxModel, tmp_path: Path
) -> None:
    device = ReplayDevice(1, recording=str(recorded))
    program = device.compile(model, precision=Precision.FP32, cache=tmp_path)
    feed = random_feed(model, 0)
    with device.load(program) as executable:
        assert executable.sample(feed, count=2).tolist() == [10, 20]
    with device.load(program) as executable:
        assert executable.sample(feed, count=5).tolist() == [30, 10, 20, 30, 10]
        with pytest.raises(NoOutputsError, match="played back from a recording"):
            executable.run(feed)


def test_it_is_marked_and_is_not_the_device_itself(recorded: Path) -> None:
    facts = ReplayDevice(1, recording=str(recorded)).facts()
    assert facts.simulated
    assert facts.identity["recorded"] == Recording.load(recorded).digest[:12]
    assert not {"precision", "batch", "device", "cadence"} & facts.identity.keys()
    assert facts.context == {"clock_mhz": "2000"}
    assert unmeasured_text(facts.identity).startswith("recorded before")


def test_what_was_not_recorded_is_refused_by_name(recorded: Path, tiny_space: SearchSpace, tmp_path: Path) -> None:
    device = ReplayDevice(1, recording=str(recorded))
    other = network_model(tiny_space, tiny_space.largest(), 1)
    with pytest.raises(DeviceError, match=f"model {other.sha256[:12]} .*was not recorded: .*has 1 others"):
        device.compile(other, precision=Precision.FP32, cache=tmp_path)
    with pytest.raises(DeviceError, match="was not recorded"):
        device.next_samples(other.sha256, 1)
    with pytest.raises(InputError, match=r"precision 'fp16': .* was recorded in fp32"):
        device.compile(other, precision=Precision.FP16, cache=tmp_path)
    with pytest.raises(InputError, match="recorded with threads = 1, 2 asked"):
        ReplayDevice(2, recording=str(recorded)).facts()


def test_a_file_that_is_none(recorded: Path, tmp_path: Path) -> None:
    for options in ({}, {"recording": "a", "table": "b"}):
        with pytest.raises(InputError, match="'recording' or 'table'"):
            ReplayDevice(1, **options)
    with pytest.raises(InputError, match="no such file"):
        ReplayDevice(1, recording=str(tmp_path / "gone.json")).facts()
    recorded.write_text(recorded.read_text().replace("20", "21"))
    with pytest.raises(DocumentError, match="does not match its digest"):
        ReplayDevice(1, recording=str(recorded)).facts()


@pytest.mark.parametrize("samples", [{}, {"ab" * 32: []}, {"ab" * 32: [0]}, {"x": [1]}])
def test_malformed_recordings_are_refused(samples: dict[str, list[int]], tmp_path: Path) -> None:
    Recording({}, {}, {sha: np.array(row, dtype=np.int64) for sha, row in samples.items()}).save(tmp_path / "r.json")
    with pytest.raises(DocumentError, match="samples"):
        Recording.load(tmp_path / "r.json")


def test_a_profile_played_back_gives_the_same_table_marked(
    tiny_space: SearchSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(FakeDevice(1))
    monkeypatch.setattr(profile_step, "open_device", lambda spec: recorder)
    spec = DeviceSpec(name="mine", adapter="simulated", timing=TIMING)
    _, first = profile(tiny_space, spec, workspace=tmp_path)
    recorder.recording().save(tmp_path / "r.json")
    monkeypatch.undo()
    options = {"recording": str(tmp_path / "r.json")}
    again_spec = DeviceSpec(name="mine", adapter="replay", timing=TIMING, options=dict(options))
    path, again = profile(tiny_space, again_spec, workspace=tmp_path)
    assert again.anchors == first.anchors
    assert again.calibration == first.calibration
    assert again.simulated
    assert again.conditions.identity_hash != first.conditions.identity_hash
    result = CliRunner().invoke(cli, ["table", "show", str(path)], prog_name="binas-deploy")
    assert "recorded before and played back: no clock measured it now" in result.output


@pytest.fixture
def table_file(make_table: Callable[..., LatencyTable], tmp_path: Path) -> Path:
    make_table().save(tmp_path / "table.json")
    return tmp_path / "table.json"


def test_a_table_s_own_samples_are_played_back(table_file: Path, tiny_space: SearchSpace, tmp_path: Path) -> None:
    table = LatencyTable.load(table_file)
    device = ReplayDevice(1, table=str(table_file))
    for anchor in table.anchors[:2]:
        one = network_model(tiny_space, anchor.arch, 1)
        with device.load(device.compile(one, precision=Precision.FP32, cache=tmp_path)) as executable:
            assert executable.sample(random_feed(one, 0), count=60).tolist() == anchor.measurement.samples_ns.tolist()
    assert len(Recording.of_table(table).samples) == len(table.pieces) + len(table.anchors)


def test_a_table_s_replay_is_marked_all_the_way(
    table_file: Path, tiny_accuracy: AccuracyModel, tiny_space_path: Path, tmp_path: Path, fake_table: LatencyTable
) -> None:
    fake_table.save(table_file)
    (tmp_path / "devices").mkdir()
    head = 'format = "binas-deploy/device"\nversion = 1\nname = "recorded"\nadapter = "replay"\n'
    (tmp_path / "devices" / "recorded.toml").write_text(f"{head}[options]\ntable = {json.dumps(str(table_file))}\n")
    tiny_accuracy.save(tmp_path / "accuracy.json")

    def run(command: str, *words: str) -> str:
        usual = ["--device", "recorded", "--space", str(tiny_space_path), "--workspace", str(tmp_path)]
        result = CliRunner().invoke(cli, [command, *usual, *words], prog_name="binas-deploy")
        assert result.exit_code == 0, result.output
        return " ".join(result.output.split())

    assert "recorded before and played back: no clock measured it now" in run("profile", "--networks", "16")
    budget = f"{fake_table.predict(fake_table.space.largest()).value:.0f}ns"
    files = ["--accuracy", str(tmp_path / "accuracy.json"), "--output", str(tmp_path / "s.json")]
    found = run("search", "--now", "--budget", budget, *files)
    assert "simulated, or recorded before: no clock measured it now" in found
    assert SearchResult.load(tmp_path / "s.json").simulated


def test_verify_says_not_checked_where_a_device_gives_no_outputs(
    searched: Callable[[float], SearchResult],
    fake_table: LatencyTable,
    fake_spec: DeviceSpec,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(ADAPTERS, "simulated", FAKE)

    def only_times(self: FakeExecutable, feed: Feed) -> None:
        raise NoOutputsError("it only times")

    monkeypatch.setattr(FakeExecutable, "run", only_times)
    folder = tmp_path / "export" / "tiny-fake"
    manifest: Manifest = write_bundle(folder, searched(0.9), fake_table)
    report = verify(folder, device=fake_spec, workspace=tmp_path, accuracy="never")
    assert report.manifest_digest == manifest.digest
    assert isinstance(report.parity, ParityNotMeasured)
    assert report.parity.verdict is Verdict.NOT_MEASURED
    assert "parity: not checked: it only times" in report.reasons
    assert VerificationReport.load(folder / "verification.json") == report
    assert "parity    NOT MEASURED: it only times" in verification_text(report)
    assert (replace(report, simulated=False).verdict, report.latency.verdict) == (Verdict.NOT_MEASURED, Verdict.PASS)
    assert replace(report, simulated=False).exit_code == 4
