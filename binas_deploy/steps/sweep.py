"""Throughput and latency of a bundle's network at other batch sizes, and with several callers at once.

Another batch is the same network and weights with another first dimension, compiled anew. Each caller has the network
loaded for itself and calls it in a thread of its own; what runs a network holds no lock of Python's meanwhile.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from binas_deploy.adapters.base import Device, Executable, Feed, Precision, Program, RunsElsewhere
from binas_deploy.bundle.latency import Replication
from binas_deploy.bundle.manifest import Manifest, read_model
from binas_deploy.bundle.sweep import Point
from binas_deploy.cache import compiled_cache
from binas_deploy.devices import DeviceSpec, open_device
from binas_deploy.errors import InputError
from binas_deploy.steps.formats import network_program
from binas_deploy.steps.fresh import in_fresh_process
from binas_deploy.surgery import with_batch
from binas_deploy.visit import checked_samples

MOST_BATCH: Final = 65_536
MOST_CALLERS: Final = 256
_SECONDS: Final = 1.0
"""Of each point."""
_CHUNK_S: Final = 0.05
_WARMUP_CALLS: Final = 3


@dataclass(frozen=True)
class SweepJob:
    """What a sweep is told: every one of ``batches`` with every one of ``callers``.

    Raises:
        InputError: none, or out of range.
    """

    bundle: Path
    spec: DeviceSpec
    batches: tuple[int, ...]
    callers: tuple[int, ...]
    seconds: float = _SECONDS

    def __post_init__(self) -> None:
        for name, values, most in (("batch", self.batches, MOST_BATCH), ("concurrency", self.callers, MOST_CALLERS)):
            if not values or not all(1 <= value <= most for value in values):
                raise InputError(f"{name} {', '.join(map(str, values)) or '(none)'}: give numbers from 1 to {most}.")


def sweep(job: SweepJob, replication: Replication, device: Device) -> tuple[Point, ...]:
    """In a fresh process, on a new session, or on ``device``.

    Raises:
        InputError: several callers of a device that answers one at a time, or a batch that the network cannot have.
        DeviceError: the device fails.
    """
    if isinstance(device, RunsElsewhere) and max(job.callers) > 1:
        raise InputError(
            f"concurrency {max(job.callers)}: a device on another machine answers one call at a time. Give 1, or "
            "verify there."
        )
    if replication == "process":
        return in_fresh_process(swept, job)
    return swept(job, device if replication == "run" else None)


def swept(job: SweepJob, device: Device | None = None) -> tuple[Point, ...]:
    """The same in this process; ``device``: None opens a new one.

    Raises:
        InputError, DeviceError: as `sweep`.
    """
    opened, manifest = device or open_device(job.spec), Manifest.load(job.bundle)
    return tuple(
        _point(opened, program, (batch, *manifest.input.shape[1:]), callers, job.seconds, manifest.input.name)
        for batch in job.batches
        for program in [_program(opened, job, manifest, batch)]
        for callers in job.callers
    )


def _program(device: Device, job: SweepJob, manifest: Manifest, batch: int) -> Program:
    """The stored one for its own batch; for another one, compiled anew."""
    if batch == manifest.asked.batch:
        return network_program(device, job.spec, job.bundle, manifest)
    model = with_batch(read_model(job.bundle, manifest), batch)
    return device.compile(model, precision=Precision(manifest.asked.precision), cache=compiled_cache())


def _point(device: Device, program: Program, shape: tuple[int, ...], callers: int, seconds: float, name: str) -> Point:
    rng, barrier = np.random.default_rng(0), threading.Barrier(callers)
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(callers) as pool:
        loaded = [stack.enter_context(device.load(program)) for _ in range(callers)]
        feeds = [{name: rng.standard_normal(shape, dtype=np.float32)} for _ in loaded]
        pairs = list(zip(loaded, feeds, strict=True))
        counts = [_chunk(executable, feed) for executable, feed in pairs]
        calls = [pool.submit(_called, *pair, n, seconds, barrier) for pair, n in zip(pairs, counts, strict=True)]
        found = [call.result() for call in calls]
    samples = np.concatenate([samples for samples, _, _ in found])
    wall = max(end for _, _, end in found) - min(begin for _, begin, _ in found)
    median, p95 = (round(float(value)) for value in np.quantile(samples, [0.5, 0.95]))
    return Point(shape[0], callers, int(samples.size), max(1, wall), median, p95)


def _chunk(executable: Executable, feed: Feed) -> int:
    """How many calls between two looks at the clock; it is warm after this."""
    latency = int(np.median(checked_samples(executable, feed, _WARMUP_CALLS, "network")))
    return max(1, int(1e9 * _CHUNK_S / latency))


def _called(
    executable: Executable, feed: Feed, count: int, seconds: float, barrier: threading.Barrier
) -> tuple[NDArray[np.int64], int, int]:
    """(latencies, when the first began, when the last ended), all in ns; every caller begins at once."""
    barrier.wait()
    found: list[NDArray[np.int64]] = []
    begin = time.perf_counter_ns()
    while not found or time.perf_counter_ns() - begin < 1e9 * seconds:
        found.append(checked_samples(executable, feed, count, "network"))
    return np.concatenate(found), begin, time.perf_counter_ns()


def numbers(text: str, what: str) -> tuple[int, ...]:
    """Read ``1,2,4``.

    Raises:
        InputError: no whole numbers.
    """
    parts: Sequence[str] = [part.strip() for part in text.split(",")]
    if not all(part.isdigit() for part in parts):
        raise InputError(f"{what} {text!r}: give whole numbers with commas between, such as 1,2,4.")
    return tuple(dict.fromkeys(int(part) for part in parts))
