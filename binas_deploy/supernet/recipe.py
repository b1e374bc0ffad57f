"""What decides a training run besides the data: phases, rates, distillation, seed."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Phase:
    """Some epochs of one kind. ``low_resolution_epochs`` come first, at 3/4 of the resolution (progressive
    learning, arXiv 2104.00298); ``sandwich`` adds the smallest and ``random_paths`` networks to the largest.
    """

    name: str
    epochs: int
    learning_rate: float
    low_resolution_epochs: int = 0
    sandwich: bool = False
    random_paths: int = 1


@dataclass(frozen=True)
class Recipe:
    """The whole run: the largest network first, then all of them (sandwich rule with in-place distillation)."""

    phases: tuple[Phase, ...]
    batch: int = 128
    momentum: float = 0.9
    weight_decay: float = 2e-4
    label_smoothing: float = 0.05
    ema_decay: float = 0.998
    dropout: float = 0.0
    warmup_fraction: float = 0.1
    seed: int = 0

    def learning_rate(self, phase: Phase, progress: float) -> float:
        """Linear warm-up, then a cosine to zero; ``progress`` of the phase in 0..1."""
        if progress < self.warmup_fraction:
            return phase.learning_rate * (0.05 + 0.95 * progress / self.warmup_fraction)
        rest = (progress - self.warmup_fraction) / (1 - self.warmup_fraction)
        return phase.learning_rate * 0.5 * (1 + math.cos(math.pi * rest))

    def average_decay(self, step: int) -> float:
        """Decay of the weight average at a step of a phase: short at first, so that a short run has an average too."""
        return min(self.ema_decay, (1 + step) / (10 + step))

    def to_json(self) -> dict[str, Any]:
        """The document form."""
        return {**asdict(self), "phases": [asdict(phase) for phase in self.phases]}


def default_recipe(largest_epochs: int, supernet_epochs: int, *, seed: int, batch: int = 128) -> Recipe:
    """Heaviest network first, then the sandwich; 60 and 50 % of their epochs at 3/4 resolution, at half the price."""
    scale = batch / 128
    low_largest, low_supernet = round(0.6 * largest_epochs), round(0.5 * supernet_epochs)
    return Recipe(
        phases=(
            Phase("largest", largest_epochs, 0.2 * scale, low_largest),
            Phase("supernet", supernet_epochs, 0.06 * scale, low_supernet, sandwich=True),
        ),
        batch=batch,
        seed=seed,
    )
