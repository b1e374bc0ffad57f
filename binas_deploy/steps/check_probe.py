"""One process of a comparison: it loads what it is told to and takes calls when it is its turn.

`check_process` starts it, under the interpreter of one side but with this very code: both sides are measured by the
same lines, and an older or absent binas-deploy over there does not matter. It imports as little as it can, since some
dozens of it are started. It speaks lines of JSON: a request on stdin, what was loaded on stdout, and then for each
further line on stdin, a turn, the samples that it took. Whatever libraries print goes to stderr.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, Final

import numpy as np

from binas_deploy.adapters.base import Device, Executable, Feed, Precision, Program
from binas_deploy.cache import compiled_cache
from binas_deploy.errors import EXIT_INTERNAL, BinasError, DeviceError
from binas_deploy.model import INPUT_NAME, OnnxModel
from binas_deploy.visit import Timing, take_visit

_MOST_ERROR: Final = 2000


def main() -> int:
    """Serve until stdin ends; the exit status is 0 unless something failed."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with answers:
        try:
            for content in served(sys.stdin.buffer):
                _say(answers, content)
        except BinasError as error:
            _say(answers, {"error": str(error)[:_MOST_ERROR], "exit_code": error.exit_code})
            return 1
        except Exception as error:  # noqa: BLE001  the border of this process: the other side says what it was
            text = f"{type(error).__name__}: {error}"[:_MOST_ERROR]
            _say(answers, {"error": text, "exit_code": EXIT_INTERNAL})
            return 1
    return 0


def served(lines: IO[bytes]) -> Iterator[dict[str, Any]]:
    """What is loaded: facts of the device and hashes of programs; then the samples in ns of each turn, by subject.

    Raises:
        DeviceError: the device cannot take one of the subjects, or fails.
    """
    request = json.loads(lines.readline())
    device = _device(request["device"])
    facts = device.facts()
    precision = Precision(request["device"]["precision"])
    with ExitStack() as stack:
        loaded, programs = {}, {}
        for subject in request["subjects"]:
            model = _model(subject)
            program = _program(device, subject, model, precision)
            programs[subject["key"]] = hashlib.sha256(program.payload).hexdigest()
            loaded[subject["key"]] = (stack.enter_context(device.load(program)), _feed(model))
        stated = {"identity": dict(facts.identity), "context": dict(facts.context), "simulated": facts.simulated}
        yield {**stated, "python": platform.python_version(), "programs": programs}
        turns = _Turns(loaded, Timing(**request["timing"]), request["seed"])
        for _ in lines:
            yield {"samples": turns.next()}


def _say(answers: IO[bytes], content: Mapping[str, Any]) -> None:
    answers.write(json.dumps(content).encode() + b"\n")
    answers.flush()


def _device(stated: Mapping[str, Any]) -> Device:
    if stated["ssh"] is None:
        from binas_deploy.adapters.registry import make_device

        return make_device(stated["adapter"], stated["threads"], stated["options"], stated["precision"])
    from binas_deploy.devices import DeviceSpec, open_device  # validates, which takes a quarter of a second to import

    return open_device(DeviceSpec.model_validate(dict(stated)))


def _model(subject: Mapping[str, Any]) -> OnnxModel:
    """Raises DeviceError unless the file holds the bytes that the request names."""
    payload = _read(Path(subject["path"]), subject["sha256"])
    return OnnxModel(payload, tuple(subject["input_shape"]), tuple(subject["output_shape"]))


def _read(path: Path, sha256: str) -> bytes:
    try:
        payload = path.read_bytes()
    except OSError as error:
        raise DeviceError(f"{path}: cannot be read: {error}") from error
    if hashlib.sha256(payload).hexdigest() != sha256:
        raise DeviceError(f"{path}: changed while it was being measured. Check again.")
    return payload


def _program(device: Device, subject: Mapping[str, Any], model: OnnxModel, precision: Precision) -> Program:
    """A stored format as it stands, or what the device makes of the model."""
    if not subject["format"]:
        return device.compile(model, precision=precision, cache=compiled_cache())
    from binas_deploy.exporters.registry import find_exporter  # knows all formats, and few bundles need it

    files = {Path(path).name: _read(Path(path), sha256) for path, sha256 in subject["files"]}
    return find_exporter(subject["format"]).program(model.sha256, files)


def _feed(model: OnnxModel) -> Feed:
    """The same numbers on both sides."""
    return {INPUT_NAME: np.random.default_rng(0).standard_normal(model.input_shape, dtype=np.float32)}


class _Turns:
    """Each turn visits every subject once, in random order; how many calls a visit takes is settled by the first."""

    def __init__(self, loaded: Mapping[str, tuple[Executable, Feed]], timing: Timing, seed: int) -> None:
        self._loaded, self._timing = loaded, timing
        self._rng = np.random.default_rng(seed)
        self._counts: dict[str, int] = {}

    def next(self) -> dict[str, list[int]]:
        """Samples in ns by subject."""
        keys = list(self._loaded)
        return {keys[index]: self._visit(keys[index]) for index in self._rng.permutation(len(keys))}

    def _visit(self, key: str) -> list[int]:
        executable, feed = self._loaded[key]
        samples = take_visit(executable, feed, self._timing, self._counts.get(key), key).samples
        self._counts.setdefault(key, samples.size)
        return [int(sample) for sample in samples]
