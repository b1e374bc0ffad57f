"""The border to torch, which only training, estimating and exporting need."""

from __future__ import annotations

from types import ModuleType

from binas_deploy.errors import MissingExtraError


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
