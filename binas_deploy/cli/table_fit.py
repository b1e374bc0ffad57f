"""``binas-deploy table fit``: a table from networks that were measured elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from binas_deploy.cli.options import PATH, Session, common, from_option, space_option

if TYPE_CHECKING:
    from binas_deploy.samples import CheckedSamples
    from binas_deploy.table import LatencyTable


@click.command("fit")
@space_option
@click.option(
    "--samples",
    type=PATH,
    required=True,
    help="CSV with the columns 'network' (block strings or JSON) and 'latency_ms' (or _ns, _us, _s).",
)
@click.option("--unit", type=click.Choice(["ns", "us", "ms", "s"]), help="Of a column 'latency' of bare numbers.")
@click.option("--device", required=True, metavar="NAME", help="What the device is to be called.")
@from_option
@click.option("--precision", type=click.Choice(["fp32", "fp16", "int8"]), default="fp32", show_default=True)
@click.option("--batch", type=click.IntRange(1, 65_536), default=1, show_default=True)
@click.option("--threads", type=click.IntRange(1, 1024), default=1, show_default=True)
@click.option("--output", type=PATH, help="Where to write the table  [default: its place in the workspace].")
@common
def command(
    session: Session,
    space: str,
    samples: Path,
    unit: str | None,
    device: str,
    sources: tuple[Path, ...],
    precision: str,
    batch: int,
    threads: int,
    output: Path | None,
) -> None:
    """Build a table from networks that were measured elsewhere.

    On a phone, a microcontroller, a farm, by whatever tool. Rows that cannot be right are named and left out. Eight
    networks are the least, some dozens are good; with --from, tables of other devices for the same space, ten get far.
    """
    from binas_deploy.space_file import load_space
    from binas_deploy.steps.fit import fit
    from binas_deploy.steps.tables import TABLES
    from binas_deploy.table import table_path

    stated = {"precision": precision, "batch": str(batch), "threads": str(threads)}
    table, checked = fit(load_space(space), samples, device=device, unit=unit, sources=sources, stated=stated)
    path = output or table_path(session.workspace / TABLES, device, table.space.name, table.conditions)
    table.save(path)
    for finding in checked.findings:
        session.progress.note(finding.text)
    session.file(path)
    session.show(_text(table, checked, path))


def _text(table: LatencyTable, checked: CheckedSamples, path: Path) -> str:
    from binas_deploy.cli.render import facts

    bound = table.model.margin.two_sided()
    rows: list[tuple[str, object]] = [
        ("table", path),
        ("device", f"{table.device}: conditions as stated, not read"),
        ("space", f"{table.space.name}: {len(checked.archs)} networks of {int(checked.counts.sum())} rows"),
        ("findings", len(checked.findings) or "none: nothing is wrong with the rows"),
        ("predicts", f"the {table.statistic} of a network within {bound.share:.1%} (95 %; {bound.method})"),
    ]
    return facts(rows)
