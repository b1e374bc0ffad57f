"""The device protocol: compile an ONNX model, load it, run it, time it. Nothing else crosses."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from binas_deploy.model import OnnxModel

if TYPE_CHECKING:
    from binas_deploy.quality import Machine

Feed = Mapping[str, NDArray[np.float32]]


class Precision(str, Enum):
    """Arithmetic of the compiled program."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"


@dataclass(frozen=True)
class DeviceFacts:
    """Read from the machine. A difference in ``identity`` makes latencies incomparable, in ``context`` it warns."""

    identity: Mapping[str, str]
    context: Mapping[str, str]
    simulated: bool = False


@dataclass(frozen=True)
class Program:
    """A compiled model: bytes or a file that `Device.load` takes, with the hash of the model it came from."""

    model_sha256: str
    payload: bytes = field(repr=False)


class Executable(Protocol):
    """A loaded program."""

    def run(self, feed: Feed) -> dict[str, NDArray[np.float32]]:
        """Outputs by name."""
        ...

    def sample(self, feed: Feed, *, count: int) -> NDArray[np.int64]:
        """Latency of each of ``count`` back-to-back calls in ns, shape (count,), device-synchronised."""
        ...


class Device(Protocol):
    """A machine and runtime that networks run on. Constructing one touches no hardware.

    `compile` and `load` may be called from several threads at once; where a runtime cannot do that, its adapter locks.
    """

    def facts(self) -> DeviceFacts:
        """What is there, read and not typed in."""
        ...

    def compile(self, model: OnnxModel, *, precision: Precision, cache: Path) -> Program:
        """Compile for this device. Raises DeviceError when it cannot."""
        ...

    def load(self, program: Program) -> AbstractContextManager[Executable]:
        """Load for execution; leaving the context frees everything."""
        ...


@runtime_checkable
class RunsElsewhere(Protocol):
    """A device whose networks run on another machine than this process."""

    def machine(self) -> Machine:
        """That machine, for whoever would look at this one."""
        ...
