"""The Python of one side of a comparison: this one, or that of another environment."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from binas_deploy.errors import InputError

_OF_THIS_ENVIRONMENT: Final = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")


@dataclass(frozen=True)
class Interpreter:
    """A Python; ``other``: not this one, so nothing of this one's environment is for it."""

    python: str
    other: bool = False

    @classmethod
    def at(cls, path: Path | None) -> Interpreter:
        """The one at ``path``, an executable or the folder of a virtual environment; None is this one.

        Raises:
            InputError: there is none.
        """
        if path is None:
            return cls(sys.executable)
        places = (path, path / "bin" / "python", path / "Scripts" / "python.exe")
        found = next((place for place in places if place.is_file() and os.access(place, os.X_OK)), None)
        if found is None:
            raise InputError(
                f"{path} is no Python: give an interpreter, such as .venv-new/bin/python, or the folder of its "
                "virtual environment."
            )
        # Not resolved: a virtual environment is where its link to the interpreter is.
        return cls(str(found.absolute()), other=True)

    def environment(self) -> dict[str, str]:
        """The variables that its processes get."""
        dropped = _OF_THIS_ENVIRONMENT if self.other else ()
        return {key: value for key, value in os.environ.items() if key not in dropped}
