"""Networks measured in a process of their own: what differs from process to process is part of what users get."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from binas_deploy.adapters.base import Precision
from binas_deploy.devices import DeviceSpec, open_device
from binas_deploy.errors import DeviceError
from binas_deploy.measure import Timing, measure
from binas_deploy.quality import Quality
from binas_deploy.space import Architecture, SearchSpace
from binas_deploy.steps.networks import Network, middle_network
from binas_deploy.steps.subjects import network_key, network_model, open_subjects

T = TypeVar("T")


@dataclass(frozen=True)
class MeasuredNetworks:
    """``latencies_ns``: steady, of each network in the order asked; ``quality``: of the run."""

    latencies_ns: tuple[float, ...]
    quality: Quality


def measured_in_fresh_process(
    space: SearchSpace, spec: DeviceSpec, archs: Sequence[Architecture], timing: Timing, seed: int
) -> MeasuredNetworks:
    """Networks with random weights, interleaved, in a new process.

    Raises:
        DeviceError: the device failed, or the process died.
    """
    return in_fresh_process(measured_networks, space, spec, tuple(archs), timing, seed)


def measured_networks(
    space: SearchSpace, spec: DeviceSpec, archs: Sequence[Architecture], timing: Timing, seed: int
) -> MeasuredNetworks:
    """The same in this process.

    Raises:
        DeviceError: the device failed.
    """
    keys = [network_key(space, arch) for arch in archs]
    models = {key: network_model(space, arch, spec.batch) for key, arch in zip(keys, archs, strict=True)}
    middle = middle_network(space, [Network(arch, "any") for arch in archs])
    rng = np.random.default_rng(seed)
    with open_subjects(open_device(spec), models, precision=Precision(spec.precision)) as subjects:
        measured = measure(subjects, timing=timing, rng=rng, sentinel=network_key(space, middle))
    return MeasuredNetworks(tuple(float(measured.steady[key].ns) for key in keys), measured.quality)


def in_fresh_process(function: Callable[..., T], *arguments: object) -> T:
    """What ``function``, one that a new process can import, gives for ``arguments`` in a process of its own.

    Raises:
        DeviceError: the process died. What the function raises comes through.
    """
    # "spawn", not "fork": nothing of this process (threads, caches, memory layout) is to be in the new one.
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(max_workers=1, mp_context=context) as pool:
            return pool.submit(function, *arguments).result()
    except BrokenProcessPool as error:
        raise DeviceError(
            "a process that measured died without a word; it may have run out of memory. Free some, or measure less."
        ) from error
