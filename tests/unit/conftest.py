"""A simulated device with its latency table, an accuracy model, a search and a bundle, all of the tiny space."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from binas_deploy.accuracy import AccuracyModel
from binas_deploy.adapters.registry import ADAPTERS, Adapter
from binas_deploy.block import Piece
from binas_deploy.budget import Budget
from binas_deploy.bundle.manifest import Manifest
from binas_deploy.columns import Columns
from binas_deploy.conditions import IDENTITY_KEYS, Conditions
from binas_deploy.devices import DeviceSpec, TimingSpec
from binas_deploy.measurement import Measurement
from binas_deploy.quantities import Quantity
from binas_deploy.search_result import SearchResult
from binas_deploy.space import SearchSpace
from binas_deploy.steps.profile import profile
from binas_deploy.steps.search import search
from binas_deploy.table import Anchor, LatencyTable, MeasuringRun, is_skip, measured_pieces
from binas_deploy.table.terms import work_sources
from binas_deploy.testing.bundles import write_bundle

FAKE = Adapter("binas_deploy.testing.fake_device:FakeDevice", "binas_deploy")
Bundle = tuple[Path, Manifest]
FAKE_DEVICE = """\
format = "binas-deploy/device"
version = 1
name = "fake"
adapter = "simulated"
timing = { warmup_ms = 0.0, min_rounds = 6, max_rounds = 6 }
"""


@pytest.fixture
def fake_adapter(monkeypatch: pytest.MonkeyPatch) -> None:
    """The adapter 'simulated', known for one test."""
    monkeypatch.setitem(ADAPTERS, "simulated", FAKE)


@pytest.fixture
def fake_device_file(tmp_path: Path) -> Path:
    """The device 'fake' of a workspace, as `fake_spec` has it."""
    path = tmp_path / "devices" / "fake.toml"
    path.parent.mkdir()
    path.write_text(FAKE_DEVICE, encoding="utf-8")
    return path


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


@pytest.fixture(scope="session")
def make_table(tiny_space: SearchSpace) -> Callable[..., LatencyTable]:
    """Makes a table of the tiny space, or of ``space=``; see `formula_table`."""
    return partial(formula_table, tiny_space)


def formula_table(
    default: SearchSpace,
    *,
    space: SearchSpace | None = None,
    factor: float = 1.0,
    changed: Mapping[str, float] | None = None,
    samples: int = 60,
    pieces: bool = True,
    identity: Mapping[str, str] | None = None,
    context: Mapping[str, str] | None = None,
    conditions: Conditions | None = None,
    hosts: Sequence[Mapping[str, str]] = ({},),
    created: str = "2026-11-22T09:30:00+00:00",
    simulated: bool = False,
) -> LatencyTable:
    """A piece takes 3 us and its work, ``factor`` times, and those of ``changed`` (by key) as many times again.

    Without ``pieces`` the table rests on its whole networks. ``hosts``: what each measuring run says.
    """
    chosen, more = space or default, changed or {}

    def cost(piece: Piece) -> float:
        return factor * more.get(piece.key, 1.0) * (3_000 + piece.macs / 7)

    def around(center: float) -> Measurement:
        spread = [round(center * (1 + 0.0005 * (i * 37 % 23))) for i in range(samples)]
        return Measurement(np.array(spread), np.arange(samples) * len(hosts) // samples)

    rng = np.random.default_rng(3)
    drawn = list(dict.fromkeys([chosen.largest(), chosen.smallest(), *(chosen.sample(rng) for _ in range(12))]))
    networks = [(arch, sum(cost(piece) for piece in chosen.pieces(arch) if not is_skip(piece))) for arch in drawn]
    stated = dict.fromkeys(IDENTITY_KEYS, "as ever") | {"precision": "fp32", "batch": "1", "threads": "1"}
    return LatencyTable.build(
        space=chosen,
        device="fake",
        conditions=conditions or Conditions(stated | dict(identity or {}), context or {"clock_mhz": "2000"}),
        created=created,
        runs=[MeasuringRun(index, created, host) for index, host in enumerate(hosts)],
        pieces={piece.key: around(cost(piece)) for piece in measured_pieces(chosen)} if pieces else {},
        anchors=[
            Anchor(arch, "designed" if index < 2 else "random", around(latency))
            for index, (arch, latency) in enumerate(networks)
        ],
        sources=() if pieces else work_sources(Columns(chosen)),
        simulated=simulated,
    )
