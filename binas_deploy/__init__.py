"""Search a network for your own device, within the budget you type, and verify it by measuring.

Names are loaded when they are first used: ``import binas_deploy`` itself needs nothing but Python.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from binas_deploy.accuracy import AccuracyModel
    from binas_deploy.budget import Budget
    from binas_deploy.space import Architecture, SearchSpace
    from binas_deploy.space_file import load_space
    from binas_deploy.steps.check import check
    from binas_deploy.steps.deploy import deploy
    from binas_deploy.steps.export import export
    from binas_deploy.steps.loading import load
    from binas_deploy.steps.profile import profile
    from binas_deploy.steps.search import search
    from binas_deploy.steps.verify import verify
    from binas_deploy.table import LatencyTable

__version__ = "0.1.0"

__all__ = [
    "AccuracyModel",
    "Architecture",
    "Budget",
    "LatencyTable",
    "SearchSpace",
    "__version__",
    "check",
    "deploy",
    "export",
    "load",
    "load_space",
    "profile",
    "search",
    "verify",
]

_HOME: Final = {
    "AccuracyModel": "accuracy",
    "Architecture": "space",
    "Budget": "budget",
    "LatencyTable": "table",
    "SearchSpace": "space",
    "check": "steps.check",
    "deploy": "steps.deploy",
    "export": "steps.export",
    "load": "steps.loading",
    "load_space": "space_file",
    "profile": "steps.profile",
    "search": "steps.search",
    "verify": "steps.verify",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
