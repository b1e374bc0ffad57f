"""Training batches: shuffled, randomly cropped and flipped, normalised, a function of (seed, phase, step) alone."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from binas_deploy.data.base import Split


class Batches:
    """Augmented batches of a split, reproducible at any step, so that training resumes where it stopped.

    ``pad`` pixels of reflection are added before a random crop of the original size; half of the images are mirrored.
    """

    def __init__(
        self,
        split: Split,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        *,
        batch: int,
        seed: int,
        device: torch.device,
        pad: int = 4,
    ) -> None:
        self.images = torch.from_numpy(split.images).to(device).permute(0, 2, 3, 1).contiguous()
        self.labels = torch.from_numpy(split.labels).to(device)
        self.mean = torch.tensor(mean, device=device).mul(255)
        self.std = torch.tensor(std, device=device).mul(255)
        self.batch, self.seed, self.pad, self.device = batch, seed, pad, device
        self.steps = len(split) // batch

    def order(self, epoch: int) -> Tensor:
        """The permutation of the images in one epoch."""
        return torch.randperm(len(self.labels), generator=self._generator(epoch, 0)).to(self.device)

    def get(self, epoch: int, step: int, order: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """Images (batch, c, size, size) float32 and labels (batch,) of one step of an epoch."""
        chosen = order[step * self.batch : (step + 1) * self.batch]
        images = self._crop(self.images[chosen], self._generator(epoch, step + 1))
        images = ((images.float() - self.mean) / self.std).permute(0, 3, 1, 2)
        if size != images.shape[-1]:
            images = F.interpolate(images, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
        return images, self.labels[chosen]

    def _crop(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Random shift by up to ``pad`` pixels and random mirroring of (n, h, w, c) images."""
        n, side = images.shape[0], images.shape[1]
        shift = torch.randint(-self.pad, self.pad + 1, (2, n, 1), generator=generator).to(self.device)
        mirror = torch.rand((n, 1), generator=generator).to(self.device) < 0.5
        line = torch.arange(side, device=self.device)
        rows, columns = _reflect(line + shift[0], side), _reflect(line + shift[1], side)
        columns = torch.where(mirror, columns.flip(1), columns)
        index = torch.arange(n, device=self.device)[:, None, None]
        return images[index, rows[:, :, None], columns[:, None, :]]

    def _generator(self, epoch: int, step: int) -> torch.Generator:
        generator = torch.Generator()
        generator.manual_seed((self.seed * 1_000_003 + epoch) * 1_000_003 + step)
        return generator


def _reflect(index: Tensor, side: int) -> Tensor:
    """Indices outside 0..side-1 mirrored back at the border (the border pixel is not repeated)."""
    index = index.abs()
    return torch.where(index >= side, 2 * side - 2 - index, index)
