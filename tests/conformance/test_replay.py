"""A replay sits the parts of the exam on facts and timing, by what was recorded; the others ask for outputs."""

from __future__ import annotations

from pathlib import Path

import pytest

from binas_deploy.adapters.base import Device, Precision
from binas_deploy.adapters.recording import Recorder
from binas_deploy.adapters.replay import ReplayDevice
from binas_deploy.testing.device_suite.candidate import small_network
from binas_deploy.testing.device_suite.facts import FactsExam
from binas_deploy.testing.device_suite.timing import TimingExam
from binas_deploy.testing.fake_device import FakeDevice
from binas_deploy.testing.networks import random_feed, random_network, small_space


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The networks of the exam, as a simulated device times them."""
    folder, recorder, large = tmp_path_factory.mktemp("recorded"), Recorder(FakeDevice(1)), small_space(96, 96)
    for model in (small_network(), random_network(large, large.largest(), 1)):
        with recorder.load(recorder.compile(model, precision=Precision.FP32, cache=folder)) as executable:
            executable.sample(random_feed(model, 1), count=30)
    recorder.recording().save(folder / "recording.json")
    return folder / "recording.json"


class TestReplay(FactsExam, TimingExam):
    @pytest.fixture(autouse=True)
    def _recorded(self, recording: Path) -> None:
        self.path = recording

    def make_device(self) -> Device:
        return ReplayDevice(1, recording=str(self.path))

    def test_identity_does_not_change(self, tmp_path: Path) -> None:
        """As in the exam, where a network is run in between: here it is sampled."""
        device, model = self.make_device(), small_network()
        before = dict(device.facts().identity)
        with device.load(device.compile(model, precision=Precision.FP32, cache=tmp_path)) as executable:
            executable.sample(random_feed(model, 1), count=3)
        assert dict(device.facts().identity) == dict(self.make_device().facts().identity) == before

    def test_it_is_marked(self) -> None:
        facts = self.make_device().facts()
        assert facts.simulated
        assert "recorded" in facts.identity
