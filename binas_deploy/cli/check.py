"""``binas-deploy check``: whether bundles became slower."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from binas_deploy.cli.options import PATH, Session, common, device_option, seed_option

if TYPE_CHECKING:
    from binas_deploy.gate.report import CheckReport


def _share(_: click.Context, __: click.Parameter, value: str) -> float:
    """``1%`` or ``0.5 %`` as a share."""
    number, sign, rest = value.strip().partition("%")
    try:
        share = float(number) / 100
    except ValueError:
        share = 0.0
    if not sign or rest or not 0 < share < 1:
        raise click.BadParameter(f"{value!r} is not a share such as 1%, between 0 and 100 %.")
    return share


@click.command("check")
@click.argument("head", type=PATH, required=False)
@click.option(
    "--against",
    metavar="BUNDLE|FOLDER|REV",
    help="The base: a bundle, a folder of bundles of the same names, or a git revision  [default: the merge-base with "
    "origin/HEAD, origin/main, main or master, on main itself the last commit; with --base-python the bundles "
    "themselves].",
)
@click.option(
    "--base-python",
    type=PATH,
    metavar="PYTHON",
    help="Run the base by another interpreter, or virtual environment: for an upgrade of the runtime. It takes the "
    "packages that binas-deploy needs and the runtime, not binas-deploy itself; PYTHONPATH is not handed on to it.",
)
@device_option(None, "Device by name, or its TOML file  [default: the one that each bundle was made for].")
@click.option(
    "--threshold", default="1%", show_default=True, callback=_share, help="The least change that matters, such as 2%."
)
@click.option("--pairs", type=click.IntRange(6, 200), default=20, show_default=True, help="Pairs of processes a round.")
@click.option("--force", is_flag=True, help="Time what did not change too: the machine against itself.")
@click.option(
    "--relative",
    is_flag=True,
    help="Do not run the base: compare with the latency in its verification.json, by the networks measured beside it.",
)
@click.option("--report-only", is_flag=True, help="Latency is told and does not decide; files and outputs do.")
@click.option("--accept", metavar="REASON", help="Record a regression as meant, in accepted.json beside the bundle.")
@click.option("--junit", type=PATH, help="Write the verdicts as JUnit XML, too.")
@click.option("--markdown", type=PATH, help="Write a summary for a pull request, too.")
@click.option("--output", type=PATH, help="Write the document (as of --json), too.")
@seed_option
@common
def command(session: Session, head: Path | None, **asked: Any) -> int:
    """Check bundles against an earlier state: files, outputs, and whether they became slower.

    HEAD is a bundle  [default: every bundle of the workspace's export/]. Base and head run on this machine, in pairs
    of fresh processes that take turns in random order. Slower is what a signed-rank test over the pairs shows, by
    more than the threshold, and a second round of new pairs shows again; then it is looked where in the network that
    lies. Half a minute where nothing is wrong, a minute or two where something is.

    A bundle whose model is the same on both sides, under the same interpreter, is called unchanged and not timed: there
    is nothing to compare (--force does it all the same). Its files and outputs are checked even so. A bundle that the
    base does not have is not compared. Both sides run with the device file of the head.

    Exits with 0 when nothing is slower, 1 when something is or its files or outputs are not right, 3 when nothing was
    compared, 4 when the machine is too noisy to tell or latencies are simulated.
    """
    from binas_deploy.cli.check_report import check_text
    from binas_deploy.devices import load_device_spec
    from binas_deploy.steps.check import check

    junit, markdown, output = asked.pop("junit"), asked.pop("markdown"), asked.pop("output")
    workspace, device = session.workspace, asked.pop("device")
    report = check(
        head,
        workspace=workspace,
        device=load_device_spec(device, workspace) if device else None,
        progress=session.progress,
        **asked,
    )
    _write(report, junit, markdown, output)
    session.sealed(report.to_document())
    session.show(check_text(report))
    return report.exit_code


def _write(report: CheckReport, junit: Path | None, markdown: Path | None, output: Path | None) -> None:
    from binas_deploy.documents import write_atomic
    from binas_deploy.report.check import check_markdown

    if junit:
        from binas_deploy.report.check_junit import check_junit

        write_atomic(junit, check_junit(report).encode())
    if markdown:
        write_atomic(markdown, check_markdown(report).encode())
    if output:
        report.save(output)
