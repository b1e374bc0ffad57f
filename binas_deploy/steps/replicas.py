"""One replica of a measurement: a fresh process that loads a bundle's network and measures it beside anchors.

What is fresh depends on where the network runs: a process here; a new session, so a new process of the agent, on
another machine; only a new measuring run where a process of ours would change nothing, since the device starts one for
each visit by itself or no clock measures.
"""

from __future__ import annotations

import contextlib
import importlib
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeVar

import numpy as np

from binas_deploy.adapters.base import Device, DeviceFacts, Executable, Feed, Precision, RunsElsewhere, SelfWarming
from binas_deploy.adapters.registry import find_adapter
from binas_deploy.bundle.cold_start import ColdStart
from binas_deploy.bundle.latency import Replication
from binas_deploy.bundle.manifest import Manifest, StatedAnchor
from binas_deploy.devices import DeviceSpec, open_device
from binas_deploy.kernel_files import text_of
from binas_deploy.measure import Measured, Subject, Timing, measure
from binas_deploy.steady import Samples
from binas_deploy.steps.formats import network_program
from binas_deploy.steps.fresh import in_fresh_process
from binas_deploy.steps.subjects import network_key, network_model, open_subjects

T = TypeVar("T")
NETWORK_KEY: Final = "network"
_MEDIAN: Final = 0.5
_PEAK: Final = re.compile(r"^VmHWM:\s*(\d+) kB$", re.MULTILINE)


@dataclass(frozen=True)
class Job:
    """What every replica is told.

    Each round visits the network ``visits`` times and one of every ``stride`` anchors, others in each replica.
    ``quantile``: of the calls, what is to be shown. ``cold``: whether how it begins is measured too.
    """

    bundle: Path
    spec: DeviceSpec
    timing: Timing
    visits: int
    stride: int
    quantile: float
    seed: int
    cold: bool = False


@dataclass(frozen=True)
class Replica:
    """``samples``: of the network, (n,) in ns, in the order taken; ``value_ns``: their quantile that is to be shown.

    ``anchors``: steady latency in ns by key; ``noise``: what the run says of the host.
    """

    samples: Samples
    value_ns: int
    anchors: dict[str, int]
    rounds: int
    noise: dict[str, str]
    cold: ColdStart | None


def replication_of(device: Device, facts: DeviceFacts, executable: Executable) -> Replication:
    """What can be begun anew for each replica."""
    if facts.simulated or isinstance(executable, SelfWarming):
        return "run"
    return "session" if isinstance(device, RunsElsewhere) else "process"


@contextlib.contextmanager
def replicator(kind: Replication, device: Device, job: Job) -> Iterator[Callable[[int], Replica]]:
    """Gives the replica of a number from 0 on.

    Raises:
        DeviceError: the device fails, or a process dies.
    """
    if kind == "run":
        manifest = Manifest.load(job.bundle)
        with _network(device, job, manifest) as (network, _), _anchors(device, manifest, manifest.anchors) as anchors:
            yield lambda index: _measured(job, index, [network, *_chosen(anchors, job, index)])
    elif kind == "session":
        yield lambda index: replica(job, index)
    else:
        yield lambda index: in_fresh_process(replica, replace(job, cold=True), index)


def replica(job: Job, index: int) -> Replica:
    """Measured in this process, on a device that is opened for it.

    Raises:
        DocumentError: the bundle was changed meanwhile.
        DeviceError: the device failed.
    """
    manifest, device = Manifest.load(job.bundle), open_device(job.spec)
    chosen = _chosen(manifest.anchors, job, index)
    with _network(device, job, manifest) as (network, cold), _anchors(device, manifest, chosen) as anchors:
        return replace(_measured(job, index, [network, *anchors]), cold=cold)


def _chosen(anchors: Sequence[T], job: Job, index: int) -> Sequence[T]:
    return anchors[index % job.stride :: job.stride]


@contextlib.contextmanager
def _network(device: Device, job: Job, manifest: Manifest) -> Iterator[tuple[Subject, ColdStart | None]]:
    """The bundle's network, loaded, and how that began."""
    imported = _import_ns(job.spec.adapter) if job.cold else 0
    program = network_program(device, job.spec, job.bundle, manifest)
    shape = (manifest.asked.batch, *manifest.input.shape[1:])
    feed: Feed = {manifest.input.name: np.random.default_rng(0).standard_normal(shape, dtype=np.float32)}
    before, begin = _resident_bytes() if job.cold else 0, time.perf_counter_ns()
    with device.load(program) as executable:
        load_ns, cold = time.perf_counter_ns() - begin, None
        if job.cold:
            first = _first_ns(executable, feed)
            cold = ColdStart(imported, load_ns, first, before, max(before, _peak_bytes()))
        machine = device.machine() if isinstance(device, RunsElsewhere) else None
        yield Subject(NETWORK_KEY, lambda: contextlib.nullcontext(executable), feed, machine), cold


def _anchors(
    device: Device, manifest: Manifest, chosen: Sequence[StatedAnchor]
) -> contextlib.AbstractContextManager[list[Subject]]:
    """With the weights that they were first measured with."""
    space, batch = manifest.space, manifest.asked.batch
    models = {network_key(space, anchor.arch): network_model(space, anchor.arch, batch) for anchor in chosen}
    return open_subjects(device, models, precision=Precision(manifest.asked.precision))


def _measured(job: Job, index: int, subjects: Sequence[Subject]) -> Replica:
    network = subjects[0]
    # The same loaded network under further keys: it is visited several times a round, at random places.
    again = [replace(network, key=f"{NETWORK_KEY} {number}") for number in range(2, job.visits + 1)]
    rng = np.random.default_rng([job.seed, index])
    measured = measure([*subjects, *again], timing=job.timing, rng=rng, sentinel=NETWORK_KEY)
    keys = [NETWORK_KEY, *(subject.key for subject in again)]
    samples = np.concatenate([samples[key] for samples in measured.rounds for key in keys])
    return Replica(
        samples=samples,
        value_ns=_value_ns(measured, samples, keys, job.quantile),
        anchors={subject.key: measured.steady[subject.key].ns for subject in subjects[1:]},
        rounds=measured.quality.rounds,
        noise=measured.quality.summary(),
        cold=None,
    )


def _value_ns(measured: Measured, samples: Samples, keys: Sequence[str], quantile: float) -> int:
    """The steady location for the median, as tables have it; for what lies further out all calls as they came.

    Steadying takes the host's slow moments out of a tail that is made of them.
    """
    if quantile == _MEDIAN:
        return round(float(np.median([measured.steady[key].ns for key in keys])))
    return round(float(np.quantile(samples, quantile)))


def _import_ns(adapter: str) -> int:
    begin = time.perf_counter_ns()
    importlib.import_module(find_adapter(adapter).package)
    return time.perf_counter_ns() - begin


def _first_ns(executable: Executable, feed: Feed) -> int:
    begin = time.perf_counter_ns()
    executable.sample(feed, count=1)
    return time.perf_counter_ns() - begin


def _resident_bytes() -> int:
    import psutil  # here: only measuring needs it

    return int(psutil.Process().memory_info().rss)


def _peak_bytes() -> int:
    """The most that this process had so far. Where that is not to be read: what it has now, which is less.

    Not `resource.getrusage`: there a process inherits the peak of the one that started it.
    """
    found = _PEAK.search(text_of(Path("/proc/self/status")))
    return int(found.group(1)) * 1024 if found else _resident_bytes()
