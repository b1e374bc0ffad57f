"""Implementations by name; the module of one is imported when it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from binas_deploy.errors import InputError


def made(what: str, name: str, homes: Mapping[str, str], more: str = "") -> Any:
    """What the class in ``homes`` ('module:Class' by name) makes, called without arguments.

    ``what`` it is and ``more`` that may be said of the names are words of the error.

    Raises:
        InputError: unknown name.
    """
    if name not in homes:
        raise InputError(f"unknown {what} {name!r}. Known: {', '.join(sorted(homes))}{more}.")
    module, _, attribute = homes[name].partition(":")
    return getattr(importlib.import_module(module), attribute)()
