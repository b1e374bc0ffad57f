"""The protocol of an energy sensor."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol


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
