"""The journal of a profile in the making: what was measured survives a kill, and the next run continues from it.

JSON lines beside the table, ``<table>.journal``. The first states what is being measured; after it stand the
measuring runs, the rounds with the run that measured them, and what ended the measuring. Each line is on disk (fsync)
before the next round begins. A line that a kill cut short, and whatever stands after it, is dropped.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from binas_deploy.documents import writing
from binas_deploy.errors import InputError
from binas_deploy.steady import Round
from binas_deploy.table import MeasuringRun

JOURNAL_FORMAT: Final = "binas-deploy/profile-journal"
JOURNAL_VERSION: Final = 1

_Sample = Annotated[int, Field(ge=1, le=10**18)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class JournalHeader(_Strict):
    """What is being measured. A journal with another header is not continued."""

    format: Literal["binas-deploy/profile-journal"] = JOURNAL_FORMAT
    version: Literal[1] = JOURNAL_VERSION
    conditions: dict[str, str]
    space: str
    seed: int
    subjects: list[str]


class _RunLine(_Strict):
    id: Annotated[int, Field(ge=0)]
    started: str
    host: dict[str, str]


class _RoundLine(_Strict):
    run: Annotated[int, Field(ge=0)]
    samples: dict[str, Annotated[list[_Sample], Field(min_length=1)]]


class _EndLine(_Strict):
    stopped_by: Literal["target", "rounds", "seconds"]


@dataclass
class Journal:
    """An open journal. ``rounds[i]`` was measured by the run ``round_runs[i]``; it only grows.

    ``stopped_by``: what ended the measuring, as `Quality` names it; empty until then.
    """

    path: Path
    runs: list[MeasuringRun] = field(default_factory=list)
    rounds: list[Round] = field(default_factory=list)
    round_runs: list[int] = field(default_factory=list)
    stopped_by: str = ""

    def start_run(self, started: str, host: Mapping[str, str]) -> MeasuringRun:
        """Note a new measuring run; rounds from now on are its own.

        Raises:
            EnvironmentFault: the journal cannot be written.
        """
        run = MeasuringRun(len(self.runs), started, host)
        _append(self.path, {"run": run.to_json()})
        self.runs.append(run)
        return run

    def add_round(self, samples: Round) -> None:
        """Note a round of the latest run, on disk when this returns.

        Raises:
            EnvironmentFault: the journal cannot be written.
        """
        run = self.runs[-1].id
        _append(self.path, {"round": {"run": run, "samples": {key: row.tolist() for key, row in samples.items()}}})
        self.rounds.append(samples)
        self.round_runs.append(run)

    def end(self, stopped_by: str) -> None:
        """Note that no more rounds are wanted, on disk when this returns. What ended it first counts.

        Raises:
            EnvironmentFault: the journal cannot be written.
        """
        if not self.stopped_by:
            _append(self.path, {"end": {"stopped_by": stopped_by}})
            self.stopped_by = stopped_by

    def remove(self) -> None:
        """The table is written: the journal has done its work.

        Raises:
            EnvironmentFault: no permission.
        """
        with writing(self.path):
            self.path.unlink(missing_ok=True)


def open_journal(path: Path, header: JournalHeader) -> tuple[Journal, Path | None]:
    """The journal at ``path``, continued when its header is equal, else new.

    Returns:
        The journal, and where one of another header was set aside (None when there was none).

    Raises:
        EnvironmentFault: it cannot be read or written.
    """
    lines = _whole_lines(path)
    if lines and _header_of(lines[0]) == header:
        return _continued(path, lines, header), None
    aside = _set_aside(path) if lines else None
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    _append(path, header.model_dump())
    return Journal(path), aside


def _continued(path: Path, lines: list[bytes], header: JournalHeader) -> Journal:
    journal, valid = Journal(path), len(lines[0])
    for line in lines[1:]:
        if not _take(journal, line, set(header.subjects)):
            break
        valid += len(line)
    with writing(path):
        os.truncate(path, valid)
    return journal


def _take(journal: Journal, line: bytes, subjects: set[str]) -> bool:
    """Add what the line says; False when it says nothing that can be used."""
    try:
        content = json.loads(line)
        if "run" in content:
            _take_run(journal, _RunLine.model_validate(content["run"]))
        elif "end" in content:
            _take_end(journal, _EndLine.model_validate(content["end"]))
        else:
            _take_round(journal, _RoundLine.model_validate(content["round"]), subjects)
    except (ValueError, KeyError, TypeError, RecursionError, ValidationError, InputError):
        return False
    return True


def _take_run(journal: Journal, line: _RunLine) -> None:
    if line.id != len(journal.runs):
        raise InputError("a run is missing before this one")
    journal.runs.append(MeasuringRun(line.id, line.started, line.host))


def _take_round(journal: Journal, line: _RoundLine, subjects: set[str]) -> None:
    if line.run >= len(journal.runs) or line.samples.keys() != subjects:
        raise InputError("a round of an unknown run, or not of all subjects")
    journal.rounds.append({key: np.array(row, dtype=np.int64) for key, row in line.samples.items()})
    journal.round_runs.append(line.run)


def _take_end(journal: Journal, line: _EndLine) -> None:
    if not journal.rounds:
        raise InputError("an end without a round")
    journal.stopped_by = line.stopped_by


def _whole_lines(path: Path) -> list[bytes]:
    with writing(path):
        text = path.read_bytes() if path.exists() else b""
    return [line for line in text.splitlines(keepends=True) if line.endswith(b"\n")]


def _header_of(line: bytes) -> JournalHeader | None:
    try:
        return JournalHeader.model_validate_json(line)
    except ValidationError:
        return None


def _set_aside(path: Path) -> Path:
    taken = (path.with_name(f"{path.name}.aside-{number}") for number in range(1, 10**6))
    aside = next(name for name in taken if not name.exists())
    with writing(aside):
        path.replace(aside)
    return aside


def _append(path: Path, content: Mapping[str, Any]) -> None:
    with writing(path), path.open("ab") as stream:
        stream.write(json.dumps(content, separators=(",", ":")).encode() + b"\n")
        stream.flush()
        os.fsync(stream.fileno())
