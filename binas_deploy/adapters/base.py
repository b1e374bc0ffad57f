"""The device protocol: compile an ONNX model, load it, run it, time it. Nothing else crosses."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from binas_deploy.model import OnnxModel

if TYPE_CHECKING:
    from binas_deploy.energy import EnergySensor
    from binas_deploy.quality import Machine

Feed = Mapping[str, NDArray[np.float32]]
PrecisionName = Literal["fp32", "fp16", "int8"]
"""Those of `Precision`, as files and messages write them."""
QUANTISER_KEY: Final = "quantiser"
"""What an identity has in int8 where networks come quantised: by which of `quantisers`."""
OptionValue = bool | int | float | str
Option = OptionValue | list[str] | dict[str, OptionValue]
"""A list is a command's words, or the like; a table within ``[options]`` holds what is handed on by name, such as a
provider's own options. Adapters take either only where they say so (`registry`)."""


class Precision(str, Enum):
    """Arithmetic of the compiled program."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"


@dataclass(frozen=True)
class DeviceFacts:
    """Read from the machine. A difference in ``identity`` makes latencies incomparable, in ``context`` it warns.

    ``simulated``: no clock measures, since latencies are computed or were recorded before. All that is made of them is
    marked.
    ``advice``: what a person should do before measuring, each in a line with its command.
    """

    identity: Mapping[str, str]
    context: Mapping[str, str]
    simulated: bool = False
    advice: tuple[str, ...] = ()


@dataclass(frozen=True)
class Program:
    """A compiled model: bytes or a file that `Device.load` takes, with the hash of the model it came from."""

    model_sha256: str
    payload: bytes = field(repr=False)

    @cached_property
    def sha256(self) -> str:
        """SHA-256 (hex) of the payload: what a verdict binds to."""
        return hashlib.sha256(self.payload).hexdigest()


class Executable(Protocol):
    """A loaded program."""

    def run(self, feed: Feed) -> dict[str, NDArray[np.float32]]:
        """Outputs by name."""
        ...

    def sample(self, feed: Feed, *, count: int) -> NDArray[np.int64]:
        """Latency of each of ``count`` back-to-back calls in ns, shape (count,), device-synchronised."""
        ...


class SelfWarming:
    """Base of an executable whose every `Executable.sample` warms up by itself and then times back-to-back calls.

    A visit then needs no calls before those that count. What runs a process for each is such a one: calls made before
    would warm nothing, and a rhythm between them would be that of the processes.
    """


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
class TakesQuantised(Protocol):
    """A device that runs int8 networks as QuantizeLinear and DequantizeLinear in them say, and quantises none itself.

    ``quantiser`` names what makes such networks for it, one of `quantisers`; '' where it does all itself after all.
    """

    @property
    def quantiser(self) -> str:
        """By its name."""
        ...


@runtime_checkable
class KeepsArtefacts(Protocol):
    """A device whose programs come of more than the networks, such as of what was timed while they were built."""

    def artefacts(self) -> Mapping[str, bytes]:
        """Files to keep beside a table that was measured on it, by suffix."""
        ...


@runtime_checkable
class RunsElsewhere(Protocol):
    """A device whose networks run on another machine than this process."""

    def machine(self) -> Machine:
        """That machine, for whoever would look at this one."""
        ...


@runtime_checkable
class SensesEnergy(Protocol):
    """A device that has its own way to what measures its energy."""

    def sensor(self) -> EnergySensor:
        """What measures there how much energy the device uses.

        Raises:
            DeviceError, EnvironmentFault: nothing does, and why.
        """
        ...
