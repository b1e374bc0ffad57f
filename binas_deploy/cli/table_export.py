"""``binas-deploy table export``: a latency table as CSV."""

from __future__ import annotations

from pathlib import Path

import click

from binas_deploy.cli.options import PATH, Session, common
from binas_deploy.cli.which_table import WhichTable, which_table


@click.command("export")
@which_table
@click.option(
    "--what",
    type=click.Choice(["pieces", "networks", "costs"]),
    default="pieces",
    show_default=True,
    help="Isolated pieces, whole networks, or what the search reckons for each choice.",
)
@click.option("--output", type=PATH, help="The CSV file to write  [default: stdout].")
@common
def command(session: Session, which: WhichTable, what: str, output: Path | None) -> None:
    """Write a table's pieces, networks or costs as CSV.

    Without PATH: the table that a search would use. Times are in ns; what is not known stays empty.
    """
    from binas_deploy.documents import write_atomic
    from binas_deploy.table.rows import csv_text, table_rows

    path, table = which.load(session)
    rows = table_rows(table, what)
    text = csv_text(rows)
    if output is not None:
        write_atomic(output, text.encode())
    written = None if output is None else str(output)
    session.document("table-export", {"path": str(path), "what": what, "output": written, "rows": rows})
    session.show(text.removesuffix("\n") if output is None else f"{len(rows)} rows of {what} written to {output}")
