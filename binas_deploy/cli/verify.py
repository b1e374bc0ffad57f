"""``binas-deploy verify``: run a bundle on its device and judge it."""

from __future__ import annotations

from pathlib import Path

import click

from binas_deploy.cli.options import PATH, Session, common, data_option, device_option, no_accuracy_option, seed_option
from binas_deploy.cli.verify_options import asking_of, asking_options


@click.command("verify")
@click.argument("bundle", type=PATH)
@device_option(None, "Device by name, or its TOML file  [default: the one that the bundle was made for].")
@data_option
@no_accuracy_option
@asking_options
@click.option("--junit", type=PATH, help="Write the verdicts as JUnit XML, too.")
@click.option(
    "--join/--no-join", default=True, help="Let what was measured improve the latency table  [default: join]."
)
@seed_option
@common
def command(
    session: Session,
    bundle: Path,
    device: str | None,
    data: str,
    no_accuracy: bool,
    junit: Path | None,
    join: bool,
    seed: int,
    **asked: object,
) -> int:
    """Run a bundle on its device and judge parity, accuracy and latency.

    BUNDLE is a folder that 'export' wrote. Latency is measured in several fresh processes, beside networks of the
    latency table, until it is clear whether the budget holds. Writes verification.json there; what was measured joins
    the latency table of the workspace that the network was searched with. Exits with 0 when all holds, 1 when something
    does not, 4 when something could not be measured or decided.
    """
    from binas_deploy.bundle.manifest import Manifest
    from binas_deploy.cli.bundle_report import bundle_text
    from binas_deploy.cli.verification_report import verification_text
    from binas_deploy.devices import load_device_spec
    from binas_deploy.steps.join import join as joined
    from binas_deploy.steps.verify import verify

    workspace = session.workspace
    report = verify(
        bundle,
        device=load_device_spec(device, workspace) if device else None,
        workspace=workspace,
        data=data,
        accuracy="never" if no_accuracy else "always",
        asking=asking_of(asked),
        seed=seed,
        progress=session.progress,
    )
    if junit is not None:
        from binas_deploy.cli.verification_junit import verification_junit
        from binas_deploy.documents import write_atomic

        write_atomic(junit, verification_junit(report).encode())
    session.file(bundle / "verification.json")
    said = joined(Manifest.load(bundle), report, workspace) if join else ""
    session.show("\n\n".join(filter(None, (bundle_text(bundle), verification_text(report), said))))
    return report.exit_code
