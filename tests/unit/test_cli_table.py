"""``binas-deploy table`` as a user runs it; what it computes is tested with the table."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from binas_deploy.cli.main import cli
from binas_deploy.cli.table import COMMANDS
from binas_deploy.cli.table import command as group
from binas_deploy.devices import DeviceSpec, device_conditions, open_device
from binas_deploy.documents import digest
from binas_deploy.table import LatencyTable, table_path
from binas_deploy.table.labels import labels
from binas_deploy.table.rows import ROWS

pytestmark = pytest.mark.usefixtures("fake_adapter")
MakeTable = Callable[..., LatencyTable]
DEVICE = 'format = "binas-deploy/device"\nversion = 1\nname = "fake"\nadapter = "simulated"\n'
QUIET = {"interval_percent": "1", "sentinel_trend": "0.9900", "clock_mhz": "2000"}


def run(*args: str) -> Result:
    return CliRunner().invoke(cli, ["table", *args], prog_name="binas-deploy")


@dataclass(frozen=True)
class Case:
    """A workspace with the table of a device."""

    workspace: Path
    table: LatencyTable
    file: Path

    def run(self, command: str, *args: str) -> Result:
        """Without PATH: found by device and space."""
        space = str(self.workspace / "tiny.toml")
        return run(command, "--workspace", str(self.workspace), "--device", "fake", "--space", space, *args)


@pytest.fixture
def case(make_table: MakeTable, fake_spec: DeviceSpec, tmp_path: Path) -> Case:
    (tmp_path / "devices").mkdir()
    (tmp_path / "devices" / "fake.toml").write_text(DEVICE, encoding="utf-8")
    conditions = device_conditions(fake_spec, open_device(fake_spec).facts())
    table = make_table(conditions=conditions, hosts=(QUIET, QUIET | {"interval_percent": "13.1"}), simulated=True)
    (tmp_path / "tiny.toml").write_text(table.space.source, encoding="utf-8")
    file = table_path(tmp_path / "latency_tables", "fake", "tiny", conditions)
    table.save(file)
    return Case(tmp_path, table, file)


def saved(table: LatencyTable, path: Path) -> str:
    table.save(path)
    return str(path)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_static_help_line_is_the_command_s_own(name: str) -> None:
    command = group.get_command(click.Context(group), name)
    assert command is not None
    assert command.name == name
    assert command.get_short_help_str(200).rstrip(".") == COMMANDS[name].rstrip(".")


# show


def test_show_says_what_the_table_is(case: Case) -> None:
    result = run("show", str(case.file))
    assert result.exit_code == 0, result.stderr
    head, *others = result.stdout.split("\n\n")
    names = [line.split("  ")[0] for line in head.splitlines()]
    assert names[:5] == ["table", "digest", "device", "space", "made"]
    assert names[5:] == ["predicts", "fitted to", "pieces", "cheapest", "dearest", "energy", "note"]
    assert case.table.digest[:12] in head
    assert "15 measured alone, known to ±" in head
    assert "simulated" in head
    assert [text.splitlines()[0].split(":")[0] for text in others] == [
        *("identity", "context", "measuring runs", "dearest pieces", "noisiest pieces")
    ]
    identity, _, runs, dearest, _ = others
    assert all(f"  {key} " in identity and value in identity for key, value in case.table.conditions.identity.items())
    assert [line.split("  ")[-1].strip() for line in runs.splitlines()[2:]] == [
        "none found",
        "half of all latencies are known to ±13 % only",
    ]
    assert "clock_mhz 2000" in runs
    assert len(dearest.splitlines()) == 2 + 15
    assert "in the base of all" in dearest


def test_show_finds_the_table_of_a_device_as_search_does(case: Case) -> None:
    assert case.run("show").stdout.splitlines()[1:] == run("show", str(case.file)).stdout.splitlines()[1:]
    result = case.run("show", "--threads", "3")
    assert (result.exit_code, result.stdout) == (3, "")
    assert "no latency table of device 'fake' for space 'tiny'" in result.stderr


def test_show_json_is_one_document(case: Case) -> None:
    result = run("show", str(case.file), "--json", "--top", "3")
    document = json.loads(result.stdout)
    assert document["digest"] == digest(document)
    assert (document["format"], document["path"]) == ("binas-deploy/table-summary", str(case.file))
    assert (len(document["dearest"]), len(document["runs"])) == (3, 2)
    assert document["simulated"] is True


def test_show_lists_as_many_pieces_as_asked(case: Case) -> None:
    for top, lines in (("2", 2), ("0", 0), ("999", 15)):
        result = run("show", str(case.file), "--top", top)
        block = next(text for text in result.stdout.split("\n\n") if text.startswith("dearest pieces\n"))
        assert block.count("\n  ") == (1 + lines if lines else 1)


def test_show_of_a_table_that_rests_on_networks_alone(make_table: MakeTable, tmp_path: Path) -> None:
    result = run("show", saved(make_table(pieces=False), tmp_path / "fitted.json"))
    assert result.exit_code == 0, result.stderr
    assert "no isolated pieces: the table rests on whole networks alone" in result.stdout
    assert "noisiest pieces" not in result.stdout
    assert "not recorded" in result.stdout


@pytest.mark.parametrize("samples", [1, 5])
def test_show_of_a_table_of_few_samples(make_table: MakeTable, tmp_path: Path, samples: int) -> None:
    result = run("show", saved(make_table(samples=samples), tmp_path / "few.json"))
    assert result.exit_code == 0, result.stderr
    assert "15 measured alone, 15 with too few samples to say" in result.stdout


def test_a_path_and_the_options_that_choose_are_not_given_together(case: Case) -> None:
    result = case.run("show", str(case.file))
    assert (result.exit_code, result.stdout) == (2, "")
    assert "PATH names a table and --device, --space would choose another" in result.stderr


# diff


def test_diff_says_what_the_difference_is(case: Case, make_table: MakeTable) -> None:
    used = Counter(piece.key for anchor in case.table.anchors for piece in case.table.space.pieces(anchor.arch))
    label = min(labels(case.table.space), key=lambda label: used[label.key])  # the networks' median knows nothing of it
    other = make_table(factor=1.31, changed={label.key: 3.0}, identity={"threads": "2"}, context={"clock_mhz": "1500"})
    result = run("diff", str(case.file), saved(other, case.workspace / "b.json"), "--top", "2")
    assert result.exit_code == 0, result.stderr
    sentence, tables, conditions, ratios, changes = result.stdout.rstrip("\n").split("\n\n")
    assert sentence.startswith("B is 1.31 times slower than A throughout")
    assert sentence.endswith("but for 1 of 15 pieces.")
    assert "simulated" in tables.splitlines()[0]
    assert "simulated" not in tables.splitlines()[1]
    marked = [line.split()[2] for line in conditions.splitlines() if line.startswith("  !")]
    assert "threads" in marked
    assert conditions.splitlines()[-1].startswith("the same in both: ")
    assert ratios.splitlines()[-1] == "1 of 15 pieces changed by themselves, beyond 5 %"
    assert "precision" in conditions.splitlines()[-1]
    assert [line.split("  ")[0] for line in ratios.splitlines()[1:-1]] == [
        *("isolated pieces", "whole networks measured in both", "random networks, predicted")
    ]
    assert changes.splitlines()[2].strip().startswith(f"{label.text}  ")
    assert changes.splitlines()[2].endswith("yes")
    assert len(changes.splitlines()) == 4


def test_diff_of_a_table_with_itself(case: Case) -> None:
    result = run("diff", str(case.file), str(case.file))
    assert result.exit_code == 0
    assert result.stdout.startswith("A and B are the same table.\n")
    assert "conditions that differ" not in result.stdout


def test_diff_json_is_one_document(case: Case, make_table: MakeTable) -> None:
    other = saved(make_table(factor=1.31), case.workspace / "b.json")
    result = run("diff", str(case.file), other, "--json", "--top", "1", "--seed", "4")
    document = json.loads(result.stdout)
    assert document["digest"] == digest(document)
    assert (document["format"], document["paths"]) == ("binas-deploy/table-diff", [str(case.file), other])
    assert (document["kind"], len(document["changes"])) == ("throughout", 1)
    assert document["networks"]["median"] == pytest.approx(1.31, rel=1e-3)


def test_diff_without_isolated_pieces_says_so(case: Case, make_table: MakeTable) -> None:
    result = run("diff", str(case.file), saved(make_table(pieces=False), case.workspace / "fitted.json"))
    assert result.exit_code == 0, result.stderr
    assert "no isolated pieces in common" in result.stdout
    assert "most changed" not in result.stdout


def test_diff_of_tables_of_two_spaces_is_2_and_names_both(case: Case, make_table: MakeTable) -> None:
    space = case.table.space
    text = space.source.replace("classes = 5", "classes = 7").replace('"tiny"', '"wider"')
    other = make_table(space=replace(space, name="wider", head=replace(space.head, classes=7), source=text))
    result = run("diff", str(case.file), saved(other, case.workspace / "wider.json"))
    assert (result.exit_code, result.stdout) == (2, "")
    assert "table A is of space 'tiny'" in result.stderr
    assert "table B of space 'wider'" in result.stderr


# export


@pytest.mark.parametrize("what", ROWS)
def test_export_writes_csv_that_reads_back(case: Case, what: str) -> None:
    output = case.workspace / "out" / "table.csv"
    result = run("export", str(case.file), "--what", what, "--output", str(output))
    assert result.exit_code == 0, result.stderr
    rows = list(csv.DictReader(io.StringIO(output.read_text(encoding="utf-8"))))
    assert result.stdout == f"{len(rows)} rows of {what} written to {output}\n"
    assert len(rows) == len(ROWS[what](case.table))
    assert run("export", str(case.file), "--what", what).stdout == output.read_text(encoding="utf-8")
    assert [path.name for path in output.parent.iterdir()] == ["table.csv"]


def test_export_is_of_pieces_and_of_the_device_s_table_by_default(case: Case) -> None:
    rows = list(csv.DictReader(io.StringIO(case.run("export").stdout)))
    assert [row["key"] for row in rows] == list(case.table.pieces)


def test_export_json_holds_the_rows(case: Case) -> None:
    document = json.loads(run("export", str(case.file), "--what", "networks", "--json").stdout)
    assert document["digest"] == digest(document)
    assert (document["format"], document["output"]) == ("binas-deploy/table-export", None)
    assert [row["network"] for row in document["rows"]] == [
        case.table.space.text(anchor.arch) for anchor in case.table.anchors
    ]


def test_export_of_pieces_that_are_not_there_is_3_and_writes_nothing(make_table: MakeTable, tmp_path: Path) -> None:
    table, output = saved(make_table(pieces=False), tmp_path / "fitted.json"), tmp_path / "pieces.csv"
    result = run("export", table, "--output", str(output))
    assert (result.exit_code, result.stdout) == (3, "")
    assert "no isolated pieces" in result.stderr
    assert not output.exists()
    assert run("export", table, "--what", "costs", "--output", str(output)).exit_code == 0


def test_export_to_a_place_that_cannot_be_written_is_2(case: Case) -> None:
    for output in (case.file / "table.csv", case.workspace / "devices"):
        result = run("export", str(case.file), "--output", str(output))
        assert (result.exit_code, result.stdout) == (2, "")
        assert f"error: cannot write {output}: " in result.stderr


def test_an_unknown_what_is_2(case: Case) -> None:
    result = run("export", str(case.file), "--what", "secrets")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "'pieces', 'networks', 'costs'" in result.stderr


# Tables that are not right


COMMANDS_OF_ONE: list[list[str]] = [["show"], ["export"], ["diff"]]


def given(command: list[str], path: Path) -> Result:
    return run(*command, *([str(path)] * (2 if command == ["diff"] else 1)))


@pytest.mark.parametrize("command", COMMANDS_OF_ONE, ids=" ".join)
def test_a_missing_table_is_2(command: list[str], tmp_path: Path) -> None:
    result = given(command, tmp_path / "none.json")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "none.json: no such file (a latency-table was expected)" in result.stderr


@pytest.mark.parametrize("command", COMMANDS_OF_ONE, ids=" ".join)
@pytest.mark.parametrize(
    ("damage", "finding"),
    [
        (lambda text: text[: len(text) // 2], "the file is truncated or damaged"),
        (lambda text: text.replace('"fake"', '"cpu"', 1), "the content does not match its digest"),
        (lambda text: text.replace("latency-table", "accuracy-model", 1), "Is this the right file?"),
        (lambda text: "\x00", "not complete JSON"),
    ],
    ids=["truncated", "edited", "foreign", "binary"],
)
def test_a_damaged_table_is_2_and_named(case: Case, command: list[str], damage: Any, finding: str) -> None:
    case.file.write_text(damage(case.file.read_text(encoding="utf-8")), encoding="utf-8")
    result = given(command, case.file)
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"error: {case.file}: " in result.stderr
    assert finding in result.stderr


def test_unknown_devices_and_spaces_are_2(case: Case) -> None:
    for option, known in (("--device", "unknown device 'toaster'"), ("--space", "unknown space 'toaster'")):
        result = case.run("show", option, "toaster")
        assert (result.exit_code, result.stdout) == (2, "")
        assert known in result.stderr
