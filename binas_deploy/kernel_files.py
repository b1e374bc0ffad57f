"""The small files in which the kernel shows what it knows of the machine (/proc, /sys)."""

from __future__ import annotations

from pathlib import Path

from binas_deploy.errors import DeviceError


def text_of(path: Path) -> str:
    """What a file says, '' where there is none or it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip().strip("\0")
    except OSError:
        return ""


def number_of(path: Path) -> int:
    """The whole number in a file.

    Raises:
        PermissionError: it may not be read.
        DeviceError: anything else is wrong with it.
    """
    try:
        return int(path.read_text(encoding="utf-8", errors="replace"))
    except PermissionError:
        raise
    except (OSError, ValueError) as error:
        raise DeviceError(f"{path}: a whole number was expected there: {error}") from error
