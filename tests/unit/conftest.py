"""A simulated device with its latency table, an accuracy model, a search and a bundle, all of the tiny space."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from binas_deploy.accuracy import AccuracyModel
from binas_deploy.adapters.registry import ADAPTERS, Adapter
from binas_deploy.budget import Budget
from binas_deploy.bundle.manifest import Manifest
from binas_deploy.devices import DeviceSpec, TimingSpec
from binas_deploy.quantities import Quantity
from binas_deploy.search_result import SearchResult
from binas_deploy.space import SearchSpace
from binas_deploy.steps.profile import profile
from binas_deploy.steps.search import search
from binas_deploy.table import LatencyTable
from binas_deploy.testing.bundles import write_bundle

FAKE = Adapter("binas_deploy.testing.fake_device:FakeDevice", "binas_deploy")
Bundle = tuple[Path, Manifest]


@pytest.fixture
def fake_adapter(monkeypatch: pytest.MonkeyPatch) -> None:
    """The adapter 'simulated', known for one test."""
    monkeypatch.setitem(ADAPTERS, "simulated", FAKE)


@pytest.fixture(scope="session")
def fake_spec() -> DeviceSpec:
    timing = TimingSpec(warmup_ms=0.0, samples_per_visit=8, min_rounds=6, max_rounds=6)
    return DeviceSpec(name="fake", adapter="simulated", timing=timing)


@pytest.fixture(scope="session")
def fake_table(
    tiny_space: SearchSpace, fake_spec: DeviceSpec, tmp_path_factory: pytest.TempPathFactory
) -> LatencyTable:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ADAPTERS, "simulated", FAKE)
        return profile(tiny_space, fake_spec, workspace=tmp_path_factory.mktemp("profiled"))[1]


@pytest.fixture(scope="session")
def tiny_accuracy(tiny_space: SearchSpace) -> AccuracyModel:
    """More work is more accurate."""
    rng = np.random.default_rng(0)
    archs = [tiny_space.sample(rng) for _ in range(60)]
    return AccuracyModel.fit(tiny_space, [(arch, 60 + tiny_space.macs(arch) / 1e4) for arch in archs])


@pytest.fixture(scope="session")
def searched(
    tiny_space: SearchSpace, fake_table: LatencyTable, tiny_accuracy: AccuracyModel
) -> Callable[[float], SearchResult]:
    """The search for a budget at a share of the way from the fastest to the slowest network."""

    def at(share: float) -> SearchResult:
        ends = [fake_table.predict(arch).value for arch in (tiny_space.smallest(), tiny_space.largest())]
        budget = Budget(Quantity("time", round(ends[0] + share * (ends[1] - ends[0]))))
        return search(tiny_space, accuracy=tiny_accuracy, budgets=[budget], tables=[fake_table])

    return at


@pytest.fixture
def bundle(searched: Callable[[float], SearchResult], fake_table: LatencyTable, tmp_path: Path) -> Bundle:
    """(folder, manifest) of a bundle with random weights and a budget in the middle."""
    folder = tmp_path / "export" / "tiny-fake"
    return folder, write_bundle(folder, searched(0.5), fake_table)
