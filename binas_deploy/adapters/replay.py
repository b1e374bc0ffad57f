"""Recorded latencies played back, for tests and demonstrations. All that is made of them is marked.

It answers only for models that were recorded, and computes no outputs.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from binas_deploy.adapters.base import DeviceFacts, Feed, Precision, Program
from binas_deploy.adapters.recording import Recording
from binas_deploy.conditions import RECORDED_KEY
from binas_deploy.errors import DeviceError, InputError, NoOutputsError
from binas_deploy.model import OnnxModel
from binas_deploy.table import LatencyTable

_ASKED_ELSEWHERE: Final = ("device", "precision", "batch", "cadence")
"""Of a table's identity: what the device's file states and not the device."""
_SHOWN_DIGITS: Final = 12


class ReplayDevice:
    """Plays back the document at ``recording`` (see `Recording`), or the raw samples of the latency table at ``table``.

    ``threads`` must be those of the recording.

    Raises:
        InputError: neither or both are given.
    """

    def __init__(self, threads: int, *, recording: str = "", table: str = "") -> None:
        if bool(recording) == bool(table):
            raise InputError("a replay device needs 'recording' or 'table' in the [options] of its file, not both.")
        self._threads = threads
        self._path, self._is_table = Path(recording or table), bool(table)
        self._heads: dict[str, int] = {}
        self._lock = threading.RLock()

    def facts(self) -> DeviceFacts:
        """Those of the device that was recorded, and which recording it is; marked.

        Raises:
            InputError, DocumentError: no such file, or a damaged one.
            InputError: it was recorded with another number of threads.
        """
        found = self._recording
        recorded = found.identity.get("threads", str(self._threads))
        if recorded != str(self._threads):
            raise InputError(f"{self._path}: recorded with threads = {recorded}, {self._threads} asked.")
        kept = {key: text for key, text in found.identity.items() if key not in _ASKED_ELSEWHERE}
        return DeviceFacts({**kept, RECORDED_KEY: found.digest[:_SHOWN_DIGITS]}, found.context, simulated=True)

    def compile(self, model: OnnxModel, *, precision: Precision, cache: Path) -> Program:
        """The model as it is.

        Raises:
            InputError: a precision that was not recorded.
            DeviceError: the model was not recorded; names it.
        """
        recorded = self._recording.identity.get("precision", Precision.FP32.value)
        if precision.value != recorded:
            raise InputError(f"precision '{precision.value}': {self._path} was recorded in {recorded}.")
        if model.sha256 not in self._recording.samples:
            raise DeviceError(
                f"model {model.sha256[:_SHOWN_DIGITS]} (input {model.input_shape}) was not recorded: {self._path} has "
                f"{len(self._recording.samples)} others. Measure it on the device itself."
            )
        return Program(model.sha256, model.payload)

    @contextmanager
    def load(self, program: Program) -> Iterator[_Played]:
        """Ready to be sampled."""
        yield _Played(self, program.model_sha256)

    def next_samples(self, model_sha256: str, count: int) -> NDArray[np.int64]:
        """The next ``count`` latencies of a model in ns, shape (count,), in the order recorded; after the last, again
        from the first.

        Raises:
            DeviceError: the model was not recorded.
        """
        row = self._recording.samples.get(model_sha256)
        if row is None:
            raise DeviceError(f"model {model_sha256[:_SHOWN_DIGITS]} was not recorded in {self._path}.")
        with self._lock:
            head = self._heads.get(model_sha256, 0)
            self._heads[model_sha256] = head + count
        places = itertools.islice(itertools.cycle(range(len(row))), head % len(row), head % len(row) + count)
        return row[list(places)]

    @property
    def _recording(self) -> Recording:
        with self._lock:  # building a table's models takes some seconds, and `compile` comes from several threads
            return self._read

    @cached_property
    def _read(self) -> Recording:
        return Recording.of_table(LatencyTable.load(self._path)) if self._is_table else Recording.load(self._path)


class _Played:
    """One recorded model."""

    def __init__(self, device: ReplayDevice, model_sha256: str) -> None:
        self._device = device
        self._model_sha256 = model_sha256

    def run(self, feed: Feed) -> dict[str, NDArray[np.float32]]:
        raise NoOutputsError("latencies are played back from a recording, so what the network computes is not checked")

    def sample(self, feed: Feed, *, count: int) -> NDArray[np.int64]:
        return self._device.next_samples(self._model_sha256, count)
