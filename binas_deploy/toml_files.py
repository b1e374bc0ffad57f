"""TOML files that people write (spaces, devices): one way to read them, one set of complaints.

Each begins with ``format = "binas-deploy/<kind>"`` and ``version = 1``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from binas_deploy.documents import os_reason, shown
from binas_deploy.errors import DocumentError, EnvironmentFault, InputError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def read_toml_text(path: Path, kind: str) -> str:
    """The text of a file of that kind.

    Raises:
        InputError: no such file.
        DocumentError: not text.
        EnvironmentFault: it exists but cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such {kind} file.") from error
    except UnicodeDecodeError as error:
        raise DocumentError(f"{path}: not a text file; a {kind} is TOML in UTF-8.") from error
    except OSError as error:
        raise EnvironmentFault(f"cannot read {path}: {os_reason(error)}.") from error


def parse_toml(text: str, path: Path, kind: str, version: int) -> dict[str, Any]:
    """The content of a file of that kind, at most ``version``; ``path`` is named in errors.

    Raises:
        DocumentError: not TOML, of another kind, without a version, or newer than this tool.
    """
    try:
        raw: dict[str, Any] = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits and deep nesting, too
        raise DocumentError(f"{path}: not valid TOML: {error}") from error
    for key in ("format", "version"):
        if key not in raw:
            start = f'format = "binas-deploy/{kind}" and version = {version}'
            raise DocumentError(f"{path}: {key}: missing. A {kind} file starts with {start}.")
    found = raw["version"]
    if isinstance(found, int) and found > version:
        raise DocumentError(f"{path}: version {shown(found)}, this tool reads {version}. Upgrade binas-deploy.")
    return raw
