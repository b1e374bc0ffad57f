"""What the benchmarks are given: tables, accuracy models, and budgets along a range."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from binas_deploy.accuracy import AccuracyModel
from binas_deploy.devices import DeviceSpec, load_device_spec
from binas_deploy.errors import NotMeasuredError
from binas_deploy.extremes import cheapest, dearest
from binas_deploy.problem import Ints, LinearForm, Resource, SelectionProblem
from binas_deploy.progress import Progress
from binas_deploy.shipped import shipped_accuracy
from binas_deploy.space import SearchSpace
from binas_deploy.steps.profile import profile
from binas_deploy.steps.tables import find_table
from binas_deploy.table import LatencyTable

DEVICE: Final = "cpu"


def one_thread(workspace: Path) -> DeviceSpec:
    """ONNX Runtime on this CPU with one thread."""
    return load_device_spec(DEVICE, workspace).with_threads(1)


def table_of(space: SearchSpace, workspace: Path) -> LatencyTable | None:
    """The table of this machine with one thread, None when there is none."""
    try:
        return find_table(space, one_thread(workspace), workspace=workspace)[1]
    except NotMeasuredError:
        return None


def measured_table(space: SearchSpace, workspace: Path, progress: Progress) -> LatencyTable:
    """The table of this machine with one thread, measured when there is none (a minute or two)."""
    found = table_of(space, workspace)
    return found or profile(space, one_thread(workspace), workspace=workspace, progress=progress)[1]


def accuracy_of(space: SearchSpace, given: Path | None) -> AccuracyModel | None:
    """The accuracy model that is given if it is of this space, else the shipped one, else None."""
    model = AccuracyModel.load(given) if given else None
    if model and model.space.fingerprint == space.fingerprint:
        return model
    return shipped_accuracy(space)


def depths_of(space: SearchSpace) -> tuple[tuple[int, ...], ...]:
    """The allowed depths of each stage."""
    return tuple(stage.depths for stage in space.stages)


def problem(space: SearchSpace, value: LinearForm, cost: LinearForm, limit: int = 0) -> SelectionProblem:
    """The most of ``value`` for a ``cost`` of at most ``limit``."""
    return SelectionProblem(depths_of(space), value, (Resource(DEVICE, cost, limit),))


def along_range(space: SearchSpace, cost: LinearForm, share: float) -> int:
    """The cost at this share of the way from the cheapest network's (0) to the dearest one's (1)."""
    depths = depths_of(space)
    least, most = (cost.of(end(cost, depths), depths) for end in (cheapest, dearest))
    return round(least + share * (most - least))


def macs_cost(space: SearchSpace) -> LinearForm:
    """A stand-in for a latency table: multiply-accumulates."""
    zeros = tuple(np.zeros(len(stage.depths), np.int64) for stage in space.stages)
    option = tuple(tuple(_macs(space, s, j) for j in range(stage.max_depth)) for s, stage in enumerate(space.stages))
    return LinearForm(space.stem.macs + space.head.macs, zeros, option)


def _macs(space: SearchSpace, s: int, j: int) -> Ints:
    options = range(len(space.stages[s].options[j]))
    return np.array([space.block(s, j, c).macs for c in options], dtype=np.int64)
