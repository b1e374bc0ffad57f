"""``binas-deploy devices``: the devices there are, and setting up remote ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click

from binas_deploy.cli.lazy import LazyGroup
from binas_deploy.cli.options import Session, common

COMMANDS: Final = {"setup": "Install or upgrade the agent on a machine that ssh reaches, and say what is there."}


@click.group(
    "devices", cls=LazyGroup, modules="binas_deploy.cli.devices_{}", lines=COMMANDS, invoke_without_command=True
)
@common
@click.pass_context
def command(context: click.Context, session: Session) -> None:
    """List the devices: which are usable, and why others are not; set up remote ones.

    A device is a TOML file in the workspace's devices/ or one that ships with the tool.
    """
    if context.invoked_subcommand is None:
        _list(session)


def _list(session: Session) -> None:
    from binas_deploy.cli.render import table
    from binas_deploy.devices import device_files

    workspace = session.workspace
    found = [_describe(name, path, workspace) for name, path in device_files(workspace).items()]
    session.document("devices", {"workspace": str(workspace), "devices": found})
    header = ("device", "adapter", "precision", "threads", "batch", "usable", "file")
    session.show(table(header, [_row(item) for item in found]))
    for item in found:
        if not item["usable"]:
            session.show(f"{item['name']}: {item['reason']}")


def _describe(name: str, path: Path, workspace: Path) -> dict[str, Any]:
    """A file that cannot be read is listed too: it is why its device is not usable."""
    from binas_deploy.devices import availability, load_device_spec
    from binas_deploy.errors import BinasError

    try:
        spec = load_device_spec(name, workspace)
    except BinasError as error:
        return {"name": name, "usable": False, "reason": str(error), "file": str(path)}
    usable, reason = availability(spec)
    settings = spec.model_dump(include={"adapter", "precision", "threads", "batch"})
    return {"name": name, **settings, "usable": usable, "reason": reason, "file": str(path)}


def _row(item: dict[str, Any]) -> tuple[object, ...]:
    settings = (item.get(key, "?") for key in ("adapter", "precision", "threads", "batch"))
    return (item["name"], *settings, "yes" if item["usable"] else "no", item["file"])
