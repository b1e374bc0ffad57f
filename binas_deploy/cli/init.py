"""``binas-deploy init``: make a workspace."""

from __future__ import annotations

from pathlib import Path

import click

from binas_deploy.cli.options import PATH, Session, common


@click.command("init")
@click.argument("folder", type=PATH, required=False)
@common
def command(session: Session, folder: Path | None) -> None:
    """Make a workspace: devices/ latency_tables/ export/.

    FOLDER is --workspace or else the current folder. Nothing that is there is changed.
    """
    from binas_deploy.workspace import init_workspace

    path = (folder or session.workspace_option or Path.cwd()).absolute()
    made = init_workspace(path)
    session.document("workspace", {"path": str(path), "made": [str(item) for item in made]})
    session.show(f"workspace {path}" + ("" if made else ": all there already"))
    for item in made:
        session.show(f"made {item.relative_to(path)}" + ("/" if item.is_dir() else ""))
