"""What a call of a network uses, by a sensor of energy. Beside `measure`, and like it knowing the protocols alone.

Networks are visited in rounds, each in a fresh random order. At a visit one runs back to back for a while, and what the
sensor counted meanwhile is shared out among the calls. So the sensor's whole domain counts, idle power and other
programs included: a slow network pays for the time it takes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from binas_deploy.energy import EnergySensor
from binas_deploy.errors import DeviceError, InputError
from binas_deploy.measure import Subject
from binas_deploy.visit import checked_samples

_WARMUP_CALLS: Final = 3
_MOST_CALLS: Final = 1_000_000


@dataclass(frozen=True)
class EnergyTiming:
    """How much to measure: each visit at least ``seconds`` (longer where the sensor asks for it) and ``least_calls``.

    Raises:
        InputError: not positive.
    """

    seconds: float = 0.5
    least_calls: int = 50
    rounds: int = 3

    def __post_init__(self) -> None:
        if min(self.seconds, self.least_calls, self.rounds) <= 0:
            raise InputError("seconds, calls and rounds of measuring energy must be positive.")

    def calls(self, latency_ns: float, sensor: EnergySensor) -> int:
        """How many of this latency make a visit."""
        seconds = max(self.seconds, sensor.least_seconds)
        return min(_MOST_CALLS, max(self.least_calls, math.ceil(seconds * 1e9 / latency_ns)))


def measure_energy(
    subjects: Sequence[Subject],
    sensor: EnergySensor,
    *,
    timing: EnergyTiming,
    rng: np.random.Generator,
    on_visit: Callable[[int], None] | None = None,
) -> dict[str, tuple[int, ...]]:
    """What one call uses in nJ by the subject's key, of each round; ``on_visit(1)`` is called after each visit.

    Raises:
        DeviceError: the device or the sensor fails, or the sensor does not count.
    """
    found: dict[str, list[int]] = {subject.key: [] for subject in subjects}
    calls: dict[str, int] = {}
    with sensor:
        for _ in range(timing.rounds):
            for index in rng.permutation(len(subjects)):
                subject = subjects[index]
                found[subject.key].append(_visit(subject, sensor, timing, calls))
                if on_visit is not None:
                    on_visit(1)
    return {key: tuple(row) for key, row in found.items()}


def _visit(subject: Subject, sensor: EnergySensor, timing: EnergyTiming, calls: dict[str, int]) -> int:
    with subject.open() as executable:
        latency = int(checked_samples(executable, subject.feed, _WARMUP_CALLS, subject.key).min())
        # Settled once, as in `measure`: slow moments are to get no fewer calls than fast ones.
        count = calls.setdefault(subject.key, timing.calls(latency, sensor))
        begin = sensor.joules()
        checked_samples(executable, subject.feed, count, subject.key)
        used = round((sensor.joules() - begin) * 1e9 / count)
    if used < 1:
        raise DeviceError(
            f"{subject.key}: {sensor.name} counted nothing over {count} calls. It stands still, as some virtual "
            "machines show it, or moves too slowly to measure by."
        )
    return used
