"""`Budget`: the most that a network may take of a resource; a latency or energy with the device it holds on."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from binas_deploy.conditions import BACK_TO_BACK
from binas_deploy.errors import InputError
from binas_deploy.quantities import Quantity, parse_quantity

LATENCY: Final = "latency"
ENERGY: Final = "energy"
RESOURCES: Final = {
    LATENCY: "time",
    "params": "count",
    "macs": "count",
    "weights": "size",
    "memory": "size",
    ENERGY: "energy",
}
"""What can be limited, and the kind of quantity that limits it. No device may be called like one."""
MEASURED: Final = (LATENCY, ENERGY)
"""What depends on the device; the others are computed."""
_JOULES: Final = "J"
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


@dataclass(frozen=True)
class Budget:
    """At most ``quantity`` of ``resource``. ``device``: where a latency or an energy (of one call) holds, None is the
    only one in question.

    ``statistic`` and ``cadence``: of which latency; ``confidence``: with which it is to hold, so that a search
    bounds it from above; None takes the prediction as it is.

    Raises:
        InputError: an unknown resource, a quantity of another kind, or a device for what holds on every device.
    """

    quantity: Quantity
    device: str | None = None
    statistic: str = "median"
    cadence: str = BACK_TO_BACK
    resource: str = LATENCY
    confidence: float | None = None

    def __post_init__(self) -> None:
        if self.resource not in RESOURCES:
            raise InputError(f"unknown resource {self.resource!r}. Known: {', '.join(RESOURCES)}.")
        needed = RESOURCES[self.resource]
        if self.quantity.kind != needed:
            raise InputError(
                f"{self.quantity}: a budget of {self.resource} is of kind {needed}, not {self.quantity.kind}."
            )
        if self.device is not None and self.resource not in MEASURED:
            raise InputError(f"a budget of {self.resource} holds on every device; leave out '{self.device}'.")

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Read ``30ms``, ``5mJ``, ``cpu=30ms`` for one device of several, or ``macs=8M``. ``str()`` is the inverse.

        Raises:
            InputError: no unit, another kind of unit, zero, negative or absurd, or a malformed name.
        """
        before, separator, amount = text.rpartition("=")
        name = before.strip()
        if separator and not _NAME.fullmatch(name):
            raise InputError(
                f"{text!r}: {before!r} is not a device name (a-z, 0-9, '_' and '-'). "
                "Write a budget as 30ms or cpu=30ms, or of another resource as macs=8M."
            )
        if name in RESOURCES:
            return cls(parse_quantity(amount, RESOURCES[name]), resource=name)
        resource = ENERGY if amount.rstrip().endswith(_JOULES) else LATENCY  # the unit tells the two apart
        return cls(parse_quantity(amount, RESOURCES[resource]), name or None, resource=resource)

    @property
    def limit(self) -> int:
        """The limit in base units: ns, bytes, nJ or a count."""
        return self.quantity.amount

    @property
    def text(self) -> str:
        """The exact amount without the device or resource, such as ``0.5ms``; fit for a file name."""
        return self.quantity.text

    def __str__(self) -> str:
        name = self.device or ("" if self.resource == LATENCY else self.resource)
        return f"{name}={self.text}" if name else self.text
