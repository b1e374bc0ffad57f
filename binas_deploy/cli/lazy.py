"""`LazyGroup`: commands that are modules, each imported only when it is called."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import click


class LazyGroup(click.Group):
    """A group whose commands are the ``command`` of a module each, so that ``--help`` imports none of them.

    ``lines``: what each command is for, by name, in the order of use; ``modules``: the name of a command's module with
    ``{}`` for the command's, such as ``binas_deploy.cli.{}``.
    """

    def __init__(self, *args: Any, modules: str, lines: Mapping[str, str], **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._modules = modules
        self._lines = lines

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of use."""
        return list(self._lines)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command's module."""
        if cmd_name not in self._lines:
            return None
        command: click.Command = importlib.import_module(self._modules.format(cmd_name)).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The lines, without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self._lines.items()))
