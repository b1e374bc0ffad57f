"""Recorded latencies by model, as a document, and how they come to be: from a device that runs, or from a table.

Format history of ``binas-deploy/recording``:

1. The first: the identity and context of the device, and of each model (by the SHA-256 of its ONNX bytes) latencies in
   integer ns, in the order taken.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from binas_deploy.adapters.base import Device, DeviceFacts, Executable, Feed, Precision, Program
from binas_deploy.documents import digest, read_document, seal, validation_message, write_document
from binas_deploy.errors import DocumentError
from binas_deploy.measured_models import network_model, piece_model
from binas_deploy.model import OnnxModel
from binas_deploy.table import LatencyTable, measured_pieces

RECORDING_KIND: Final = "recording"
RECORDING_VERSION: Final = 1

_Nanoseconds = Annotated[int, Field(ge=1, le=10**18)]
_Samples = Annotated[list[_Nanoseconds], Field(min_length=1)]
_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class RecordingDocument(BaseModel):
    """The whole document."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    format: str
    version: int
    digest: str
    identity: dict[str, str]
    context: dict[str, str]
    samples: Annotated[dict[_Sha256, _Samples], Field(min_length=1)]


@dataclass(frozen=True)
class Recording:
    """Latencies in ns of each model by its SHA-256, in the order taken, and the device that they are of.

    ``identity`` and ``context`` are those of its facts; ``identity`` may state ``precision`` besides.
    """

    identity: Mapping[str, str]
    context: Mapping[str, str]
    samples: Mapping[str, NDArray[np.int64]]

    @classmethod
    def load(cls, path: Path) -> Recording:
        """Read a recording.

        Raises:
            InputError: no such file.
            DocumentError: truncated, edited by hand, foreign, newer or malformed.
        """
        content = read_document(path, RECORDING_KIND, RECORDING_VERSION)
        try:
            read = RecordingDocument.model_validate(content)
        except ValidationError as error:
            raise DocumentError(validation_message(path, error)) from error
        rows = {sha: np.array(row, dtype=np.int64) for sha, row in read.samples.items()}
        return cls(read.identity, read.context, rows)

    @classmethod
    def of_table(cls, table: LatencyTable) -> Recording:
        """The raw samples that a table keeps, of all its pieces and whole networks."""
        conditions, batch = table.conditions, int(table.conditions.identity["batch"])
        pieces = {
            piece_model(piece, batch).sha256: table.pieces[piece.key].samples_ns
            for piece in measured_pieces(table.space)
            if piece.key in table.pieces
        }
        networks = {
            network_model(table.space, anchor.arch, batch).sha256: anchor.measurement.samples_ns
            for anchor in table.anchors
        }
        return cls(conditions.identity, conditions.context, pieces | networks)

    def save(self, path: Path) -> None:
        """Write the document atomically.

        Raises:
            EnvironmentFault: no permission, no space, or the folder cannot be made.
        """
        write_document(path, seal(RECORDING_KIND, RECORDING_VERSION, self._content()))

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the content."""
        return digest(self._content())

    def _content(self) -> dict[str, Any]:
        rows = {sha: row.tolist() for sha, row in self.samples.items()}
        return {"identity": dict(self.identity), "context": dict(self.context), "samples": rows}


class Recorder:
    """A device that does all as ``device`` does, and keeps every latency it gives."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._kept: dict[str, list[NDArray[np.int64]]] = {}
        self._precision = Precision.FP32.value
        self._lock = threading.Lock()

    def facts(self) -> DeviceFacts:
        """As of the device."""
        return self._device.facts()

    def compile(self, model: OnnxModel, *, precision: Precision, cache: Path) -> Program:
        """As by the device."""
        self._precision = precision.value
        return self._device.compile(model, precision=precision, cache=cache)

    @contextmanager
    def load(self, program: Program) -> Iterator[Executable]:
        """As by the device."""
        with self._device.load(program) as executable:
            yield _Recorded(self, program.model_sha256, executable)

    def keep(self, model_sha256: str, samples: NDArray[np.int64]) -> None:
        """Add latencies of a model, shape (n,)."""
        with self._lock:
            self._kept.setdefault(model_sha256, []).append(samples)

    def recording(self) -> Recording:
        """All latencies given so far."""
        facts = self.facts()
        with self._lock:
            samples = {sha: np.concatenate(rows) for sha, rows in self._kept.items()}
        return Recording({**facts.identity, "precision": self._precision}, facts.context, samples)


class _Recorded:
    def __init__(self, recorder: Recorder, model_sha256: str, executable: Executable) -> None:
        self._recorder = recorder
        self._model_sha256 = model_sha256
        self._executable = executable

    def run(self, feed: Feed) -> dict[str, NDArray[np.float32]]:
        return self._executable.run(feed)

    def sample(self, feed: Feed, *, count: int) -> NDArray[np.int64]:
        samples = self._executable.sample(feed, count=count)
        self._recorder.keep(self._model_sha256, samples)
        return samples
