"""``binas-deploy search`` whole, on a tiny space with a made-up table and accuracy model."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from binas_deploy.accuracy import AccuracyModel
from binas_deploy.cli.main import cli
from binas_deploy.conditions import Conditions
from binas_deploy.devices import device_conditions, load_device_spec, open_device
from binas_deploy.search_result import SearchResult
from binas_deploy.space import SearchSpace
from binas_deploy.table import LatencyTable, table_path

GOLDEN = Path(__file__).parents[1] / "data" / "formats" / "latency-table-v1.json"


@dataclass(frozen=True)
class Case:
    """A workspace with a table of this machine's conditions, and what to pass beside it."""

    workspace: Path
    table: LatencyTable
    table_file: Path
    options: tuple[str, ...]

    def search(self, *args: str) -> Result:
        output = str(self.workspace / "search.json")
        words = ["search", "--workspace", str(self.workspace), "--output", output, *self.options, *args]
        return CliRunner().invoke(cli, words, prog_name="binas-deploy")

    def budget(self, share: float) -> str:
        """A budget between the least (0) and the most (1) that a network takes."""
        costs = [self.table.predict(arch).value for arch in self.table.space.networks()]
        return f"{min(costs) + share * (max(costs) - min(costs)):.0f}ns"


@pytest.fixture
def case(tmp_path: Path) -> Case:
    golden = LatencyTable.load(GOLDEN)
    space = golden.space
    (tmp_path / "tiny.toml").write_text(space.source, encoding="utf-8")
    table = replace(golden, device="cpu", conditions=conditions_here())
    path = table_path(tmp_path / "latency_tables", "cpu", space.name, table.conditions)
    table.save(path)
    accuracy_of(space).save(tmp_path / "accuracy.json")
    options = ("--space", str(tmp_path / "tiny.toml"), "--accuracy", str(tmp_path / "accuracy.json"))
    return Case(tmp_path, table, path, options)


def conditions_here() -> Conditions:
    spec = load_device_spec("cpu")
    return device_conditions(spec, open_device(spec).facts())


def accuracy_of(space: SearchSpace) -> AccuracyModel:
    archs = list(space.networks())[::7]
    return AccuracyModel.fit(
        space, [(arch, 50 + space.macs(arch) / space.macs(space.largest()) * 40) for arch in archs]
    )


def labels(result: Result) -> list[str]:
    return [line.split("  ")[0] for line in result.stdout.splitlines()]


def test_the_answer_is_printed_and_written(case: Case) -> None:
    budget = case.budget(0.5)
    result = case.search("--budget", budget)
    assert result.exit_code == 0, result.stderr
    written = SearchResult.load(case.workspace / "search.json")
    assert written.latency.value <= float(budget.removesuffix("ns"))
    assert labels(result) == ["network", "size", "latency on cpu", "accuracy", "proof", "note", "written"]
    assert written.text in result.stdout
    assert "gap 0.000 points" in result.stdout
    assert "simulated" in result.stdout


def test_json_prints_the_file(case: Case) -> None:
    result = case.search("--budget", case.budget(0.5), "--json")
    assert result.stdout == (case.workspace / "search.json").read_text(encoding="utf-8")
    assert json.loads(result.stdout)["format"] == "binas-deploy/search-result"


def test_both_solvers_agree(case: Case) -> None:
    found = []
    for solver in ("frontier", "milp"):
        assert case.search("--budget", case.budget(0.3), "--solver", solver).exit_code == 0
        found.append(SearchResult.load(case.workspace / "search.json").accuracy.value)
    assert found[0] == found[1]


def test_a_budget_that_excludes_nothing_says_so(case: Case) -> None:
    result = case.search("--budget", "10s")
    assert result.exit_code == 0
    assert "every network of the space meets this budget" in result.stdout


def test_an_infeasible_budget_is_5_and_names_the_least(case: Case) -> None:
    result = case.search("--budget", "1ns")
    assert result.exit_code == 5
    assert result.stderr.startswith("error: ")
    assert f"({case.budget(0).removesuffix('ns')} ns)" in result.stderr
    assert not (case.workspace / "search.json").exists()


def test_without_a_table_it_is_3_and_says_how_to_measure_one(case: Case) -> None:
    case.table_file.unlink()
    result = case.search("--budget", "1ms")
    assert result.exit_code == 3
    assert "binas-deploy profile --device cpu" in result.stderr


def test_an_unknown_solver_is_2(case: Case) -> None:
    result = case.search("--budget", case.budget(0.5), "--solver", "magic")
    assert result.exit_code == 2
    assert "Known: frontier, milp; auto chooses" in result.stderr


def test_a_table_given_is_used(case: Case) -> None:
    moved = case.workspace / "moved.json"
    case.table_file.rename(moved)
    assert case.search("--budget", case.budget(0.5), "--table", str(moved)).exit_code == 0


@pytest.mark.parametrize(
    ("key", "value"), [("threads", "2"), ("batch", "64"), ("precision", "int8"), ("device_model", "another machine")]
)
def test_a_table_given_of_other_conditions_is_2_and_names_them(case: Case, key: str, value: str) -> None:
    identity = {**case.table.conditions.identity, key: value}
    other = replace(case.table, conditions=Conditions(identity, {}))
    other.save(case.table_file)
    result = case.search("--budget", "1ms", "--table", str(case.table_file))
    assert result.exit_code == 2
    assert f"{key}: table {value}, asked " in result.stderr
    assert str(case.table_file) in result.stderr


def test_a_table_given_of_another_space_is_2(case: Case) -> None:
    text = case.table.space.source.replace("classes = 5", "classes = 7")
    assert text != case.table.space.source
    (case.workspace / "tiny.toml").write_text(text, encoding="utf-8")
    result = case.search("--budget", "1ms", "--table", str(case.table_file))
    assert result.exit_code == 2
    assert "for space" in result.stderr


@pytest.mark.parametrize("damage", ["truncated", "edited", "absent"])
def test_a_damaged_table_is_2(case: Case, damage: str) -> None:
    text = case.table_file.read_text(encoding="utf-8")
    broken = {"truncated": text[: len(text) // 2], "edited": text.replace('"cpu"', '"gpu"', 1)}
    case.table_file.unlink()
    if damage in broken:
        case.table_file.write_text(broken[damage], encoding="utf-8")
    result = case.search("--budget", "1ms", "--table", str(case.table_file))
    assert result.exit_code == 2
    assert str(case.table_file) in result.stderr


def test_more_tables_than_budgets_are_refused(case: Case) -> None:
    table = str(case.table_file)
    result = case.search("--budget", "1ms", "--table", table, "--table", table)
    assert result.exit_code == 2
    assert "give one table for each" in result.stderr


def test_of_a_device_that_is_not_at_hand_what_its_file_asks_is_compared(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    from binas_deploy.errors import DeviceError
    from binas_deploy.steps import given_table

    def absent(*_: object) -> None:
        raise DeviceError("not here")

    monkeypatch.setattr(given_table, "open_device", absent)
    other = replace(case.table, conditions=Conditions({**case.table.conditions.identity, "device_model": "board"}, {}))
    other.save(case.table_file)
    assert case.search("--budget", case.budget(0.5), "--table", str(case.table_file)).exit_code == 0
    result = case.search("--budget", "1ms", "--table", str(case.table_file), "--threads", "4")
    assert result.exit_code == 2
    assert "threads: table 1, asked 4" in result.stderr


def test_what_the_network_needs_and_uses_is_shown(case: Case) -> None:
    space = case.table.space
    most = space.macs(space.largest())
    words = ["--budget", case.budget(0.7), "--budget", f"macs={most - 1}", "--budget", "memory=12kB"]
    result = case.search(*words)
    assert result.exit_code == 0, result.stderr
    found = SearchResult.load(case.workspace / "search.json")
    assert labels(result) == ["network", "size", "latency on cpu", "macs", "memory", *labels(result)[5:]]
    lines = dict(zip(labels(result), result.stdout.splitlines(), strict=True))
    assert f"{space.params(found.architecture) / 1e6:.3f} M parameters" in lines["size"]
    weights, memory = (found.footprint.weights / 1000, found.footprint.memory / 1000)
    assert f"weights {weights:g}kB (fp32), peak memory {memory:g}kB (batch 1)" in lines["size"]
    assert lines["macs"].endswith(found.computed[0].text)
    assert lines["memory"].endswith("used, budget 12kB")
    assert (found.solver, [answer.used <= answer.limit for answer in found.computed]) == ("milp", [True, True])
    assert found.footprint.memory == found.computed[1].used


def test_a_computed_budget_needs_no_table_and_runs_as_the_device_s_file_says(case: Case) -> None:
    case.table_file.unlink()
    (case.workspace / "devices").mkdir()
    text = 'format = "binas-deploy/device"\nversion = 1\nname = "board"\nadapter = "absent"\nbatch = 4\n'
    (case.workspace / "devices" / "board.toml").write_text(text + 'precision = "fp16"\n', encoding="utf-8")
    for words, batch, precision in (([], 1, "fp32"), (["--device", "board"], 4, "fp16")):
        result = case.search("--budget", "macs=70k", *words)
        assert result.exit_code == 0, result.stderr
        found = SearchResult.load(case.workspace / "search.json")
        assert (found.footprint.batch, found.footprint.precision) == (batch, precision)
        assert labels(result) == ["network", "size", "macs", "accuracy", "proof", "written"]


def test_an_infeasible_computed_budget_is_5_and_names_the_least(case: Case) -> None:
    result = case.search("--budget", "params=100")
    assert result.exit_code == 5
    assert "error: params=100 asked; the least that a network of space 'tiny' needs is params=" in result.stderr


@pytest.mark.parametrize("words", [("--budget", "5mJ"), ("--budget", "1ms", "--budget", "cpu=5mJ")])
def test_energy_that_the_table_does_not_hold_is_3_and_says_how_to_get_it(case: Case, words: tuple[str, ...]) -> None:
    result = case.search(*words)
    assert result.exit_code == 3
    assert "holds no energy" in result.stderr
    assert "binas-deploy profile --device cpu --space tiny --threads 1 --energy" in result.stderr


def test_a_table_without_a_budget_of_latency_is_refused(case: Case) -> None:
    result = case.search("--budget", "macs=8M", "--table", str(case.table_file))
    assert result.exit_code == 2
    assert "0 device(s) with a budget of latency or energy and 1 --table" in result.stderr


def test_the_help_has_examples(case: Case) -> None:
    text = CliRunner().invoke(cli, ["search", "--help"], prog_name="binas-deploy").output
    assert "\n    binas-deploy search --budget macs=8M\n" in text
    assert "(memory=300kB)" in " ".join(text.split())
