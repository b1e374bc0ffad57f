"""The border to torch, which only training, estimating and exporting need."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING

from binas_deploy.errors import EnvironmentFault, InputError, MissingExtraError

if TYPE_CHECKING:
    import torch


def import_torch(purpose: str) -> ModuleType:
    """torch, or the line that installs it.

    Raises:
        MissingExtraError: torch is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise MissingExtraError("torch", "torch", purpose) from error
    return torch


def torch_device(accelerator: str) -> torch.device:
    """The device that 'auto' (CUDA when there is one), 'cpu' or 'cuda' names.

    Raises:
        InputError: another word.
        EnvironmentFault: it is absent.
    """
    import torch

    if accelerator not in ("auto", "cpu", "cuda"):
        raise InputError(f"unknown accelerator {accelerator!r}. Known: auto, cpu, cuda.")
    name = accelerator if accelerator != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise EnvironmentFault("--accelerator cuda: torch sees no CUDA device here. Use cpu, or install torch for it.")
    return torch.device(name)
