"""``binas-deploy search``: the best network within a budget."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from click.core import ParameterSource

from binas_deploy.cli.options import (
    PATH,
    Session,
    accuracy_option,
    budget_option,
    common,
    confidence_option,
    device_option,
    period_option,
    precision_option,
    seed_option,
    solver_option,
    space_option,
    statistic_option,
    threads_option,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from binas_deploy.budget import Budget
    from binas_deploy.devices import DeviceSpec
    from binas_deploy.resources import Setting
    from binas_deploy.space import SearchSpace
    from binas_deploy.steps.carry_over import CarriedOver
    from binas_deploy.table import LatencyTable


_EXAMPLES: Final = """\b
Examples:
  binas-deploy search --budget 0.5ms
  binas-deploy search --budget 0.5ms --budget weights=1MB --budget memory=300kB
  binas-deploy search --budget cpu=0.5ms --budget board=20ms
  binas-deploy search --budget 0.5ms --confidence 0.95 --statistic p95
  binas-deploy search --budget 0.5ms --now
  binas-deploy search --budget 0.5ms --budget 5mJ
  binas-deploy search --budget macs=8M
"""


@click.command("search", epilog=_EXAMPLES)
@device_option()
@space_option
@budget_option("Or the energy of a call (5mJ). Repeat it for several; of several devices, say which: cpu=0.5ms.")
@statistic_option
@confidence_option
@threads_option
@precision_option
@period_option
@accuracy_option
@click.option(
    "--table",
    "table_paths",
    type=PATH,
    multiple=True,
    help="Latency table, one for each device with a budget  [default: the workspace's, or the built-in one].",
)
@click.option(
    "--now",
    is_flag=True,
    help="First measure a few of the table's networks again, and search for the machine as it is now (some seconds). "
    "Energy stays as the table was made.",
)
@click.option("--output", type=PATH, default="search.json", show_default=True, help="Where to write the result.")
@solver_option
@click.option("--time-limit", default="60s", show_default=True, metavar="QUANTITY", help="When the solver gives up.")
@seed_option
@common
def command(
    session: Session,
    device: str,
    space: str,
    budget_texts: tuple[str, ...],
    statistic: str,
    confidence: float | None,
    threads: int | None,
    precision: str | None,
    cadence: str | None,
    accuracy: Path | None,
    table_paths: tuple[Path, ...],
    now: bool,
    output: Path,
    solver: str,
    time_limit: str,
    seed: int,
) -> None:
    """Find the best network within a budget, exactly.

    Uses a latency table that is there; 'profile' makes one. Without --now nothing is measured, and what is computed
    needs no table.
    """
    from binas_deploy.budget import Budget
    from binas_deploy.conditions import BACK_TO_BACK
    from binas_deploy.problem import Limits
    from binas_deploy.quantities import parse_quantity
    from binas_deploy.shipped import accuracy_path
    from binas_deploy.space_file import load_space

    parsed = [Budget.parse(text) for text in budget_texts]
    limits = Limits(parse_quantity(time_limit).amount / 1e9)
    chosen = load_space(space)
    model_path = accuracy_path(chosen, accuracy)
    from binas_deploy.accuracy import AccuracyModel
    from binas_deploy.cli.report import search_text
    from binas_deploy.steps.asked import require_answerable
    from binas_deploy.steps.search import search

    require_answerable(parsed)
    if now:
        _require_latency(parsed)
    asked = _Device(device, threads, precision, cadence)
    found = _tables(session, chosen, parsed, asked, table_paths)
    tables = [table for _, table in found]
    # What a table was measured for is what is asked, unless it is said.
    calls = cadence or (tables[0].conditions.identity["cadence"] if tables else BACK_TO_BACK)
    budgets = [replace(budget, statistic=statistic, confidence=confidence, cadence=calls) for budget in parsed]
    model = AccuracyModel.load(model_path)
    carried = _carried(session, found, parsed, asked, seed) if now else {}
    notes = _notes(carried, parsed)
    for note in notes:  # said before the search too: a machine that is slower may leave it nothing to find
        session.progress.note(note)
    result = search(
        chosen,
        accuracy=model,
        budgets=budgets,
        tables=tables,
        solver=solver,
        limits=limits,
        seed=seed,
        setting=None if tables else _setting(session, asked),
        carried={name: row.found for name, row in carried.items()},
    )
    result = replace(result, notes=notes)
    result.save(output)
    session.file(output)
    session.show(search_text(result, output))


@dataclass(frozen=True)
class _Device:
    """Which one was asked for, and how it is to run."""

    name: str
    threads: int | None
    precision: str | None
    cadence: str | None

    def spec(self, name: str, workspace: Path) -> DeviceSpec:
        """The file of the device called ``name``, run in this way."""
        from binas_deploy.devices import load_device_spec

        spec = load_device_spec(name, workspace).with_threads(self.threads).with_precision(self.precision)
        return spec.with_cadence(self.cadence)


def _tables(
    session: Session, space: SearchSpace, budgets: list[Budget], device: _Device, paths: tuple[Path, ...]
) -> list[tuple[str, LatencyTable]]:
    """One for each device with a budget of latency or energy: the one given for it, else that of the workspace."""
    from binas_deploy.budget import MEASURED
    from binas_deploy.errors import InputError
    from binas_deploy.steps.tables import find_table

    workspace = session.workspace
    asked = {budget.device or device.name: budget.device for budget in budgets if budget.resource in MEASURED}
    if not paths:
        return [(name, find_table(space, device.spec(name, workspace), workspace=workspace)[1]) for name in asked]
    if len(paths) != len(asked):
        raise InputError(
            f"{len(asked)} device(s) with a budget of latency or energy and {len(paths)} --table; give one table for "
            "each, in that order."
        )
    said = click.get_current_context().get_parameter_source("device") is ParameterSource.COMMANDLINE
    wanted = [stated or (device.name if said else None) for stated in asked.values()]
    return [_given(path, space, name, device, workspace) for path, name in zip(paths, wanted, strict=True)]


def _given(
    path: Path, space: SearchSpace, name: str | None, device: _Device, workspace: Path
) -> tuple[str, LatencyTable]:
    """A table that is named says itself of which device it is. One without a device file was measured elsewhere."""
    from binas_deploy.devices import device_files
    from binas_deploy.steps.given_table import given_table
    from binas_deploy.table import LatencyTable

    table = LatencyTable.load(path)
    name = name or table.device
    if name == table.device and name not in device_files(workspace):
        table.require_space(space, str(path))
        return name, table
    return name, given_table(path, space, device.spec(name, workspace))


def _require_latency(budgets: list[Budget]) -> None:
    from binas_deploy.budget import LATENCY
    from binas_deploy.errors import InputError

    if not any(budget.resource == LATENCY for budget in budgets):
        raise InputError(
            "--now measures networks of a latency table again, and no budget of latency asks for one. Energy stays as "
            "the table was made, and what is computed needs no table: leave out --now."
        )


def _carried(
    session: Session, found: list[tuple[str, LatencyTable]], budgets: list[Budget], device: _Device, seed: int
) -> dict[str, CarriedOver]:
    """How each table with a budget of latency is to be read now, by its device."""
    from binas_deploy.budget import LATENCY
    from binas_deploy.steps.carry_over import carry_over

    devices = {budget.device for budget in budgets if budget.resource == LATENCY}
    carried = {}
    for name, table in found:
        if not devices & {None, table.device}:
            continue
        spec = device.spec(name, session.workspace)
        carried[table.device] = carry_over(table, spec, seed=seed, progress=session.progress)
    return carried


def _notes(carried: Mapping[str, CarriedOver], budgets: list[Budget]) -> tuple[str, ...]:
    """Which machines changed much, and why; and what was not carried over with the latencies."""
    from binas_deploy.budget import ENERGY

    notes = [f"{device}: {row.note}" for device, row in carried.items() if row.note]
    if carried and any(budget.resource == ENERGY for budget in budgets):
        notes.append("energy is predicted as the table was made: only latencies were measured again")
    return tuple(notes)


def _setting(session: Session, device: _Device) -> Setting:
    """How networks are said to run on the device; nothing is asked of it."""
    from binas_deploy.resources import Setting

    spec = device.spec(device.name, session.workspace)
    return Setting(spec.batch, spec.precision)
