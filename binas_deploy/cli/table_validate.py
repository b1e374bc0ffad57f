"""``binas-deploy table validate``: a table against networks that it has not seen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from binas_deploy.cli.options import (
    PATH,
    Session,
    accuracy_option,
    common,
    device_option,
    period_option,
    seed_option,
    space_option,
    table_option,
    threads_option,
)

if TYPE_CHECKING:
    from binas_deploy.accuracy import AccuracyModel
    from binas_deploy.space import SearchSpace
    from binas_deploy.steps.validate import Validated

VALIDATION_KIND: Final = "table-validation"


@click.command("validate")
@device_option()
@space_option
@threads_option
@period_option
@table_option
@accuracy_option
@click.option(
    "--networks",
    type=click.IntRange(3, 1000),
    default=40,
    show_default=True,
    help="How many random networks, and as many searched ones.",
)
@click.option(
    "--anchors",
    type=click.IntRange(1, 1000),
    help="How many of the table's own networks carry it over to the machine as it is now  [default: 8 to 24 by noise].",
)
@click.option("--plot", type=PATH, help="Draw predicted against measured into this PNG.")
@seed_option
@common
def command(
    session: Session,
    device: str,
    space: str,
    threads: int | None,
    cadence: str | None,
    table: Path | None,
    accuracy: Path | None,
    networks: int,
    anchors: int | None,
    plot: Path | None,
    seed: int,
) -> None:
    """Measure networks that a table has not seen, and compare with what it predicts.

    Random and searched ones, each twice in fresh processes: how far the two differ is the noise floor, beside which the
    error is told. A few of the table's own networks are measured too and carry it over to the machine as it is now.
    """
    from binas_deploy.devices import load_device_spec
    from binas_deploy.report.scatter import require_pictures
    from binas_deploy.space_file import load_space
    from binas_deploy.steps.given_table import given_table
    from binas_deploy.steps.tables import find_table
    from binas_deploy.steps.validate import validate

    if plot is not None:
        require_pictures()
    workspace, chosen = session.workspace, load_space(space)
    spec = load_device_spec(device, workspace).with_threads(threads).with_cadence(cadence)
    found = given_table(table, chosen, spec) if table else find_table(chosen, spec, workspace=workspace)[1]
    result = validate(
        found,
        spec,
        accuracy=_accuracy(chosen, accuracy),
        networks=networks,
        anchors=anchors,
        seed=seed,
        progress=session.progress,
    )
    if plot is not None:
        _draw(result, plot)
    session.document(VALIDATION_KIND, result.to_json())
    session.show(_text(result, plot))


def _accuracy(space: SearchSpace, given: Path | None) -> AccuracyModel | None:
    """The model given, else the shipped one, else None: searched networks are then those of a stand-in."""
    from binas_deploy.accuracy import AccuracyModel
    from binas_deploy.shipped import shipped_accuracy

    if given is None:
        return shipped_accuracy(space)
    model = AccuracyModel.load(given)
    model.require_space(space)
    return model


def _draw(result: Validated, path: Path) -> None:
    import numpy as np

    from binas_deploy.report.scatter import scatter

    kinds = np.array([network.kind for network in result.networks])
    predicted = np.mean([run.predicted for run in result.runs], axis=0)
    measured = np.mean([run.measured for run in result.runs], axis=0)
    points = {kind: (predicted[kinds == kind], measured[kinds == kind]) for kind in result.validation.kinds}
    floor = result.validation.noise_floor_percent
    title = f"{result.table.space.name} on {result.table.device}: {result.table.statistic} latency, noise {floor:.1f} %"
    scatter(points, title=title, path=path)


def _text(result: Validated, plot: Path | None) -> str:
    from binas_deploy.cli.render import facts, table

    found = result.validation
    machine = ", ".join(f"{factor:.3f}" for factor in found.machine)
    rows: list[tuple[str, object]] = [
        ("table", f"{result.table.device}, {result.table.space.name}, {result.table.created}"),
        ("predicts", f"the {result.table.statistic}, {result.table.conditions.identity['cadence']}"),
        ("machine", f"{machine} times as slow as when the table was made (one figure a process)"),
        ("noise floor", f"{found.noise_floor_percent:.2f} %: the same networks measured in two processes"),
        *(("note", note) for note in result.notes),
        *([("picture", plot)] if plot else []),
    ]
    names = ("networks", "n", "MAPE %", "/ floor", "bias %", "worst %", "in interval %", "Kendall tau")
    lines = [
        (
            kind,
            str(row.networks),
            f"{row.mape_percent:.2f}",
            f"{found.error_over_floor[kind]:.2f}",
            f"{row.bias_percent:+.2f}",
            f"{row.worst_percent:.1f}",
            f"{row.coverage_percent:.0f}",
            "-" if row.kendall_tau is None else f"{row.kendall_tau:.3f}",
        )
        for kind, row in found.kinds.items()
    ]
    return f"{facts(rows)}\n\n{table(names, lines)}"
