"""Energy of a table's whole networks: measured after the latencies, and kept with them."""

from __future__ import annotations

from typing import Final

import numpy as np

from binas_deploy.adapters.base import Device, SensesEnergy
from binas_deploy.conditions import BACK_TO_BACK
from binas_deploy.devices import DeviceSpec
from binas_deploy.documents import timestamp
from binas_deploy.energy import EnergySensor, find_sensor
from binas_deploy.errors import DeviceError, EnvironmentFault, InputError
from binas_deploy.measure_energy import EnergyTiming, measure_energy
from binas_deploy.progress import SILENT, Progress
from binas_deploy.steps.subjects import anchor_subjects, network_key
from binas_deploy.table import LatencyTable, MeasuringRun
from binas_deploy.table.energy import with_energy

USUAL: Final = EnergyTiming()


def energy_sensor(spec: DeviceSpec, device: Device) -> EnergySensor:
    """The sensor that measures what ``device`` of ``spec`` uses, on the machine that it runs on.

    Raises:
        EnvironmentFault: a permission or a package is missing; the message says what to do.
        DeviceError: the device is not at hand, or there is no sensor, and why.
        InputError: networks are to be called in a rhythm.
    """
    require_back_to_back(spec.cadence)
    try:
        return device.sensor() if isinstance(device, SensesEnergy) else _sensor_here(device)
    except (DeviceError, EnvironmentFault) as error:
        advice = "Or profile without --energy: a table then holds latency alone."
        raise type(error)(f"device '{spec.name}': energy is not measured: {error} {advice}") from error


def _sensor_here(device: Device) -> EnergySensor:
    identity = device.facts().identity
    return find_sensor(provider=identity.get("provider", ""), model=identity.get("device_model", ""))


def require_back_to_back(cadence: str) -> None:
    """Energy is measured in no other rhythm.

    Raises:
        InputError: it is asked for.
    """
    if cadence != BACK_TO_BACK:
        raise InputError(
            f"energy is measured with calls {BACK_TO_BACK}, not {cadence}: what a call uses in a rhythm is mostly "
            "waiting. Profile it without --period, or without --energy."
        )


def add_energy(
    table: LatencyTable,
    device: Device,
    sensor: EnergySensor,
    *,
    timing: EnergyTiming = USUAL,
    seed: int = 0,
    progress: Progress = SILENT,
) -> LatencyTable:
    """The table with what each of its whole networks uses on ``device``, measured now in a run of its own.

    Raises:
        DeviceError: the device or the sensor failed.
        InputError: the table is of calls in a rhythm.
    """
    require_back_to_back(table.conditions.identity["cadence"])
    number, started, context = 1 + max(run.id for run in table.runs), timestamp(), device.facts().context
    label = f"energy of {len(table.anchors)} networks"
    rng = np.random.default_rng([seed, number])
    with (
        anchor_subjects(table, device) as subjects,
        progress.task(label, timing.rounds * len(subjects)) as advance,
    ):
        found = measure_energy(subjects, sensor, timing=timing, rng=rng, on_visit=advance)
    run = MeasuringRun(number, started, {**context, "energy_sensor": sensor.name})
    visits = {anchor.arch: found[network_key(table.space, anchor.arch)] for anchor in table.anchors}
    return with_energy(table, sensor.name, visits, run)
