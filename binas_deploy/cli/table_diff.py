"""``binas-deploy table diff``: how two latency tables of one space differ."""

from __future__ import annotations

from pathlib import Path

import click

from binas_deploy.cli.options import PATH, Session, common, seed_option, top_option


@click.command("diff")
@click.argument("a", type=PATH)
@click.argument("b", type=PATH)
@top_option("Pieces to list, the most changed first.")
@seed_option
@common
def command(session: Session, a: Path, b: Path, top: int, seed: int) -> None:
    """Say how table B differs from table A, and what that is likely to be.

    Both are files of 'profile' for one space. --seed draws the random networks whose predictions are compared. The exit
    code is 0 whatever the difference.
    """
    from binas_deploy.cli.table_report import difference_text
    from binas_deploy.table import LatencyTable
    from binas_deploy.table.difference import TableDifference

    difference = TableDifference.of(LatencyTable.load(a), LatencyTable.load(b), top=top, seed=seed)
    session.document("table-diff", {"paths": [str(a), str(b)], **difference.to_json()})
    session.show(difference_text(difference, a, b))
