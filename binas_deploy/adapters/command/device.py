"""A device that the user's own command times: a microcontroller, a phone, an NPU, an old board.

The command gets a model and prints latencies in a unit that the device's file declares; one call of `sample` is one
run of it. It warms up by itself. What is behind it cannot be read from here: the device's file states it, or a command
of its own tells it, and the identity says which.
"""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from binas_deploy.adapters.base import DeviceFacts, Feed, Precision, Program, SelfWarming
from binas_deploy.adapters.command.arrays import packed, unpacked
from binas_deploy.adapters.command.figures import Reading, require_plausible
from binas_deploy.adapters.command.options import STATED_KEYS, CommandOptions, read_options
from binas_deploy.adapters.command.places import LocalPlace, Place, SshPlace
from binas_deploy.adapters.command.prepared import Preparing
from binas_deploy.adapters.command.process import Finished
from binas_deploy.adapters.command.words import Words
from binas_deploy.errors import DeviceError, InputError, NoOutputsError
from binas_deploy.model import INPUT_NAME, OUTPUT_NAME, OnnxModel

STATED: Final = "the device's file"
TOLD: Final = "the facts command"
_OURS: Final = ("provider_options", "threads", "affinity", "stated_by", "device", "precision", "batch", "cadence")
_NO_OUTPUTS: Final = (
    "the device's file has no 'outputs' command: it times networks, and what they compute cannot be checked on it"
)


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
        self._options = read_options(options)
        chosen = self._options
        self._place: Place = (
            SshPlace(chosen.host, chosen.folder, chosen.timeout_s) if chosen.host else LocalPlace(chosen.folder)
        )
        self._lock = threading.Lock()

    def facts(self) -> DeviceFacts:
        """What the device's file states, or its facts command tells; the rest is read.

        Raises:
            DeviceError: the program or the host is not there, or the facts command fails.
        """
        chosen = self._options
        for words in filter(None, (chosen.timing(), chosen.preparing(), chosen.computing(), chosen.telling())):
            self._place.require(words.words[0])
        context = self._place.context()
        telling = chosen.telling()
        told = self._told(telling) if telling else {}
        known, more = _parted(told)
        identity = {name: getattr(chosen, name) for name in STATED_KEYS} | {"provider": chosen.provider} | known
        missing = [name for name in STATED_KEYS if not identity[name]]
        if missing:
            raise DeviceError(
                f"options.facts: its JSON has no {', '.join(missing)}, and the device's file states none."
            )
        set_here = {
            "provider_options": chosen.described(),
            "threads": str(self._threads),
            "affinity": self._place.affinity(),
            "stated_by": TOLD if telling else STATED,
        }
        return DeviceFacts({**identity, **set_here}, {**context, **more})

    def compile(self, model: OnnxModel, *, precision: Precision, cache: Path) -> Program:
        """The model as it is, or what the prepare command makes of it; that is kept in ``cache``.

        Raises:
            InputError: a precision that the command does not compute in.
            DeviceError: the prepare command fails.
        """
        self._options.require_precision(precision)
        words, payload = self._options.preparing(), model.payload
        if words is not None:
            with self._lock:  # one at a time: builders that time their candidates would disturb one another
                preparing = Preparing(self._place, words, self._options.suffix, self._options.timeout_s)
                facts = self.facts().identity
                payload = preparing.payload(model, self._values(precision.value), facts, cache)
        return CommandProgram(model.sha256, payload, precision.value, model.output_shape)

    @contextmanager
    def load(self, program: Program) -> Iterator[_Loaded]:
        """The program's file where the commands run; it is removed at the end.

        Raises:
            DeviceError: the device cannot be reached, or refuses the file.
        """
        given = (
            program if isinstance(program, CommandProgram) else CommandProgram(program.model_sha256, program.payload)
        )
        suffix = self._options.suffix if self._options.prepare else ".onnx"
        with self._place.folder() as folder:
            path = f"{folder}/model{suffix}"
            self._place.put(path, given.payload)
            values = {**self._values(given.precision), "model": path, "prepared": path, "folder": folder}
            yield _Loaded(self._place, self._options, values, given.output_shape)

    def _values(self, precision: str) -> dict[str, str]:
        return {"threads": str(self._threads), "precision": precision}

    def _told(self, words: Words) -> dict[str, Any]:
        done = self._place.run(words.filled({"threads": str(self._threads)}), seconds=self._options.timeout_s)
        done.require_success("options.facts")
        try:
            told = json.loads(done.stdout)
        except (ValueError, RecursionError) as error:
            raise DeviceError(f"options.facts: {done.name} did not print JSON: {error}.") from error
        if not isinstance(told, dict):
            raise DeviceError(f"options.facts: {done.name} printed no JSON object.")
        return told


class _Loaded(SelfWarming):
    """A file that commands take. Each call writes and reads files of its own, so calls may overlap."""

    def __init__(
        self, place: Place, options: CommandOptions, values: Mapping[str, str], output_shape: tuple[int, ...]
    ) -> None:
        self._place = place
        self._options = options
        self._values = values
        self._shape = output_shape
        self._reading = Reading(options.latencies, options.unit, options.key, options.pattern)
        self._numbers = itertools.count()

    def run(self, feed: Feed) -> dict[str, NDArray[np.float32]]:
        """Outputs by name, by the outputs command.

        Raises:
            NoOutputsError: the device's file has none.
            DeviceError: it failed, or wrote no such outputs.
        """
        words = self._options.computing()
        if words is None:
            raise NoOutputsError(_NO_OUTPUTS)
        values = self._with_files(words, feed)
        done = self._done(words, values)
        payload = self._place.get(values["output"])
        if payload is None:
            raise DeviceError(f"options.outputs: {done.name} wrote no file {{output}}{done.said}")
        return {OUTPUT_NAME: unpacked(payload, self._options.arrays, self._shape)}

    def sample(self, feed: Feed, *, count: int) -> NDArray[np.int64]:
        """Latency of each of ``count`` calls in ns, shape (count,): the last ones where the command prints more.

        With ``mean_of`` each is the mean of so many calls, from a run of the command of its own.

        Raises:
            DeviceError: the command failed, or printed too few latencies or such as cannot be.
        """
        calls = self._options.mean_of
        if calls > 1:
            return np.concatenate([self._timed(feed, calls, 1) for _ in range(count)])
        return self._timed(feed, count, count)

    def _timed(self, feed: Feed, calls: int, least: int) -> NDArray[np.int64]:
        words, warmup = self._options.timing(), str(self._options.warmup)
        more = {"count": str(calls + self._options.discard), "warmup": warmup}
        values = {**self._with_files(words, feed), **more}
        done = self._done(words, values)
        found = self._reading.latencies(self._text(words, values, done), done.name)
        if len(found) < least:
            raise DeviceError(f"{done.name} printed {len(found)} latencies, {least} were asked{done.said}")
        require_plausible(found * self._options.mean_of, done.seconds, done.name)
        return found[-least:]

    def _text(self, words: Words, values: Mapping[str, str], done: Finished) -> str:
        printed: bytes | None = getattr(done, self._options.stream)
        if words.uses("report"):
            printed = self._place.get(values["report"])
        if printed is None:
            raise DeviceError(f"options.command: {done.name} wrote no file {{report}}{done.said}")
        return printed.decode("utf-8", "replace")

    def _done(self, words: Words, values: Mapping[str, str]) -> Finished:
        done = self._place.run(words.filled(values), seconds=self._options.timeout_s)
        done.require_success(f"options.{words.option}")
        return done

    def _with_files(self, words: Words, feed: Feed) -> dict[str, str]:
        number, folder = next(self._numbers), self._values["folder"]
        files = {name: f"{folder}/{name}-{number}" for name in ("input", "output", "report")}
        files |= {name: f"{files[name]}.npy" for name in ("input", "output") if self._options.arrays == "npy"}
        if words.uses("input"):
            self._place.put(files["input"], packed(feed[INPUT_NAME], self._options.arrays))
        return {**self._values, **files}


def _parted(told: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
    """Identity and context of what the facts command told, as text. Raises DeviceError where it is none."""
    context = told.get("context", {})
    rest = {name: value for name, value in told.items() if name != "context"}
    ours = sorted(set(rest) & set(_OURS))
    if ours or not isinstance(context, dict):
        raise DeviceError(f"options.facts: {ours[0] if ours else 'context'}: not for the facts command to tell so.")
    return _text(rest), _text(context)


def _text(values: Mapping[str, Any]) -> dict[str, str]:
    wrong = [name for name, value in values.items() if not isinstance(value, str | int | float) or value == ""]
    if wrong:
        raise DeviceError(f"options.facts: {wrong[0]}: a text or a number is needed, found {values[wrong[0]]!r:.80}.")
    return {name: str(value) for name, value in values.items()}
