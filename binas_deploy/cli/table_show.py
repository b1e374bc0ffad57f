"""``binas-deploy table show``: what a latency table holds."""

from __future__ import annotations

import click

from binas_deploy.cli.options import Session, common, top_option
from binas_deploy.cli.which_table import WhichTable, which_table


@click.command("show")
@which_table
@top_option("Pieces to list, the dearest first.")
@common
def command(session: Session, which: WhichTable, top: int) -> None:
    """Show what a table holds, how old and how noisy it is, and what costs most.

    Without PATH: the table that a search would use. Nothing is measured.
    """
    from datetime import datetime, timezone

    from binas_deploy.cli.table_report import summary_text
    from binas_deploy.table.summary import TableSummary

    path, table = which.load(session)
    summary = TableSummary.of(table, now=datetime.now(timezone.utc), top=top)
    session.document("table-summary", {"path": str(path), **summary.to_json()})
    session.show(summary_text(summary, path))
