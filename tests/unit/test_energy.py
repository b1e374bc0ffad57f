"""Energy measured, fitted, kept and searched: a simulated device moves the counter of a CPU package in a folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray

from binas_deploy import documents
from binas_deploy.accuracy import AccuracyModel
from binas_deploy.adapters.base import Feed
from binas_deploy.budget import Budget
from binas_deploy.cli.main import cli
from binas_deploy.columns import Columns
from binas_deploy.devices import DeviceSpec, open_device
from binas_deploy.energy import EnergySensor, find_sensor
from binas_deploy.errors import DeviceError, DocumentError, InfeasibleBudgetError, InputError, NotMeasuredError
from binas_deploy.measure import Subject
from binas_deploy.measure_energy import EnergyTiming, measure_energy
from binas_deploy.problem import Status
from binas_deploy.quantities import Quantity
from binas_deploy.search_result import SearchResult
from binas_deploy.space import Architecture, SearchSpace
from binas_deploy.steps import energy as step
from binas_deploy.steps.profile import profile
from binas_deploy.steps.search import search
from binas_deploy.steps.subjects import network_model
from binas_deploy.steps.tables import table_of_digest
from binas_deploy.table import LatencyTable
from binas_deploy.table.energy import EnergySummary, energy_model, with_energy
from binas_deploy.testing.fake_device import FakeExecutable, Work, count_work

MakeTable = Callable[..., LatencyTable]
IDLE_WATTS = 4.0
NJ_PER_MAC = 0.5


def nanojoules(work: Work) -> float:
    """Of one call: idle power while it lasts, and its work."""
    return IDLE_WATTS * work.latency_ns + NJ_PER_MAC * work.macs


@dataclass
class Package:
    """A CPU package in ``root``, as the kernel shows it, and how many calls it was used for."""

    root: Path
    nanojoules: float = 0.0
    calls: int = 0
    stuck: bool = False

    def add(self, used: float, calls: int) -> None:
        self.calls += calls
        self.nanojoules += 0 if self.stuck else used
        self.write()

    def write(self) -> None:
        zone = self.root / "class/powercap/intel-rapl:0"
        zone.mkdir(parents=True, exist_ok=True)
        for name, value in {"name": "package-0", "max_energy_range_uj": 10**12}.items():
            (zone / name).write_text(f"{value}\n", encoding="utf-8")
        (zone / "energy_uj").write_text(f"{round(self.nanojoules / 1e3)}\n", encoding="utf-8")

    @property
    def sensor(self) -> EnergySensor:
        return find_sensor(self.root, provider="CPU")


@pytest.fixture
def package(tmp_path: Path, fake_adapter: None, monkeypatch: pytest.MonkeyPatch) -> Package:
    """Whatever runs on the simulated device is counted, and its sensor is the one that is found."""
    package, sample = Package(tmp_path / "sys"), FakeExecutable.sample
    package.write()

    def counted(self: FakeExecutable, feed: Feed, *, count: int) -> NDArray[np.int64]:
        package.add(count * nanojoules(self._work), count)
        return sample(self, feed, count=count)

    monkeypatch.setattr(FakeExecutable, "sample", counted)
    look_in(monkeypatch, package.root)
    return package


def look_in(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    """Sensors are sought in /sys, which differs from machine to machine."""

    def found(*, provider: str, model: str) -> EnergySensor:
        assert (provider, model) == ("simulated", "simulated")
        return find_sensor(root, provider="CPU")

    monkeypatch.setattr(step, "find_sensor", found)


def used_by(space: SearchSpace, arch: Architecture) -> float:
    return nanojoules(count_work(network_model(space, arch, 1).payload))


@pytest.fixture(scope="session")
def metered(tiny_space: SearchSpace, make_table: MakeTable) -> LatencyTable:
    """A table with energy by formula, of which a few networks were visited twice."""
    table = make_table(identity={"cadence": "back-to-back"})
    visits = {
        anchor.arch: (round(9 * anchor.measurement.location), round(9.02 * anchor.measurement.location))
        for anchor in table.anchors
    }
    run = replace(table.runs[0], id=7)
    return with_energy(table, "RAPL package-0", visits, run)


# Measuring


class Recorded:
    """An executable and what is asked of it."""

    def __init__(self, package: Package, watts: float = 2.0) -> None:
        self.package, self.watts, self.asked = package, watts, list[int]()

    def __enter__(self) -> Recorded:
        return self

    def __exit__(self, *_: object) -> None: ...

    def run(self, feed: Feed) -> dict[str, NDArray[np.float32]]:
        return {}

    def sample(self, feed: Feed, *, count: int) -> NDArray[np.int64]:
        self.asked.append(count)
        self.package.add(count * self.watts * 1_000_000, count)
        return np.full(count, 1_000_000)


def test_a_visit_lasts_and_what_was_used_is_shared_out(tmp_path: Path) -> None:
    package = Package(tmp_path)
    package.write()
    low, high = Recorded(package), Recorded(package, watts=3.0)
    subjects = [Subject("low", lambda: low, {}), Subject("high", lambda: high, {})]
    told: list[int] = []
    found = measure_energy(
        subjects, package.sensor, timing=EnergyTiming(), rng=np.random.default_rng(0), on_visit=told.append
    )
    assert found == {"low": (2_000_000,) * 3, "high": (3_000_000,) * 3}  # W times ms are mJ
    assert low.asked == [3, 500] * 3  # 0.5 s of 1 ms
    assert told == [1] * 6


def test_slow_networks_are_called_often_enough_and_a_slow_sensor_is_waited_for(tmp_path: Path) -> None:
    package = Package(tmp_path)
    package.write()
    assert EnergyTiming().calls(1e9, package.sensor) == 50
    assert EnergyTiming(seconds=3).calls(1e6, package.sensor) == 3000
    with pytest.raises(InputError, match="must be positive"):
        EnergyTiming(rounds=0)


def test_a_sensor_that_stands_still_is_found_out(tmp_path: Path) -> None:
    package = Package(tmp_path, stuck=True)
    package.write()
    with pytest.raises(DeviceError, match="RAPL package-0 counted nothing over 500 calls"):
        measure_energy(
            [Subject("it", lambda: Recorded(package), {})],
            package.sensor,
            timing=EnergyTiming(),
            rng=np.random.default_rng(0),
        )


# Profiling


def test_profile_measures_fits_and_keeps_energy(
    tiny_space: SearchSpace, fake_spec: DeviceSpec, package: Package, tmp_path: Path
) -> None:
    path, table = profile(tiny_space, fake_spec, workspace=tmp_path, energy=True)
    assert all(len(anchor.energy_nj) == 3 for anchor in table.anchors)
    assert table.runs[-1].host["energy_sensor"] == "RAPL package-0"
    assert [run.id for run in table.runs] == [0, 1]
    model, rng = energy_model(table), np.random.default_rng(8)
    for _ in range(20):
        arch = tiny_space.sample(rng)
        found = model.predict(arch)
        assert found.value == pytest.approx(used_by(tiny_space, arch), rel=0.05)
        assert (found.unit, found.low < found.value < found.high) == ("nJ", True)
    loaded = LatencyTable.load(path)
    assert (loaded, loaded.digest) == (table, table.digest)
    before, text = package.calls, path.read_bytes()
    assert profile(tiny_space, fake_spec, workspace=tmp_path, energy=True)[1] == table
    assert (package.calls, path.read_bytes()) == (before, text)


def test_the_sensor_is_sought_first_and_only_where_it_is_needed(
    tiny_space: SearchSpace, fake_spec: DeviceSpec, package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_in(monkeypatch, tmp_path / "nothing")
    with pytest.raises(DeviceError, match="no sensor"):
        profile(tiny_space, fake_spec, workspace=tmp_path, energy=True)
    assert (package.calls, list(tmp_path.rglob("*.journal"))) == (0, [])
    plain = profile(tiny_space, fake_spec, workspace=tmp_path)[1]
    with pytest.raises(DeviceError, match="no sensor"):
        profile(tiny_space, fake_spec, workspace=tmp_path, energy=True)
    look_in(monkeypatch, package.root)
    table = profile(tiny_space, fake_spec, workspace=tmp_path, energy=True)[1]
    look_in(monkeypatch, tmp_path / "nothing")
    assert table.digest != plain.digest
    assert profile(tiny_space, fake_spec, workspace=tmp_path, energy=True)[1] == table
    with pytest.raises(DeviceError, match="no sensor"):
        profile(tiny_space, fake_spec, workspace=tmp_path, energy=True, force=True)


def test_energy_is_added_to_a_table_that_is_there_and_latencies_stay(
    tiny_space: SearchSpace, fake_spec: DeviceSpec, package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, plain = profile(tiny_space, fake_spec, workspace=tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(package, "stuck", True)
        with pytest.raises(DeviceError, match="counted nothing"):
            profile(tiny_space, fake_spec, workspace=tmp_path, energy=True)
    assert LatencyTable.load(path) == plain  # what was measured is not lost
    _, table = profile(tiny_space, fake_spec, workspace=tmp_path, energy=True)
    bare = replace(table, energy=None, runs=plain.runs, anchors=plain.anchors)
    assert (bare, table.energy is None) == (plain, False)
    with pytest.raises(InputError, match=r"is not in .* any more: it was .* got energy added .*Search again"):
        table_of_digest(tmp_path, "fake", tiny_space, plain.digest)


def test_networks_called_in_a_rhythm_are_refused(
    tiny_space: SearchSpace, fake_spec: DeviceSpec, package: Package, make_table: MakeTable, tmp_path: Path
) -> None:
    slow = fake_spec.with_cadence("every 33ms")
    for ask in (
        lambda: profile(tiny_space, slow, workspace=tmp_path, energy=True),
        lambda: step.energy_sensor(slow, open_device(slow)),
    ):
        with pytest.raises(InputError, match="energy is measured with calls back-to-back, not every 33ms"):
            ask()
    assert package.calls == 0


# The document


def test_a_table_without_energy_says_nothing_of_it(make_table: MakeTable) -> None:
    document = make_table().to_document()
    assert "energy" not in document
    assert not any("energy_nj" in anchor for anchor in document["anchors"])


def test_costs_are_whole_nanojoules_of_each_decision(metered: LatencyTable) -> None:
    document = metered.to_document()
    costs, columns = document["energy"]["costs"], Columns(metered.space)
    assert isinstance(costs["fixed_nj"], int)
    assert [len(row) for row in costs["depth_nj"]] == [len(row) for row in columns.depths]
    assert document["anchors"][0]["energy_nj"] == list(metered.anchors[0].energy_nj)
    assert set(document["energy"]) == {"sensor", "ratios", "spreads", "errors", "costs"}
    assert list(document["energy"]["ratios"]) == ["latency"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(energy=None), r"energy: Input should be .*\(found None\)"),
        (lambda c: c.pop("energy"), "some hold energy_nj, but the table has no energy"),
        (lambda c: c["anchors"][3].pop("energy_nj"), r"anchors\[3\].energy_nj: at least one visit"),
        (lambda c: c["anchors"][3].update(energy_nj=[]), r"anchors\[3\].energy_nj"),
        (lambda c: c["anchors"][3].update(energy_nj=[0]), r"anchors\[3\].energy_nj\[0\]"),
        (lambda c: c["anchors"][3].update(energy_nj=[1.5]), r"anchors\[3\].energy_nj\[0\]"),
        (lambda c: c["energy"].update(sensor=""), "energy.sensor"),
        (lambda c: c["energy"].update(unit="mJ"), "energy.unit"),
        (lambda c: c["energy"]["errors"].pop(), r"energy.errors: \d+, there are \d+ anchors"),
        (lambda c: c["energy"]["costs"].update(fixed_nj="9"), "energy.costs.fixed_nj"),
        (lambda c: c["energy"]["costs"]["depth_nj"].pop(), "energy.costs: not one for each depth and option"),
    ],
)
def test_a_wrong_field_is_named(
    metered: LatencyTable, tmp_path: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    content = metered.to_document()
    change(content)
    rest = {key: value for key, value in content.items() if key not in ("format", "version", "digest")}
    path = tmp_path / "table.json"
    documents.write_document(path, documents.seal("latency-table", 1, rest))
    with pytest.raises(DocumentError, match=message):
        LatencyTable.load(path)


# Searching


def ends_of(table: LatencyTable) -> tuple[int, int]:
    summary = EnergySummary.of(table)
    assert summary is not None
    return int(summary.least.value), int(summary.most.value)


def energy_budget(table: LatencyTable, share: float) -> Budget:
    least, most = ends_of(table)
    return Budget(Quantity("energy", round(least + share * (most - least))), resource="energy")


@pytest.mark.parametrize("confidence", [None, 0.95])
def test_the_best_network_within_a_budget_of_energy(
    tiny_space: SearchSpace, metered: LatencyTable, tiny_accuracy: AccuracyModel, confidence: float | None
) -> None:
    budget = replace(energy_budget(metered, 0.4), confidence=confidence)
    result = search(tiny_space, accuracy=tiny_accuracy, budgets=[budget], tables=[metered])
    form, depths, value = energy_model(metered).form, tiny_space.depths, tiny_accuracy.value_form()
    (answer,) = result.energies
    within = [arch for arch in tiny_space.networks() if form.of(arch, depths) <= answer.most_predicted_nj]
    assert value.of(result.architecture, depths) == max(value.of(arch, depths) for arch in within)
    assert answer.predicted.value == form.of(result.architecture, depths)
    assert (answer.limit_nj, answer.sensor, answer.predicted.unit) == (budget.limit, "RAPL package-0", "nJ")
    assert (result.status, result.latencies) == (Status.OPTIMAL, ())
    if confidence:
        assert answer.most_predicted_nj < budget.limit
        assert answer.predicted.confidence == confidence


def test_latency_and_energy_of_one_table_both_hold(
    tiny_space: SearchSpace, metered: LatencyTable, tiny_accuracy: AccuracyModel, tmp_path: Path
) -> None:
    slowest = metered.predict(tiny_space.largest()).value
    budgets = [Budget(Quantity("time", round(0.8 * slowest))), energy_budget(metered, 0.5)]
    result = search(tiny_space, accuracy=tiny_accuracy, budgets=budgets, tables=[metered])
    assert result.latency.value <= budgets[0].limit
    assert result.energies[0].predicted.value <= budgets[1].limit
    result.save(tmp_path / "search.json")
    assert SearchResult.load(tmp_path / "search.json") == result
    assert "energies" not in replace(result, energies=()).to_document()


def test_too_small_a_budget_names_the_least(
    tiny_space: SearchSpace, metered: LatencyTable, tiny_accuracy: AccuracyModel
) -> None:
    with pytest.raises(InfeasibleBudgetError, match=rf"{ends_of(metered)[0]} nJ\), by \[\["):
        search(tiny_space, accuracy=tiny_accuracy, budgets=[Budget.parse("1uJ")], tables=[metered])


def test_two_budgets_of_energy_for_one_table_are_refused(
    tiny_space: SearchSpace, metered: LatencyTable, tiny_accuracy: AccuracyModel
) -> None:
    budgets = [Budget.parse("5mJ"), Budget.parse("fake=6mJ")]
    with pytest.raises(InputError, match="device 'fake' has 2 budgets of energy"):
        search(tiny_space, accuracy=tiny_accuracy, budgets=budgets, tables=[metered])


def test_a_table_without_energy_has_no_model_of_it(make_table: MakeTable) -> None:
    remedy = r"Run: binas-deploy profile --device fake --space tiny --threads 1 --energy$"
    with pytest.raises(NotMeasuredError, match=rf"holds no energy\. {remedy}"):
        energy_model(make_table(identity={"cadence": "back-to-back"}))
    with pytest.raises(NotMeasuredError, match=r"It is of calls every 33ms, .* without --period"):
        energy_model(make_table(identity={"cadence": "every 33ms"}))
    with pytest.raises(NotMeasuredError, match=r"--space tiny --energy$"):
        energy_model(make_table(identity={"cadence": "back-to-back", "threads": "not-stated"}))


# The command line


@pytest.fixture
def workspace(fake_device_file: Path, tmp_path: Path, tiny_space_path: Path, tiny_accuracy: AccuracyModel) -> Path:
    tiny_accuracy.save(tmp_path / "accuracy.json")
    return tmp_path


def run(workspace: Path, space: Path, command: str, *args: str) -> Result:
    words = [*command.split(), "--workspace", str(workspace), "--device", "fake", "--space", str(space), *args]
    return CliRunner().invoke(cli, words, prog_name="binas-deploy")


def test_from_profile_to_search(
    workspace: Path, tiny_space_path: Path, package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = partial(run, workspace, tiny_space_path)
    assert ask("profile").exit_code == 0
    assert "not measured: no sensor was read; profile with --energy" in ask("table show").stdout
    missing = ask("search", "--budget", "1J", "--accuracy", str(workspace / "accuracy.json"))
    assert missing.exit_code == 3
    assert "budget energy=1J: the latency table of device 'fake' holds no energy" in missing.stderr
    profiled = ask("profile", "--energy")
    assert profiled.exit_code == 0, profiled.stderr
    assert "by RAPL package-0" in profiled.stdout
    shown = ask("table show").stdout
    assert "of a call by RAPL package-0, idle power included: " in shown
    assert json.loads(ask("table show", "--json").stdout)["energy"]["least"]["unit"] == "nJ"
    output = str(workspace / "search.json")
    found = ask("search", "--budget", "1J", "--accuracy", str(workspace / "accuracy.json"), "--output", output)
    assert found.exit_code == 0, found.stderr
    assert "energy on fake" in found.stdout
    assert "predicted a call by RAPL package-0, budget 1J" in found.stdout


def test_without_a_sensor_it_is_3_and_nothing_is_measured(
    workspace: Path, tiny_space_path: Path, package: Package, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    look_in(monkeypatch, tmp_path / "nothing")
    result = run(workspace, tiny_space_path, "profile", "--energy")
    assert result.exit_code == 3
    assert "device 'fake': energy is not measured: no sensor of energy can be read. RAPL: " in result.stderr
    assert "Or profile without --energy" in result.stderr
    assert (package.calls, list(workspace.rglob("*.json"))) == (0, [workspace / "accuracy.json"])


def test_a_search_for_now_carries_over_latency_alone(
    workspace: Path, tiny_space_path: Path, package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_in(monkeypatch, package.root)
    assert run(workspace, tiny_space_path, "profile", "--energy").exit_code == 0
    files = {"accuracy": "accuracy.json", "output": "search.json"}
    given = [word for name, file in files.items() for word in (f"--{name}", str(workspace / file))]
    search_now = partial(run, workspace, tiny_space_path, "search", "--now", *given)
    before = package.calls
    alone = search_now("--budget", "1J")
    assert alone.exit_code == 2
    assert "Energy stays as the table was made" in alone.stderr
    assert package.calls == before
    both = search_now("--budget", "1J", "--budget", "1s")
    assert both.exit_code == 0, both.stderr
    found = SearchResult.load(workspace / "search.json")
    assert found.latency_budget.carried_over
    assert found.notes == ("energy is predicted as the table was made: only latencies were measured again",)


def test_energy_in_a_rhythm_is_2(workspace: Path, tiny_space_path: Path, package: Package) -> None:
    result = run(workspace, tiny_space_path, "profile", "--energy", "--period", "33ms")
    assert result.exit_code == 2
    assert "Profile it without --period" in result.stderr
