"""Quantisers by name, one library a file; a library is imported when something is quantised."""

from __future__ import annotations

import importlib
from typing import Final

from binas_deploy.errors import InputError
from binas_deploy.quantisers.base import Quantiser

_HOME: Final = {
    "nncf": ("binas_deploy.quantisers.nncf", "NncfQuantiser"),
    "onnxruntime": ("binas_deploy.quantisers.onnxruntime", "OnnxRuntimeQuantiser"),
}


def quantiser_names() -> list[str]:
    """Every quantiser that `quantiser` knows."""
    return sorted(_HOME)


def quantiser(name: str) -> Quantiser:
    """The quantiser of that name.

    Raises:
        InputError: unknown name.
    """
    if name not in _HOME:
        raise InputError(f"unknown quantiser {name!r}. Known: {', '.join(quantiser_names())}.")
    module, attribute = _HOME[name]
    found: Quantiser = getattr(importlib.import_module(module), attribute)()
    return found
