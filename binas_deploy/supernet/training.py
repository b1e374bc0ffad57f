"""The training loop: any phase, resumable from any kill, one CSV line for each epoch."""

from __future__ import annotations

import csv
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from binas_deploy.data.base import Dataset
from binas_deploy.documents import writing
from binas_deploy.progress import SILENT, Progress
from binas_deploy.space import Architecture
from binas_deploy.supernet.augment import Batches
from binas_deploy.supernet.checkpoint import Position, load_checkpoint, save_checkpoint
from binas_deploy.supernet.evaluate import recalibrated, top1
from binas_deploy.supernet.network import Supernet, extract, sort_channels
from binas_deploy.supernet.recipe import Phase, Recipe

CHECKPOINT_SECONDS = 60.0
_LOG_FIELDS = ("phase", "epoch", "loss", "learning_rate", "seconds", "largest_top1", "smallest_top1")


class Training:
    """One run in a folder. Constructing it continues from the folder's checkpoint when there is one.

    Raises:
        MismatchError: the checkpoint belongs to another space, recipe or data set.
    """

    def __init__(
        self, supernet: Supernet, data: Dataset, recipe: Recipe, folder: Path, *, device: torch.device
    ) -> None:
        self.space, self.data, self.recipe, self.folder, self.device = supernet.space, data, recipe, folder, device
        self.largest, self.smallest = self.space.largest(), self.space.smallest()
        self.supernet = supernet.to(device).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]  # torch's overloads lack it
        self.ema = {name: tensor.detach().clone() for name, tensor in self.supernet.state_dict().items()}
        self.batches = Batches(data.train, data.mean, data.std, batch=recipe.batch, seed=recipe.seed, device=device)
        self.momentum: dict[str, Tensor] = {}
        identity = {"space": self.space.fingerprint, "data": data.fingerprint, "recipe": str(recipe.to_json())}
        self.identity = identity
        self.position = load_checkpoint(folder, identity, self.supernet, self.ema, self.momentum) or Position(0, 0, 0)

    def run(self, progress: Progress = SILENT) -> None:
        """Train to the end; returns at once when the run is complete. The supernet then holds the averaged weights."""
        for index in range(self.position.phase, len(self.recipe.phases)):
            phase = self.recipe.phases[index]
            optimizer = self._optimizer()
            for epoch in range(self.position.epoch, phase.epochs):
                self._epoch(index, phase, epoch, optimizer, progress)
            self._finish_phase(index, phase)
        self.supernet.load_state_dict(self.ema)

    def _epoch(self, index: int, phase: Phase, epoch: int, optimizer: torch.optim.SGD, progress: Progress) -> None:
        resolution = self.space.resolution
        size = resolution * 3 // 4 if epoch < phase.low_resolution_epochs else resolution
        key = index * 10_000 + epoch  # an epoch's own random stream
        order = self.batches.order(key)
        start, saved, losses = time.monotonic(), time.monotonic(), []
        with progress.task(f"{phase.name} {epoch + 1}/{phase.epochs}", self.batches.steps) as advance:
            advance(self.position.step)
            for step in range(self.position.step, self.batches.steps):
                self._set_rate(optimizer, phase, (epoch + step / self.batches.steps) / phase.epochs)
                images, labels = self.batches.get(key, step, order, size)
                rng = np.random.default_rng((self.recipe.seed, key, step))
                decay = self.recipe.average_decay(epoch * self.batches.steps + step)
                losses.append(self._step(phase, images, labels, optimizer, rng, decay))
                advance(1)
                if time.monotonic() - saved > CHECKPOINT_SECONDS:
                    self._save(Position(index, epoch, step + 1), optimizer)
                    saved = time.monotonic()
        self._save(Position(index, epoch + 1, 0), optimizer)
        self._log(phase, epoch, losses, optimizer.param_groups[0]["lr"], time.monotonic() - start)

    def _step(
        self,
        phase: Phase,
        images: Tensor,
        labels: Tensor,
        optimizer: torch.optim.SGD,
        rng: np.random.Generator,
        decay: float,
    ) -> float:
        optimizer.zero_grad()
        logits = self.supernet(images, self.largest)
        loss = F.cross_entropy(logits, labels, label_smoothing=self.recipe.label_smoothing)
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own annotation is missing
        if phase.sandwich:
            soft = logits.detach().softmax(1)
            for arch in self._students(phase, rng):
                F.cross_entropy(self.supernet(images, arch), soft).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        with torch.no_grad():
            live = self.supernet.state_dict()
            torch._foreach_lerp_(list(self.ema.values()), [live[name] for name in self.ema], 1 - decay)
        return float(loss.detach())

    def _students(self, phase: Phase, rng: np.random.Generator) -> Iterator[Architecture]:
        """The sandwich rule without its largest network, which is the teacher."""
        yield self.smallest
        for _ in range(phase.random_paths):
            yield self.space.sample(rng)

    def _optimizer(self) -> torch.optim.SGD:
        """SGD with Nesterov momentum; no decay on vectors and depthwise kernels; momentum from the checkpoint."""
        named = dict(self.supernet.named_parameters())
        decayed = [name for name, p in named.items() if p.ndim > 1 and p.shape[1] > 1]
        groups = [
            {"params": [named[name] for name in decayed], "weight_decay": self.recipe.weight_decay},
            {"params": [p for name, p in named.items() if name not in set(decayed)], "weight_decay": 0.0},
        ]
        optimizer = torch.optim.SGD(groups, lr=0.1, momentum=self.recipe.momentum, nesterov=True)
        for name, buffer in self.momentum.items():
            optimizer.state[named[name]]["momentum_buffer"] = buffer
        self.momentum = {}
        return optimizer

    def _set_rate(self, optimizer: torch.optim.SGD, phase: Phase, progress: float) -> None:
        for group in optimizer.param_groups:
            group["lr"] = self.recipe.learning_rate(phase, progress)

    def _finish_phase(self, index: int, phase: Phase) -> None:
        """Go on from the averaged weights, with channels sorted before they are shared."""
        self.supernet.load_state_dict(self.ema)
        if not phase.sandwich:
            sort_channels(self.supernet)
        self.ema = {name: tensor.detach().clone() for name, tensor in self.supernet.state_dict().items()}
        self._save(Position(index + 1, 0, 0), None)

    def _save(self, position: Position, optimizer: torch.optim.SGD | None) -> None:
        momentum = {}
        if optimizer is not None:
            for name, parameter in self.supernet.named_parameters():
                buffer = optimizer.state.get(parameter, {}).get("momentum_buffer")
                if buffer is not None:
                    momentum[name] = buffer
        save_checkpoint(self.folder, position, self.identity, self.supernet, self.ema, momentum)
        self.position = position

    def _log(self, phase: Phase, epoch: int, losses: list[float], rate: float, seconds: float) -> None:
        shadow = Supernet(self.space)
        shadow.load_state_dict(self.ema)
        figures = []
        for arch in (self.largest, self.smallest):
            network = recalibrated(extract(shadow, arch), self.data, images=2000)
            figures.append(f"{top1(network, self.data, self.data.holdout):.2f}")
        row = [phase.name, epoch + 1, f"{np.mean(losses):.4f}" if losses else "", f"{rate:.5f}", f"{seconds:.1f}"]
        path = self.folder / "log.csv"
        with writing(path), path.open("a", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            if stream.tell() == 0:
                writer.writerow(_LOG_FIELDS)
            writer.writerow([*row, *figures])
