"""The protocol of an energy sensor, and reading the small files in which the kernel shows what it measures."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Protocol

from binas_deploy.errors import DeviceError


class EnergySensor(Protocol):
    """A meter of one domain (a CPU package, a GPU, a board). It counts while it is open, as a context manager."""

    @property
    def name(self) -> str:
        """What it measures, such as ``RAPL package-0``."""
        ...

    @property
    def least_seconds(self) -> float:
        """How long to look at it, so that the steps in which it counts hardly show."""
        ...

    def joules(self) -> float:
        """All that its domain used since some moment.

        Raises:
            DeviceError: it cannot be read any more.
        """
        ...

    def __enter__(self) -> object: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def text_of(path: Path) -> str:
    """What a file says, '' where there is none or it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
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
