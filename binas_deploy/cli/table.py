"""``binas-deploy table``: look into latency tables."""

from __future__ import annotations

from typing import Final

import click

from binas_deploy.cli.lazy import LazyGroup

COMMANDS: Final = {
    "show": "Show what a table holds, how old and how noisy it is, and what costs most.",
    "diff": "Say how table B differs from table A, and what that is likely to be.",
    "export": "Write a table's pieces, networks or costs as CSV.",
    "validate": "Measure networks that a table has not seen, and compare with what it predicts.",
    "fit": "Build a table from networks that were measured elsewhere.",
}


@click.group("table", cls=LazyGroup, modules="binas_deploy.cli.table_{}", lines=COMMANDS)
def command() -> None:
    """Look into latency tables: show, compare, export, validate, fit."""
