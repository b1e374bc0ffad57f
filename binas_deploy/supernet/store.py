"""Trained supernets on disk: safetensors in half precision beside a `SupernetInfo`."""

from __future__ import annotations

from pathlib import Path

import safetensors
import torch
from safetensors.torch import load_file, save

from binas_deploy.documents import write_atomic
from binas_deploy.errors import DocumentError
from binas_deploy.supernet.network import Supernet
from binas_deploy.supernet_info import WEIGHTS_NAME, SupernetInfo

_UNSHARED = ("running_mean", "running_var")


def save_weights(supernet: Supernet, folder: Path) -> Path:
    """Write the shared weights in half precision; running statistics belong to no network and stay out."""
    tensors = {
        name: tensor.detach().to(device="cpu", dtype=torch.float16).contiguous()
        for name, tensor in supernet.state_dict().items()
        if not name.endswith(_UNSHARED)
    }
    path = folder / WEIGHTS_NAME
    write_atomic(path, save(tensors))
    return path


def load_supernet(folder: Path) -> tuple[Supernet, SupernetInfo]:
    """A supernet in float32, evaluation mode, with what is known of it.

    Raises:
        InputError: no finished supernet there.
        DocumentError: weights that are damaged or do not fit the space.
    """
    info = SupernetInfo.load(folder)
    return load_weights(Supernet(info.space), info.checked_weights(folder)), info


def load_weights(supernet: Supernet, path: Path) -> Supernet:
    """Fill ``supernet`` from a weights file.

    Raises:
        DocumentError: not safetensors, or tensors missing, unexpected or of another shape.
    """
    try:
        stored = load_file(path)
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise DocumentError(f"{path}: not a readable safetensors file ({error}).") from error
    wanted = {name: tensor for name, tensor in supernet.state_dict().items() if not name.endswith(_UNSHARED)}
    wrong = sorted(wanted.keys() ^ stored.keys())
    wrong += [name for name, tensor in wanted.items() if name in stored and stored[name].shape != tensor.shape]
    if wrong:
        raise DocumentError(f"{path}: tensors do not fit space '{supernet.space.name}': {', '.join(wrong[:5])}.")
    for name, tensor in wanted.items():
        tensor.copy_(stored[name])
    return supernet.eval()
