"""``binas-deploy train``: train a supernet."""

from __future__ import annotations

from pathlib import Path

import click

from binas_deploy.cli.options import (
    PATH,
    Session,
    accelerator_option,
    command_line,
    common,
    data_option,
    seed_option,
    space_option,
    threads_option,
)


@click.command("train")
@space_option
@data_option
@click.option("--output", type=PATH, required=True, help="Folder for weights, checkpoints and log, e.g. runs/cifar10.")
@click.option("--largest-epochs", type=click.IntRange(1), default=60, show_default=True, help="Largest network alone.")
@click.option("--supernet-epochs", type=click.IntRange(1), default=60, show_default=True, help="All networks together.")
@click.option("--batch", type=click.IntRange(8, 65536), default=128, show_default=True, help="Images a step.")
@accelerator_option
@threads_option
@seed_option
@common
def command(
    session: Session,
    space: str,
    data: str,
    output: Path,
    largest_epochs: int,
    supernet_epochs: int,
    batch: int,
    accelerator: str,
    threads: int | None,
    seed: int,
) -> None:
    """Train a supernet: all networks of a space, sharing their weights.

    A run that was stopped, in whatever way, continues when the same command is given again.
    """
    from binas_deploy.space_file import load_space
    from binas_deploy.steps.train import train

    info = train(
        load_space(space),
        data=data,
        output=output,
        largest_epochs=largest_epochs,
        supernet_epochs=supernet_epochs,
        batch=batch,
        accelerator=accelerator,
        threads=threads,
        seed=seed,
        command=command_line(),
        progress=session.progress,
    )
    session.file(output / "supernet.json")
    figures = info.figures
    session.show(f"supernet {output}")
    session.show(f"  largest network   {figures.largest_top1:.2f} % top-1 on {figures.images} test images")
    session.show(f"  smallest network  {figures.smallest_top1:.2f} %")
