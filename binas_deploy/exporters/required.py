"""The one way in which exporters take a file of theirs."""

from __future__ import annotations

from collections.abc import Mapping

from binas_deploy.errors import InputError


def required(what: str, files: Mapping[str, bytes], *names: str) -> bytes:
    """The first of ``names`` that is among the files of the format ``what``.

    Raises:
        InputError: none is.
    """
    for name in names:
        if name in files:
            return files[name]
    found = ", ".join(sorted(files)) or "none"
    raise InputError(f"format '{what}': needs the file {' or '.join(names)}, found {found}. Export the bundle again.")
