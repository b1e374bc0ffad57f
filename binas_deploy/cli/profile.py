"""``binas-deploy profile``: measure a space's blocks on a device."""

from __future__ import annotations

from pathlib import Path

import click

from binas_deploy.cli.options import (
    Session,
    common,
    device_option,
    from_option,
    period_option,
    precision_option,
    seed_option,
    space_option,
    threads_option,
)


@click.command("profile")
@device_option()
@space_option
@threads_option
@precision_option
@period_option
@click.option(
    "--time", "limit", metavar="QUANTITY", help="Measure for at most so long, such as 60s  [default: the device's]."
)
@click.option(
    "--networks",
    "--samples",
    "networks",
    type=click.IntRange(3, 10_000),
    help="Whole networks that the table rests on  [default: the device's].",
)
@from_option
@seed_option
@click.option(
    "--energy/--no-energy",
    default=False,
    show_default=True,
    help="Then measure the energy of the networks too, where a sensor can be read; some minutes more. That makes it "
    "another table: what was searched with it before cannot be exported any more, so search again.",
)
@click.option("--force", is_flag=True, help="Measure again even where a valid table is there.")
@common
def command(
    session: Session,
    device: str,
    space: str,
    threads: int | None,
    precision: str | None,
    cadence: str | None,
    limit: str | None,
    networks: int | None,
    sources: tuple[Path, ...],
    seed: int,
    energy: bool,
    force: bool,
) -> None:
    """Measure a space's blocks on a device: the latency table.

    Every distinct block and some dozens of whole networks, random and searched ones, interleaved in random order. A run
    that was stopped continues when the same command is given again. With --from, tables of other devices, only whole
    networks are measured, and --networks 10 gets far. With --energy, a table that is there without gets it added. Each
    precision has a table of its own; with int8, what is measured is quantised before, which takes some minutes.
    """
    from binas_deploy.cli.report import profile_text
    from binas_deploy.devices import load_device_spec
    from binas_deploy.quantities import parse_quantity
    from binas_deploy.space_file import load_space
    from binas_deploy.steps.profile import profile
    from binas_deploy.table import LatencyTable

    workspace = session.workspace
    seconds = parse_quantity(limit).amount / 1e9 if limit else None
    spec = load_device_spec(device, workspace).with_threads(threads).with_precision(precision)
    spec = spec.with_seconds(seconds).with_cadence(cadence)
    path, table = profile(
        load_space(space),
        spec,
        workspace=workspace,
        seed=seed,
        progress=session.progress,
        force=force,
        sources=[LatencyTable.load(source) for source in sources],
        networks=networks,
        energy=energy,
    )
    session.file(path)
    session.show(profile_text(table, path))
