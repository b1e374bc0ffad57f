"""A device that the user's own command times: a microcontroller, a phone, an NPU, an old board.

The command gets a model and prints latencies in a unit that the device's file declares; one call of `sample` is one
run of it. It warms up by itself.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from binas_deploy.adapters.base import DeviceFacts, Precision, Program
from binas_deploy.adapters.command.facts import read_facts
from binas_deploy.adapters.command.loaded import Loaded
from binas_deploy.adapters.command.options import read_options
from binas_deploy.adapters.command.places import LocalPlace, Place, SshPlace
from binas_deploy.adapters.command.prepared import Preparing
from binas_deploy.errors import InputError
from binas_deploy.model import OnnxModel


@dataclass(frozen=True)
class CommandProgram(Program):
    """``payload`` is the file that the command gets; ``precision`` and ``output_shape`` are the model's."""

    precision: str = Precision.FP32.value
    output_shape: tuple[int, ...] = ()


class CommandDevice:
    """``threads`` is passed on as ``{threads}``; the options are those of `CommandOptions`.

    Raises:
        InputError: an option is unknown, missing or malformed.
    """

    def __init__(self, threads: int, **options: Any) -> None:
        if threads < 1:
            raise InputError(f"threads = {threads}: a device runs on at least 1 thread.")
        self._threads = threads
        self._options = asked = read_options(options)
        self._place: Place = (
            SshPlace(asked.host, asked.folder, asked.timeout_s) if asked.host else LocalPlace(asked.folder)
        )
        self._identity: Mapping[str, str] = {}
        self._lock = threading.Lock()

    def facts(self) -> DeviceFacts:
        """What the device's file states or its facts command tells, marked so; the rest is read.

        Raises:
            DeviceError: a program or the host is not there, or the facts command fails.
        """
        return read_facts(self._options, self._place, self._threads)

    def compile(self, model: OnnxModel, *, precision: Precision, cache: Path) -> Program:
        """The model as it is, or what the prepare command makes of it; that is kept in ``cache``.

        Raises:
            InputError: a precision that the command does not compute in.
            DeviceError: the prepare command fails.
        """
        self._options.require_precision(precision)
        payload = self._prepared(model, precision.value, cache)
        return CommandProgram(model.sha256, payload, precision.value, model.output_shape)

    @contextmanager
    def load(self, program: Program) -> Iterator[Loaded]:
        """The program's file where the commands run; it is removed at the end.

        Raises:
            DeviceError: the device cannot be reached, or refuses the file.
            InputError: a program of another device.
        """
        if not isinstance(program, CommandProgram):
            raise InputError("a command device loads what it compiled itself.")
        suffix = self._options.suffix if self._options.prepare else ".onnx"
        with self._place.folder() as folder:
            path = f"{folder}/model{suffix}"
            self._place.put(path, program.payload)
            values = {**self._values(program.precision), "model": path, "prepared": path, "folder": folder}
            yield Loaded(self._place, self._options, values, program.output_shape)

    def _prepared(self, model: OnnxModel, precision: str, cache: Path) -> bytes:
        words = self._options.preparing()
        if words is None:
            return model.payload
        with self._lock:  # one at a time: builders that time their candidates would disturb one another
            self._identity = self._identity or self.facts().identity
            preparing = Preparing(self._place, words, self._options.suffix, self._options.timeout_s)
            return preparing.payload(model, self._values(precision), self._identity, cache)

    def _values(self, precision: str) -> dict[str, str]:
        return {"threads": str(self._threads), "precision": precision}
