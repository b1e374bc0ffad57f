"""A replay sits the part of the exam on what a device says of itself; the rest of it asks for outputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from binas_deploy.adapters.base import Device
from binas_deploy.adapters.recording import Recording
from binas_deploy.adapters.replay import ReplayDevice
from binas_deploy.testing.device_suite import FactsExam
from binas_deploy.testing.fake_device import FakeDevice


class TestReplay(FactsExam):
    @pytest.fixture(autouse=True)
    def _recorded(self, tmp_path: Path) -> None:
        self.path = tmp_path / "recording.json"
        identity = FakeDevice(1).facts().identity
        Recording(identity, {}, {"ab" * 32: np.array([1000, 1100])}).save(self.path)

    def make_device(self) -> Device:
        return ReplayDevice(1, recording=str(self.path))

    def test_it_is_marked(self) -> None:
        facts = self.make_device().facts()
        assert facts.simulated
        assert "recorded" in facts.identity
