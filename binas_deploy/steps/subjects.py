"""What profiling times: models compiled, loaded and with an input that their keys determine, ready to be measured."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np

from binas_deploy.adapters.base import Device, Executable, Precision, Program, RunsElsewhere
from binas_deploy.adapters.host import usable_cpus
from binas_deploy.cache import cache_folder, compiled_cache
from binas_deploy.measure import Subject
from binas_deploy.measured_models import network_key, network_model, piece_model, seeded
from binas_deploy.model import INPUT_NAME, OnnxModel
from binas_deploy.progress import SILENT, Progress
from binas_deploy.quality import Machine, ThisMachine
from binas_deploy.quantisers.for_timing import as_compiled
from binas_deploy.table import LatencyTable

__all__ = [
    "anchor_models",
    "anchor_subjects",
    "network_key",
    "network_model",
    "open_subjects",
    "piece_model",
]

_MEMORY_PER_BYTE: Final = 4
"""A loaded model takes its weights, as read and as packed for the kernels, and room for activations."""
_SHARE_OF_MEMORY: Final = 0.5
_FIRST: Final = 4
"""By so many compiled ones the time for all is estimated."""
_LONG_S: Final = 60.0
"""What a person should be told of."""


def anchor_models(table: LatencyTable) -> dict[str, OnnxModel]:
    """The anchors of a table by key, byte for byte as they were measured, to measure them again."""
    batch = int(table.conditions.identity["batch"])
    networks = (anchor.arch for anchor in table.anchors)
    return {network_key(table.space, arch): network_model(table.space, arch, batch) for arch in networks}


@contextlib.contextmanager
def open_subjects(
    device: Device,
    models: Mapping[str, OnnxModel],
    *,
    precision: Precision = Precision.FP32,
    programs: Mapping[str, Program] | None = None,
    progress: Progress = SILENT,
) -> Iterator[list[Subject]]:
    """Each model compiled, as a subject to measure. All stay loaded until the end where memory allows it.

    ``programs``: those of them, by key, that are compiled already, to be loaded as they are. In int8 another model that
    does not say how it is quantised is quantised before, as `for_timing` does it.

    Raises:
        DeviceError: the device cannot take one of them.
    """
    machine, ready = device.machine() if isinstance(device, RunsElsewhere) else None, programs or {}
    with contextlib.ExitStack() as stack:
        keep = stack if _fit_in_memory(models, machine or ThisMachine()) else None

        def subject(key: str) -> Subject:
            model = models[key] if key in ready else as_compiled(device, models[key], precision, cache_folder())
            program = ready.get(key) or device.compile(model, precision=precision, cache=compiled_cache())
            return Subject(key, _opener(device, program, keep), network_feed(key, model), machine)

        # Runtimes optimise a network on one thread: half a second each by OpenVINO, for some hundred of them.
        with ThreadPoolExecutor(usable_cpus()) as pool, progress.task("compiling", len(models)) as advance:
            subjects, begin = [], time.monotonic()
            for opened in pool.map(subject, models):
                subjects.append(opened)
                advance(1)
                if len(subjects) == _FIRST:
                    _note_cost(len(models), time.monotonic() - begin, progress)
        yield subjects


@contextlib.contextmanager
def anchor_subjects(table: LatencyTable, device: Device) -> Iterator[list[Subject]]:
    """The anchors of a table, ready to be measured again on ``device``."""
    precision = Precision(table.conditions.identity["precision"])
    with open_subjects(device, anchor_models(table), precision=precision) as subjects:
        yield subjects


def _note_cost(count: int, first_s: float, progress: Progress) -> None:
    """Where compiling takes minutes, say so as soon as it can be known."""
    seconds = first_s * count / _FIRST
    if seconds >= _LONG_S:
        progress.note(
            f"compiling {count} networks and pieces will take about {seconds / 60:.0f} min, by the first {_FIRST}. "
            "What is compiled stays in the cache where the runtime allows it: after a stop, the same command goes on."
        )


def _opener(
    device: Device, program: Program, stack: contextlib.ExitStack | None
) -> Callable[[], contextlib.AbstractContextManager[Executable]]:
    if stack is None:
        return lambda: device.load(program)
    executable = stack.enter_context(device.load(program))
    return lambda: contextlib.nullcontext(executable)


def network_feed(key: str, model: OnnxModel) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    """The input that a model of that key gets."""
    return {INPUT_NAME: seeded(f"input of {key}").standard_normal(model.input_shape, dtype=np.float32)}


def _fit_in_memory(models: Mapping[str, OnnxModel], machine: Machine) -> bool:
    needed = _MEMORY_PER_BYTE * sum(len(model.payload) for model in models.values())
    return needed < _SHARE_OF_MEMORY * machine.available_memory()
