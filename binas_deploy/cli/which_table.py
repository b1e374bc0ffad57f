"""``[PATH] --device --space --threads``: which latency table a command is about."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from click.core import ParameterSource

from binas_deploy.cli.options import PATH, F, Session, device_option, space_option, threads_option

if TYPE_CHECKING:
    from binas_deploy.table import LatencyTable

_CHOICES: Final = ("device", "space", "threads")


@dataclass(frozen=True)
class WhichTable:
    """The table at ``path``, or without it the one that a search on ``device`` would use."""

    path: Path | None
    device: str
    space: str
    threads: int | None

    def load(self, session: Session) -> tuple[Path, LatencyTable]:
        """The table and where it stands. A table that is named may be of any machine and conditions.

        Raises:
            InputError: no such file, device or space.
            DocumentError: it is damaged.
            NotMeasuredError: the device has none for the space under its present conditions.
        """
        from binas_deploy.devices import load_device_spec
        from binas_deploy.space_file import load_space
        from binas_deploy.steps.tables import find_table
        from binas_deploy.table import LatencyTable

        if self.path is not None:
            return self.path, LatencyTable.load(self.path)
        workspace = session.workspace
        spec = load_device_spec(self.device, workspace)
        return find_table(load_space(self.space), spec, workspace=workspace, threads=self.threads)


def which_table(function: F) -> F:
    """Add the options; the command is called with a `WhichTable` as ``which``."""

    @functools.wraps(function)
    def call(*args: Any, path: Path | None, device: str, space: str, threads: int | None, **rest: Any) -> Any:
        if path is not None:
            _refuse_choices(click.get_current_context())
        return function(*args, which=WhichTable(path, device, space, threads), **rest)

    for option in (threads_option, space_option, device_option(), click.argument("path", type=PATH, required=False)):
        call = option(call)
    return call  # type: ignore[return-value]


def _refuse_choices(context: click.Context) -> None:
    """Raises UsageError where one of the options was typed: the table that PATH names has its own."""
    typed = [name for name in _CHOICES if context.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    if typed:
        options = ", ".join(f"--{name}" for name in typed)
        raise click.UsageError(f"PATH names a table and {options} would choose another; give one or the other.")
