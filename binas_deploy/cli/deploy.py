"""``binas-deploy deploy``: the whole loop."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from binas_deploy.cli.options import (
    PATH,
    Session,
    accuracy_option,
    budget_option,
    common,
    data_option,
    device_option,
    max_drop_option,
    no_accuracy_option,
    period_option,
    precision_option,
    seed_option,
    solver_option,
    space_option,
    supernet_option,
    table_option,
    threads_option,
)


@click.command("deploy")
@device_option()
@budget_option("One of latency; repeat it for what is computed.")
@space_option
@threads_option
@precision_option
@max_drop_option
@period_option
@supernet_option
@accuracy_option
@table_option
@data_option
@click.option("--output", type=PATH, help="Bundle folder  [default: export/<space>-<device>-<budget>].")
@click.option(
    "--shortlist",
    type=click.IntRange(0, 64),
    help="Candidates from about the budget to measure before one is chosen; 0: take the best prediction  "
    "[default: 12, or 8 where the device takes long to build one].",
)
@solver_option
@no_accuracy_option
@seed_option
@common
def command(
    session: Session,
    device: str,
    budget_texts: tuple[str, ...],
    space: str,
    threads: int | None,
    precision: str | None,
    max_drop: float,
    cadence: str | None,
    supernet: Path | None,
    accuracy: Path | None,
    table: Path | None,
    data: str,
    output: Path | None,
    shortlist: int | None,
    solver: str,
    no_accuracy: bool,
    seed: int,
) -> int:
    """All of it: profile, search, export, verify, and search again with what verify learnt.

    Uses a valid latency table or measures one. Candidates from about the budget are measured, and the best that fits is
    exported and verified in further processes; what was verified joins the table. Exits as 'verify' does.
    """
    from binas_deploy.budget import Budget
    from binas_deploy.devices import load_device_spec
    from binas_deploy.space_file import load_space

    workspace = session.workspace
    chosen = load_space(space)
    spec = load_device_spec(device, workspace).with_cadence(cadence).with_precision(precision)
    asked = [replace(Budget.parse(text), cadence=spec.cadence) for text in budget_texts]
    from binas_deploy.cli.bundle_report import deployment_text
    from binas_deploy.cli.sensitivity_report import with_sensitivity
    from binas_deploy.steps.deploy import deploy

    done = deploy(
        chosen,
        spec,
        asked,
        workspace=workspace,
        threads=threads,
        supernet=supernet,
        accuracy=accuracy,
        table=table,
        data=data,
        output=output,
        shortlist=shortlist,
        solver=solver,
        max_drop=max_drop,
        measure_accuracy=not no_accuracy,
        seed=seed,
        progress=session.progress,
    )
    session.file(done.bundle / "verification.json")
    session.show(with_sensitivity(deployment_text(done), done.bundle))
    return done.exit_code
