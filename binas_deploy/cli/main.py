"""The command line: a group that loads a command only when it is called, so that ``--help`` is instant."""

from __future__ import annotations

import sys
from typing import Any, Final

import click

from binas_deploy import __version__
from binas_deploy.cli.faults import debugging, report
from binas_deploy.cli.lazy import LazyGroup
from binas_deploy.cli.options import DEBUG_KEY, debug_option
from binas_deploy.errors import EXIT_USAGE

COMMANDS: Final = {
    "deploy": "All of it: profile, search, export, verify, and search again with what verify learnt.",
    "init": "Make a workspace: devices/ latency_tables/ export/.",
    "devices": "List the devices and adapters: what is installed, and with --check what works; set up remote ones.",
    "spaces": "List the search spaces and what ships trained for them.",
    "data": "Get the images.",
    "train": "Train a supernet: all networks of a space, sharing their weights.",
    "estimate": "Fit the accuracy model of a trained supernet.",
    "profile": "Measure a space's blocks on a device: the latency table.",
    "table": "Look into latency tables: show, compare, export, validate, fit.",
    "search": "Find the best network within a budget, exactly.",
    "export": "Write a searched network as a bundle: formats, test vectors, hashes, README.",
    "verify": "Run a bundle on its device and judge parity, accuracy and latency.",
    "check": "Check bundles against an earlier state: files, outputs, and whether they became slower.",
    "agent": "Serve this machine's devices over stdin and stdout; what ssh starts on a remote device.",
}


class Main(LazyGroup):
    """The commands of this folder; errors of all of them end here."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command and exit with its verdict, or with the code of its error."""
        try:
            code = super().invoke(ctx)
            sys.stdout.flush()
        except click.exceptions.Exit:
            raise
        except click.ClickException as error:
            error.show()
            code = EXIT_USAGE  # click's own codes include 1, which is a verdict here
        except BaseException as error:  # the one border where every error becomes a message
            if isinstance(error, SystemExit):
                raise
            code = report(error, debug=bool(ctx.meta.get(DEBUG_KEY)) or debugging())
        ctx.exit(code if isinstance(code, int) else 0)


@click.group(
    cls=Main,
    modules="binas_deploy.cli.{}",
    lines=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Exit codes: 0 yes; 1 no (over budget, regressed, parity failed); 2 input or environment; 3 nothing "
    "measured; 4 inconclusive or partly unmeasured; 5 budget infeasible; 130 interrupted.",
)
@click.version_option(__version__, "--version", prog_name="binas-deploy")
@debug_option
def cli() -> None:
    """Search a network for your own device, within the budget you type, and verify it by measuring.

    The whole of it: binas-deploy deploy --device cpu --budget 0.5ms
    """


def main() -> None:
    """The entry point of the script ``binas-deploy``."""
    cli(prog_name="binas-deploy")
