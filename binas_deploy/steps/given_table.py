"""A latency table that a person names, checked as if it had been found."""

from __future__ import annotations

from pathlib import Path

from binas_deploy.conditions import Conditions
from binas_deploy.devices import DeviceSpec, device_conditions, open_device
from binas_deploy.errors import DeviceError, MissingExtraError
from binas_deploy.space import SearchSpace
from binas_deploy.table import LatencyTable


def given_table(path: Path, space: SearchSpace, spec: DeviceSpec, *, threads: int | None = None) -> LatencyTable:
    """The table at ``path``, of this space and of the conditions read from the device.

    Of a device that is not at hand only what its file asks for is compared: name, precision, batch and threads.

    Raises:
        InputError: no such file.
        DocumentError: it is damaged.
        MismatchError: it is of another space or other conditions.
    """
    table = LatencyTable.load(path)
    table.require_space(space, str(path))
    table.conditions.require_same_identity(_wanted(spec.with_threads(threads), table), str(path))
    return table


def _wanted(spec: DeviceSpec, table: LatencyTable) -> Conditions:
    try:
        return device_conditions(spec, open_device(spec).facts())
    except (DeviceError, MissingExtraError):
        asked = {"device": spec.name, "precision": spec.precision, "batch": spec.batch, "threads": spec.threads}
        asked["cadence"] = spec.cadence
        return Conditions({**table.conditions.identity, **{key: str(value) for key, value in asked.items()}}, {})
