"""``binas-deploy estimate``: fit the accuracy model of a supernet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from binas_deploy.cli.options import PATH, Session, accelerator_option, common, data_option, seed_option, threads_option

if TYPE_CHECKING:
    from binas_deploy.accuracy.document import Kind


@click.command("estimate")
@click.option("--supernet", type=PATH, required=True, help="Trained supernet: a folder of 'train'.")
@data_option
@click.option(
    "--samples", type=click.IntRange(20), default=200, show_default=True, help="Networks to evaluate for the fit."
)
@click.option(
    "--fresh", type=click.IntRange(20), default=100, show_default=True, help="Further networks to judge the model on."
)
@click.option("--method", type=click.Choice(["ridge", "conditional"]), default="ridge", show_default=True)
@click.option("--output", type=PATH, help="Where to write the model  [default: accuracy.json beside the weights].")
@accelerator_option
@threads_option
@seed_option
@common
def command(
    session: Session,
    supernet: Path,
    data: str,
    samples: int,
    fresh: int,
    method: Kind,
    output: Path | None,
    accelerator: str,
    threads: int | None,
    seed: int,
) -> None:
    """Fit the accuracy model of a trained supernet.

    Evaluates random networks of it on images held out from its training. A run that was stopped continues when the
    same command is given again.
    """
    from binas_deploy.steps.estimate import estimate

    path, model = estimate(
        supernet=supernet,
        data=data,
        samples=samples,
        fresh=fresh,
        kind=method,
        output=output,
        accelerator=accelerator,
        threads=threads,
        seed=seed,
        progress=session.progress,
    )
    session.file(path)
    session.show(f"accuracy model {path}")
    for name, value in (model.quality or {}).items():
        session.show(f"  {name:<12} {value if value is None else format(value, '.4g')}")
