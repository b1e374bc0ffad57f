"""``binas-deploy search``: the best network within a budget."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from binas_deploy.cli.options import (
    PATH,
    Session,
    accuracy_option,
    budget_help,
    common,
    device_option,
    seed_option,
    solver_option,
    space_option,
    threads_option,
)

if TYPE_CHECKING:
    from binas_deploy.budget import Budget
    from binas_deploy.space import SearchSpace
    from binas_deploy.table import LatencyTable


@click.command("search")
@device_option()
@space_option
@click.option(
    "--budget",
    "budget_texts",
    required=True,
    multiple=True,
    metavar="QUANTITY",
    help=budget_help + " For several devices, once each: cpu=0.5ms.",
)
@threads_option
@accuracy_option
@click.option(
    "--table",
    "table_paths",
    type=PATH,
    multiple=True,
    help="Latency table, one for each budget  [default: the workspace's, or the built-in one].",
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
    threads: int | None,
    accuracy: Path | None,
    table_paths: tuple[Path, ...],
    output: Path,
    solver: str,
    time_limit: str,
    seed: int,
) -> None:
    """Find the best network within a budget, exactly.

    Uses a latency table that is there and measures nothing; 'profile' makes one.
    """
    from binas_deploy.budget import Budget
    from binas_deploy.problem import Limits
    from binas_deploy.quantities import parse_quantity
    from binas_deploy.shipped import accuracy_path
    from binas_deploy.space_file import load_space

    budgets = [Budget.parse(text) for text in budget_texts]
    limits = Limits(parse_quantity(time_limit).amount / 1e9)
    chosen = load_space(space)
    model_path = accuracy_path(chosen, accuracy)
    from binas_deploy.accuracy import AccuracyModel
    from binas_deploy.cli.report import search_text
    from binas_deploy.steps.search import search

    result = search(
        chosen,
        accuracy=AccuracyModel.load(model_path),
        budgets=budgets,
        tables=_tables(session, chosen, budgets, device, threads, table_paths),
        solver=solver,
        limits=limits,
        seed=seed,
    )
    result.save(output)
    session.file(output)
    session.show(search_text(result, output))


def _tables(
    session: Session,
    space: SearchSpace,
    budgets: list[Budget],
    device: str,
    threads: int | None,
    paths: tuple[Path, ...],
) -> list[LatencyTable]:
    """One for each budget: the one given for it, else that of its device."""
    from binas_deploy.devices import load_device_spec
    from binas_deploy.errors import InputError
    from binas_deploy.steps.given_table import given_table
    from binas_deploy.steps.tables import find_table

    workspace = session.workspace
    specs = [load_device_spec(budget.device or device, workspace) for budget in budgets]
    if not paths:
        return [find_table(space, spec, workspace=workspace, threads=threads)[1] for spec in specs]
    if len(paths) != len(specs):
        raise InputError(f"{len(specs)} budget(s) and {len(paths)} --table; give one table for each, in that order.")
    return [given_table(path, space, spec, threads=threads) for path, spec in zip(paths, specs, strict=True)]
