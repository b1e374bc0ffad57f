"""Recalibrating batch normalisation and measuring accuracy of one network."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from binas_deploy.data.base import Dataset, Split, normalise
from binas_deploy.supernet.modules import BatchNorm
from binas_deploy.supernet.network import Network

_BATCH = 250


def recalibrated(network: Network, data: Dataset, *, images: int = 4000) -> Network:
    """``network`` with running statistics collected anew on the first ``images`` *training* images."""
    norms = [module for module in network.modules() if isinstance(module, BatchNorm)]
    network.train()
    for norm in norms:
        norm.collecting = 1
    count = min(images, len(data.train))
    with torch.no_grad():
        for start in range(0, count - count % _BATCH or count, _BATCH):
            network(_batch(network, data, data.train, start))
    for norm in norms:
        norm.collecting = 0
    return network.eval()


def predictions(network: Network, data: Dataset, split: Split) -> np.ndarray:
    """Class index of each image, shape (n,)."""
    with torch.inference_mode():
        parts = [network(_batch(network, data, split, start)).argmax(1) for start in range(0, len(split), _BATCH)]
    result: np.ndarray = torch.cat(parts).cpu().numpy()
    return result


def top1(network: Network, data: Dataset, split: Split) -> float:
    """Top-1 accuracy in percent."""
    return float(100 * np.mean(predictions(network, data, split) == split.labels))


def _batch(network: Network, data: Dataset, split: Split, start: int) -> Tensor:
    images = torch.from_numpy(normalise(split.images[start : start + _BATCH], data.mean, data.std))
    return images.to(network.head.classifier.weight.device, memory_format=torch.channels_last)
