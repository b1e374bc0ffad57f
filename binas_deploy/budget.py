"""`Budget`: the most that a network may take, with its unit, statistic, cadence and device."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from binas_deploy.conditions import BACK_TO_BACK
from binas_deploy.errors import InputError
from binas_deploy.quantities import Quantity, parse_quantity

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_TIME_UNITS: Final = (("s", 10**10, 9), ("ms", 10**5, 6), ("us", 10**3, 3), ("ns", 0, 0))


@dataclass(frozen=True)
class Budget:
    """``quantity``: a time; ``device``: where it holds, None is the only device in question."""

    quantity: Quantity
    device: str | None = None
    statistic: str = "median"
    cadence: str = BACK_TO_BACK

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Read ``30ms``, or ``cpu=30ms`` for one device among several. ``str()`` is the inverse.

        Raises:
            InputError: no unit, not a time, zero, negative or absurd, or a malformed device name.
        """
        device, separator, amount = text.rpartition("=")
        if separator and not _NAME.fullmatch(device.strip()):
            raise InputError(
                f"{text!r}: {device!r} is not a device name (a-z, 0-9, '_' and '-'). "
                "Write a budget as 30ms or cpu=30ms."
            )
        return cls(parse_quantity(amount), device.strip() or None)

    @property
    def limit_ns(self) -> int:
        """The limit in integer nanoseconds."""
        return self.quantity.amount

    @property
    def text(self) -> str:
        """The exact amount without the device, such as ``0.5ms``; fit for a file name."""
        unit, _, digits = next(row for row in _TIME_UNITS if self.limit_ns >= row[1])
        return f"{Decimal(self.limit_ns).scaleb(-digits).normalize():f}{unit}"

    def __str__(self) -> str:
        return f"{self.device}={self.text}" if self.device else self.text
