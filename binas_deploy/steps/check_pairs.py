"""Measuring a comparison: pairs of fresh processes, one of each side, that take turns in random order.

Both processes of a pair are loaded before the first turn; then they alternate, some hundredths of a second each, so
that a host that changes its speed changes it for both: with one turn each, figures of equal programs scattered three
times as much. What differs from process to process of one and the same program, where its memory came to lie for
instance, stays in every pair: that is why there are many, and each gives one figure.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

import numpy as np

from binas_deploy.adapters.base import DeviceFacts
from binas_deploy.bundle.manifest import Manifest
from binas_deploy.conditions import period_of
from binas_deploy.devices import DeviceSpec, device_conditions
from binas_deploy.gate.comparison import Pair, Side, low_ns
from binas_deploy.measure import Timing
from binas_deploy.progress import Advance
from binas_deploy.steady import Samples
from binas_deploy.steps.check_interpreter import Interpreter
from binas_deploy.steps.check_process import Loaded, Payload, Running, Work, started

NETWORK: Final = "network"
TURNS: Final = 20
VISIT_MS: Final = 20.0
WARMUP_MS: Final = 4.0
_CALLS: Final = 4
"""At least so many calls fit into a turn at the rhythm asked."""
_MOST_CALLS: Final = 1024


@dataclass(frozen=True)
class Arm:
    """One side of a comparison as its processes run it."""

    interpreter: Interpreter
    payload: Payload


@dataclass(frozen=True)
class Taken:
    """One pair: what each side loaded, and the samples in ns of each of its turns."""

    base: Loaded
    head: Loaded
    base_turns: tuple[Samples, ...]
    head_turns: tuple[Samples, ...]

    @property
    def pair(self) -> Pair:
        """As a report keeps it."""
        return Pair(tuple(map(low_ns, self.base_turns)), tuple(map(low_ns, self.head_turns)))


def turn_timing(spec: DeviceSpec) -> Timing:
    """How a process times its network on each turn, in the rhythm of ``spec``."""
    period_ms = period_of(spec.cadence) / 1e6
    visit_ms = max(VISIT_MS, _CALLS * period_ms)
    return Timing(warmup_ms=WARMUP_MS, samples_per_visit=_MOST_CALLS, visit_ms=visit_ms, period_ms=period_ms)


def take_pair(spec: DeviceSpec, base: Arm, head: Arm, rng: np.random.Generator) -> Taken:
    """One pair of fresh processes.

    Raises:
        DeviceError, InputError, EnvironmentFault: as `Running.loaded`.
    """
    timing = turn_timing(spec)
    arms = {"base": base, "head": head}
    with ExitStack() as stack:
        running: dict[str, Running] = {}
        for index in rng.permutation(2):  # whose process starts first is drawn as well
            name = ("base", "head")[index]
            work = Work(spec, {NETWORK: arms[name].payload}, timing)
            running[name] = stack.enter_context(started(arms[name].interpreter, work))
        loaded = {name: running[name].loaded for name in arms}
        taken: dict[str, list[Samples]] = {name: [] for name in arms}
        for _ in range(TURNS):
            for index in rng.permutation(2):
                name = ("base", "head")[index]
                taken[name].append(running[name].turn()[NETWORK])
    return Taken(loaded["base"], loaded["head"], tuple(taken["base"]), tuple(taken["head"]))


def side_of(what: str, manifest: Manifest, loaded: Loaded, spec: DeviceSpec) -> Side:
    """A side as a report states it, by what one of its processes said.

    Raises:
        DeviceError: the device leaves out what every device says.
    """
    facts = DeviceFacts(loaded.identity, loaded.context, simulated=loaded.simulated)
    conditions = device_conditions(spec, facts)
    program = loaded.programs[NETWORK]
    return Side(what, manifest.digest, program, loaded.python, conditions, loaded.simulated)


def take_round(
    spec: DeviceSpec, base: Arm, head: Arm, pairs: int, rng: np.random.Generator, advance: Advance
) -> tuple[Taken, ...]:
    """So many pairs, one after the other. Raises as `take_pair`."""
    found = []
    for _ in range(pairs):
        found.append(take_pair(spec, base, head, rng))
        advance(1)
    return tuple(found)
