"""Train a supernet into a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from binas_deploy.data import load_dataset
from binas_deploy.data.base import Dataset
from binas_deploy.progress import SILENT, Progress
from binas_deploy.space import SearchSpace
from binas_deploy.steps.torch_extra import import_torch, torch_device
from binas_deploy.supernet_info import WEIGHTS_NAME, Figures, SupernetInfo, TrainingData

if TYPE_CHECKING:
    from binas_deploy.supernet.network import Supernet
    from binas_deploy.supernet.recipe import Recipe

LARGEST_EPOCHS = 60
SUPERNET_EPOCHS = 60


def train(
    space: SearchSpace,
    *,
    data: str = "cifar10",
    output: Path,
    largest_epochs: int = LARGEST_EPOCHS,
    supernet_epochs: int = SUPERNET_EPOCHS,
    batch: int = 128,
    accelerator: str = "auto",
    threads: int | None = None,
    seed: int = 0,
    command: str = "",
    progress: Progress = SILENT,
) -> SupernetInfo:
    """Train all networks of ``space``; a second call continues a run that stopped, a finished one returns at once.

    ``accelerator``: 'auto' (CUDA when there is one), 'cpu' or 'cuda'. ``command`` is recorded as given.

    Raises:
        MismatchError: ``output`` holds a run of another space, recipe or data set.
        EnvironmentFault: the accelerator is absent, or the folder cannot be written.
    """
    torch = import_torch("training")
    from binas_deploy.supernet.network import Supernet
    from binas_deploy.supernet.recipe import default_recipe
    from binas_deploy.supernet.store import load_weights, save_weights
    from binas_deploy.supernet.training import Training

    if threads is not None:
        torch.set_num_threads(threads)
    dataset = load_dataset(data, resolution=space.resolution, classes=space.classes, seed=seed)
    recipe = default_recipe(largest_epochs, supernet_epochs, seed=seed, batch=batch)
    torch.manual_seed(seed)
    training = Training(Supernet(space), dataset, recipe, output, device=torch_device(accelerator))
    training.run(progress)
    load_weights(training.supernet, save_weights(training.supernet, output))  # judged as stored: in half precision
    info = _describe(training.supernet, dataset, recipe, output, command, progress)
    info.save(output)
    return info


def _describe(
    supernet: Supernet, dataset: Dataset, recipe: Recipe, output: Path, command: str, progress: Progress
) -> SupernetInfo:
    import torch

    from binas_deploy.documents import file_sha256, timestamp
    from binas_deploy.supernet.evaluate import recalibrated, top1
    from binas_deploy.supernet.network import extract

    supernet = supernet.cpu()
    figures = []
    with progress.task("test accuracy of the extremes", 2) as advance:
        for arch in (supernet.space.largest(), supernet.space.smallest()):
            figures.append(top1(recalibrated(extract(supernet, arch), dataset), dataset, dataset.test))
            advance(1)
    return SupernetInfo(
        space=supernet.space,
        data=TrainingData(dataset.name, dataset.fingerprint, recipe.seed, dataset.classes, dataset.mean, dataset.std),
        recipe=recipe.to_json(),
        command=command,
        torch_version=torch.__version__,
        created=timestamp(),
        figures=Figures(figures[0], figures[1], len(dataset.test)),
        weights_sha256=file_sha256(output / WEIGHTS_NAME),
    )
