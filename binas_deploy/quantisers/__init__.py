"""Quantisers by name, one library a file; a library is imported when something is quantised."""

from __future__ import annotations

from typing import Final

from binas_deploy.by_name import made
from binas_deploy.quantisers.base import Quantiser

_HOME: Final = {
    "nncf": "binas_deploy.quantisers.nncf:NncfQuantiser",
    "onnxruntime": "binas_deploy.quantisers.onnxruntime:OnnxRuntimeQuantiser",
}


def quantiser_names() -> list[str]:
    """Every quantiser that `quantiser` knows."""
    return sorted(_HOME)


def quantiser(name: str) -> Quantiser:
    """The quantiser of that name.

    Raises:
        InputError: unknown name.
    """
    found: Quantiser = made("quantiser", name, _HOME)
    return found
