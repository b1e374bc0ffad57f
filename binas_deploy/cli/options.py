"""Options that several commands share, and the `Session` that they fill."""

from __future__ import annotations

import functools
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Mapping

    from binas_deploy.progress import Progress

F = TypeVar("F", bound=Callable[..., Any])
PATH: Final = click.Path(path_type=Path)
DEBUG_KEY: Final = "binas_deploy.debug"


@dataclass(frozen=True)
class Session:
    """What every command knows: where to work and how to speak.

    Results go to stdout, as text or (``as_json``) as one document; progress and notes go to stderr.
    """

    workspace_option: Path | None
    as_json: bool
    quiet: bool

    @property
    def workspace(self) -> Path:
        """The workspace, found as `find_workspace` says."""
        from binas_deploy.workspace import find_workspace

        return find_workspace(self.workspace_option)

    @functools.cached_property
    def progress(self) -> Progress:
        """Where long work reports itself."""
        from binas_deploy.cli.render import make_progress

        return make_progress(quiet=self.quiet)

    def show(self, text: str) -> None:
        """A result for people; nothing under ``--json``."""
        if not self.as_json:
            click.echo(text)

    def document(self, kind: str, content: Mapping[str, Any]) -> None:
        """A result for machines, sealed as a document; nothing without ``--json``."""
        if self.as_json:
            from binas_deploy.documents import dump_text, seal

            click.echo(dump_text(seal(kind, 1, content)), nl=False)

    def sealed(self, document: Mapping[str, Any]) -> None:
        """A result for machines that is sealed already; nothing without ``--json``."""
        if self.as_json:
            from binas_deploy.documents import dump_text

            click.echo(dump_text(document), nl=False)

    def file(self, path: Path) -> None:
        """A document that was written to ``path``, word for word; nothing without ``--json``."""
        if self.as_json:
            click.echo(path.read_text(encoding="utf-8"), nl=False)


def _set_debug(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        context.meta[DEBUG_KEY] = True


debug_option = click.option(
    "--debug", is_flag=True, expose_value=False, callback=_set_debug, help="Show the traceback of an error."
)


def common(function: F) -> F:
    """Add the options of every command; the command is called with a `Session` first."""

    @functools.wraps(function)
    def call(*, workspace: Path | None, as_json: bool, quiet: bool, **rest: Any) -> Any:
        return function(Session(workspace, as_json, quiet), **rest)

    for option in reversed(_COMMON):
        call = option(call)
    return call  # type: ignore[return-value]


_COMMON: Final = (
    click.option("--workspace", type=PATH, help="Folder with devices/, latency_tables/ and export/."),
    click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout, and nothing else there."),
    click.option("-q", "--quiet", is_flag=True, help="No progress on stderr."),
    debug_option,
)


def command_line() -> str:
    """The command as typed, to be recorded in what it makes."""
    return shlex.join(["binas-deploy", *sys.argv[1:]])


def device_option(default: str | None = "cpu", text: str = "Device by name, or its TOML file.") -> Callable[[F], F]:
    """``--device``; None as default leaves the choice to the command."""
    return click.option("--device", default=default, show_default=True, metavar="NAME|FILE", help=text)


def top_option(text: str) -> Callable[[F], F]:
    """``--top``: how many rows of a ranking to show."""
    return click.option("--top", type=click.IntRange(0, 10_000), default=15, show_default=True, help=text)


space_option = click.option(
    "--space", default="cifar10", show_default=True, metavar="NAME|FILE", help="Search space by name, or its TOML file."
)
budget_help: Final = (
    "The most that a network may take: a median latency (0.5ms, 800us), or one of what is computed: parameters "
    "(params=2M), multiply-accumulates (macs=8M), weight bytes (weights=4MB), peak activation memory (memory=300kB)."
)


def budget_option(more: str) -> Callable[[F], F]:
    """``--budget``, to be repeated; ``more`` says what of."""
    return click.option(
        "--budget", "budget_texts", required=True, multiple=True, metavar="QUANTITY", help=f"{budget_help} {more}"
    )


statistic_option = click.option(
    "--statistic",
    type=click.Choice(["median", "p90", "p95", "p99"]),
    default="median",
    show_default=True,
    help="What of a network's latency the budget is about.",
)
confidence_option = click.option(
    "--confidence",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Hold the budget with this confidence: bound the prediction from above  [default: take it as it is].",
)


def to_cadence(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    """A period as text to the cadence that it means: a callback of click."""
    if value is None:
        return None
    from binas_deploy.conditions import cadence_of
    from binas_deploy.quantities import parse_quantity

    return cadence_of(parse_quantity(value).amount)


period_option = click.option(
    "--period",
    "cadence",
    callback=to_cadence,
    metavar="QUANTITY",
    help="Call the network once in so long, as a camera does: 33ms  [default: the device's, back to back].",
)
threads_option = click.option("--threads", type=click.IntRange(1, 1024), help="Threads  [default: the device's].")
precision_option = click.option(
    "--precision",
    type=click.Choice(["fp32", "fp16", "int8"]),
    help="Numbers that networks compute in  [default: the device's].",
)
max_drop_option = click.option(
    "--max-drop",
    type=click.FloatRange(0, 100),
    default=1.0,
    show_default=True,
    metavar="POINTS",
    help="The most accuracy that int8 may cost: the most sensitive blocks stay in fp32 until it is kept.",
)
accelerator_option = click.option(
    "--accelerator",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="What computes; auto is CUDA where there is one.",
)
seed_option = click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)
supernet_option = click.option(
    "--supernet", type=PATH, help="Trained supernet: a folder of 'train'  [default: the shipped one]."
)
accuracy_option = click.option(
    "--accuracy", type=PATH, help="Accuracy model, a file of 'estimate'  [default: the shipped one]."
)
table_option = click.option(
    "--table", type=PATH, help="Latency table, a file of 'profile'  [default: the workspace's, or the built-in one]."
)
from_option = click.option(
    "--from",
    "sources",
    type=PATH,
    multiple=True,
    help="Table of another device for the same space, as a start; again for each.",
)
solver_option = click.option(
    "--solver",
    default="auto",
    show_default=True,
    metavar="NAME",
    help="frontier (one resource) or milp (several); both are exact, and auto chooses.",
)
data_option = click.option(
    "--data",
    default="cifar10",
    show_default=True,
    metavar="cifar10|PATH",
    help="Images: cifar10, a folder of image folders, or a NumPy file (.npz).",
)
no_accuracy_option = click.option(
    "--no-accuracy", is_flag=True, help="Do not measure accuracy (needs no images); latency and parity decide."
)
