"""Names and times as a table's document has them, and the file that a table stands in."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from binas_deploy.conditions import Conditions
from binas_deploy.errors import InputError

NAME_PATTERN: Final = r"^[a-z0-9][a-z0-9_-]{0,63}$"
TIME_PATTERN: Final = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)$"


def require_name(text: str, what: str) -> None:
    """Raises InputError unless ``text`` is lower-case letters, digits, '_' and '-', so that it can name a file."""
    if not re.fullmatch(NAME_PATTERN, text):
        raise InputError(f"{what}: {text!r} is not a name: use a-z, 0-9, '_' and '-', at most 64 of them.")


def require_time(text: str, what: str) -> None:
    """Raises InputError unless ``text`` is an ISO 8601 time with its offset from UTC."""
    if not re.fullmatch(TIME_PATTERN, text):
        raise InputError(f"{what}: {text!r} is not a time such as 2026-11-22T09:30:00+00:00.")


def table_path(folder: Path, device: str, space: str, conditions: Conditions) -> Path:
    """Where a table stands: ``<folder>/<device>/<space>/<precision>-b<batch>-t<threads>-<8 hex of identity>.json``.

    Raises:
        InputError: a part that is not lower-case letters, digits, '_' and '-'.
    """
    parts = {key: conditions.identity[key] for key in ("precision", "batch", "threads")}
    for what, part in {"device": device, "space": space, **parts}.items():
        require_name(part, what)
    name = f"{parts['precision']}-b{parts['batch']}-t{parts['threads']}-{conditions.identity_hash}.json"
    return folder / device / space / name
