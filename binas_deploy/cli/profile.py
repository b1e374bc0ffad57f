"""``binas-deploy profile``: measure a space's blocks on a device."""

from __future__ import annotations

import click

from binas_deploy.cli.options import Session, common, device_option, seed_option, space_option, threads_option


@click.command("profile")
@device_option()
@space_option
@threads_option
@seed_option
@click.option("--force", is_flag=True, help="Measure again even where a valid table is there.")
@common
def command(session: Session, device: str, space: str, threads: int | None, seed: int, force: bool) -> None:
    """Measure a space's blocks on a device: the latency table.

    Every distinct block, interleaved in random order, and whole networks to calibrate their sums. A run that was
    stopped continues when the same command is given again.
    """
    from binas_deploy.cli.report import profile_text
    from binas_deploy.devices import load_device_spec
    from binas_deploy.space_file import load_space
    from binas_deploy.steps.profile import profile

    workspace = session.workspace
    spec = load_device_spec(device, workspace)
    path, table = profile(
        load_space(space),
        spec,
        workspace=workspace,
        threads=threads,
        seed=seed,
        progress=session.progress,
        force=force,
    )
    session.file(path)
    session.show(profile_text(table, path))
