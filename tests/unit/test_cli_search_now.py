"""``binas-deploy search --now``: a stored table carried over to the machine as it is now, on the simulated device."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from binas_deploy.accuracy import AccuracyModel
from binas_deploy.adapters.registry import ADAPTERS, Adapter
from binas_deploy.cli.main import cli
from binas_deploy.search_result import SearchResult
from binas_deploy.table import LatencyTable, table_path
from binas_deploy.testing import fake_device

pytestmark = pytest.mark.usefixtures("fake_adapter")


@pytest.fixture
def workspace(
    fake_device_file: Path,
    fake_table: LatencyTable,
    tiny_accuracy: AccuracyModel,
    tiny_space_path: Path,
    tmp_path: Path,
) -> Path:
    (tmp_path / "tiny.toml").write_text(tiny_space_path.read_text(encoding="utf-8"), encoding="utf-8")
    fake_table.save(table_path(tmp_path / "latency_tables", "fake", "tiny", fake_table.conditions))
    tiny_accuracy.save(tmp_path / "accuracy.json")
    return tmp_path


def search(workspace: Path, *args: str, device: str = "fake") -> Result:
    files = {"space": "tiny.toml", "accuracy": "accuracy.json", "output": "search.json"}
    given = [word for name, file in files.items() for word in (f"--{name}", str(workspace / file))]
    words = ["search", "--device", device, "--workspace", str(workspace), *given, *args]
    return CliRunner().invoke(cli, words, prog_name="binas-deploy")


def middle(table: LatencyTable) -> str:
    ends = [table.predict(arch).value for arch in (table.space.smallest(), table.space.largest())]
    return f"{sum(ends) / 2:.0f}ns"


def slow_down(monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
    for name in ("CALL_NS", "NODE_NS", "NS_PER_MAC", "NS_PER_BYTE"):
        monkeypatch.setattr(fake_device, name, factor * getattr(fake_device, name))


def lose_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ADAPTERS, "simulated", Adapter("nowhere:Device", "nowhere_at_all"))


def test_the_network_is_one_for_the_machine_as_it_is_now(
    workspace: Path, fake_table: LatencyTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_down(monkeypatch, 1.3)
    result = search(workspace, "--budget", middle(fake_table), "--now")
    assert result.exit_code == 0, result.stderr
    (answer,) = SearchResult.load(workspace / "search.json").latencies
    assert answer.predicted.value <= answer.limit_ns
    assert answer.predicted.value == pytest.approx(1.3 * answer.as_made.value, rel=0.01)
    lines = result.stdout.splitlines()
    (place,) = (index for index, line in enumerate(lines) if line.startswith("latency on fake  "))
    assert f" predicted median as the machine is now, budget {answer.budget}" in lines[place]
    assert f"{answer.predicted.value / 1e6:.3f} ms (" in lines[place]
    assert lines[place + 1].strip().startswith(f"{answer.as_made.value / 1e6:.3f} ms (")
    assert lines[place + 1].endswith(" as the table was made")
    assert "note             fake: the machine is 1.3" in result.stdout
    assert "measuring 8 networks of the table again" in result.stderr
    assert "the machine is 1.3" in result.stderr


def test_json_states_both_predictions_and_the_note(
    workspace: Path, fake_table: LatencyTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_down(monkeypatch, 1.3)
    result = search(workspace, "--budget", middle(fake_table), "--now", "--json", "--quiet")
    assert result.stdout == (workspace / "search.json").read_text(encoding="utf-8")
    document = json.loads(result.stdout)
    (answer,) = document["latencies"]
    assert "as the machine is now" in answer["predicted"]["method"]
    assert "as the table was made" in answer["as_made"]["method"]
    assert answer["predicted"]["value"] > 1.2 * answer["as_made"]["value"]
    (note,) = document["notes"]
    assert note.startswith("fake: the machine is 1.3")
    assert result.stderr == ""


def test_a_machine_that_is_as_it_was_gets_no_note(workspace: Path, fake_table: LatencyTable) -> None:
    result = search(workspace, "--budget", middle(fake_table), "--now")
    assert result.exit_code == 0, result.stderr
    assert SearchResult.load(workspace / "search.json").notes == ()
    assert "as the table was made" in result.stdout
    assert "the machine is 1." not in result.output


def test_without_it_nothing_is_measured_and_no_runtime_is_needed(
    workspace: Path, fake_table: LatencyTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_down(monkeypatch, 1.3)
    lose_runtime(monkeypatch)
    result = search(workspace, "--budget", middle(fake_table))
    assert result.exit_code == 0, result.stderr
    found = SearchResult.load(workspace / "search.json")
    assert (found.latency_budget.predicted, found.notes) == (found.latency_budget.as_made, ())
    assert "as the machine is now" not in result.stdout
    assert "as the table was made" not in result.stdout
    assert result.stderr == ""


def test_a_missing_runtime_is_the_usual_error_and_nothing_is_written(
    workspace: Path, fake_table: LatencyTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose_runtime(monkeypatch)
    result = search(workspace, "--budget", middle(fake_table), "--now")
    assert result.exit_code == 3
    assert result.stderr.startswith("error: ")
    assert "nowhere_at_all" in result.stderr
    assert (result.stdout, (workspace / "search.json").exists()) == ("", False)


def test_a_slow_machine_can_make_a_budget_infeasible(
    workspace: Path, fake_table: LatencyTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    least = min(fake_table.predict(arch).value for arch in fake_table.space.networks())
    budget = f"{1.1 * least:.0f}ns"
    assert search(workspace, "--budget", budget).exit_code == 0
    slow_down(monkeypatch, 1.3)
    result = search(workspace, "--budget", budget, "--now")
    assert result.exit_code == 5
    assert "is predicted to take, as the machine is now, is" in result.stderr
    assert "the machine is 1.3" in result.stderr


def test_a_device_by_its_file_and_a_table_by_its_path_will_do(workspace: Path, fake_table: LatencyTable) -> None:
    file = (workspace / "devices" / "fake.toml").rename(workspace / "mine.toml")
    table = next((workspace / "latency_tables").rglob("*.json")).rename(workspace / "table.json")
    words = ("--budget", middle(fake_table), "--table", str(table), "--now")
    result = search(workspace, *words, device=str(file))
    assert result.exit_code == 0, result.stderr
    assert SearchResult.load(workspace / "search.json").latency_budget.carried_over


def test_a_table_of_a_device_that_no_file_describes_cannot_be_measured_again(
    workspace: Path, fake_table: LatencyTable
) -> None:
    (workspace / "devices" / "fake.toml").unlink()
    table = next((workspace / "latency_tables").rglob("*.json"))
    files = {"space": "tiny.toml", "accuracy": "accuracy.json", "output": "search.json"}
    given = [word for name, path in files.items() for word in (f"--{name}", str(workspace / path))]
    words = ["search", "--workspace", str(workspace), *given, "--budget", middle(fake_table), "--table", str(table)]
    assert CliRunner().invoke(cli, words, prog_name="binas-deploy").exit_code == 0
    result = CliRunner().invoke(cli, [*words, "--now"], prog_name="binas-deploy")
    assert result.exit_code == 2
    assert "unknown device 'fake'" in result.stderr


def test_it_is_refused_without_a_budget_of_latency(workspace: Path) -> None:
    result = search(workspace, "--budget", "macs=70k", "--now")
    assert result.exit_code == 2
    assert "no budget of latency asks for one" in result.stderr


def test_the_help_says_what_it_does() -> None:
    text = " ".join(CliRunner().invoke(cli, ["search", "--help"], prog_name="binas-deploy").output.split())
    assert "--now First measure a few of the table's networks again" in text
    assert "binas-deploy search --budget 0.5ms --now" in text
    assert "Without --now nothing is measured" in text
