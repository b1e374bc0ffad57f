"""Checkpoints of a training run: one safetensors file, replaced atomically, never a pickle."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import safetensors
from safetensors.torch import save
from torch import Tensor, nn

from binas_deploy.documents import write_atomic
from binas_deploy.errors import DocumentError, MismatchError

CHECKPOINT_NAME = "checkpoint.safetensors"


@dataclass(frozen=True)
class Position:
    """Where a run stands: completed phases, epochs of the current one, and steps of the current epoch."""

    phase: int
    epoch: int
    step: int


def save_checkpoint(
    folder: Path,
    position: Position,
    identity: dict[str, str],
    supernet: nn.Module,
    ema: dict[str, Tensor],
    momentum: dict[str, Tensor],
) -> None:
    """Write everything that resuming needs."""
    groups = {"live": supernet.state_dict(), "ema": ema, "momentum": momentum}
    tensors = {
        f"{group}/{name}": tensor.detach().cpu().contiguous()
        for group, row in groups.items()
        for name, tensor in row.items()
    }
    metadata = {"position": json.dumps(asdict(position)), "identity": json.dumps(identity)}
    write_atomic(folder / CHECKPOINT_NAME, save(tensors, metadata))


def load_checkpoint(
    folder: Path, identity: dict[str, str], supernet: nn.Module, ema: dict[str, Tensor], momentum: dict[str, Tensor]
) -> Position | None:
    """Fill the three from the folder's checkpoint; None when there is none.

    Raises:
        MismatchError: it belongs to another space, recipe or data set.
        DocumentError: it is damaged.
    """
    path = folder / CHECKPOINT_NAME
    if not path.exists():
        return None
    try:
        with safetensors.safe_open(path, "pt") as stream:
            metadata = stream.metadata() or {}
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118  # it is no mapping
        position, found = Position(**json.loads(metadata["position"])), json.loads(metadata["identity"])
    except (safetensors.SafetensorError, KeyError, ValueError, TypeError, OSError) as error:
        raise DocumentError(f"{path}: not a usable checkpoint ({error}). Delete it to start again.") from error
    different = [key for key in identity if found.get(key) != identity[key]]
    if different:
        raise MismatchError(
            f"{path} was made with another {' and '.join(different)}. Choose another --output, or delete the folder."
        )
    _restore(supernet, ema, momentum, tensors)
    return position


def _restore(
    supernet: nn.Module, ema: dict[str, Tensor], momentum: dict[str, Tensor], tensors: dict[str, Tensor]
) -> None:
    live = supernet.state_dict()
    for name, tensor in live.items():
        tensor.copy_(tensors[f"live/{name}"])
        ema[name].copy_(tensors[f"ema/{name}"])
        if f"momentum/{name}" in tensors:
            # A copy: what is read is a view of the file, which the next checkpoint replaces.
            momentum[name] = tensors[f"momentum/{name}"].clone().to(tensor.device)
