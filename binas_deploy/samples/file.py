"""Sample files: CSV with a network and a latency in each row, measured by any harness.

::

    network,latency_ms,run
    "[['ds_r1_k3_s1_e1_c16_nre'], ['ir_r1_k5_s2_e3_c24_nre', ...], ...]",12.31,monday
    "{""depths"": [1, 2], ""options"": [[0], [3, 1]]}",14.02,monday

The unit is in the column's name (``latency_ns``, ``latency_us``, ``latency_ms``, ``latency_s``), or in each cell of
a column ``latency`` ("12.31ms"), or given by the caller. A bare number is refused.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from binas_deploy.documents import MAX_DOCUMENT_BYTES, os_reason
from binas_deploy.errors import DocumentError, EnvironmentFault, InputError
from binas_deploy.samples.cells import UNITS, nanoseconds, read_latency
from binas_deploy.space import Architecture, SearchSpace

MAX_ROWS: Final = 1_000_000
_NETWORK: Final = ("network", "architecture", "arch")
_LATENCY: Final = {**{f"latency_{unit}": unit for unit in UNITS}, "latency": ""}
_RUN: Final = "run"


@dataclass(frozen=True, eq=False)
class SampleRows:
    """The n rows of a sample file, in its order, nothing dropped yet. The arrays are copied and made read-only.

    ``archs``: each row's network, None where it cannot be read; ``texts``: as it was written; ``latency_ns``: (n,),
    NaN where it cannot be read; ``units``: the unit each was written in; ``lines``: (n,) where each row starts;
    ``runs``: id of each row's measuring run ("" throughout when the file names none); ``source``: the file;
    ``ignored``: names of the columns that were not used.

    Raises:
        InputError: the fields are not equally long.
    """

    archs: tuple[Architecture | None, ...]
    texts: tuple[str, ...]
    latency_ns: NDArray[np.float64]
    units: tuple[str, ...]
    lines: NDArray[np.int64]
    runs: tuple[str, ...]
    source: Path
    ignored: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "latency_ns", np.array(self.latency_ns, dtype=np.float64))
        object.__setattr__(self, "lines", np.array(self.lines, dtype=np.int64))
        for array in (self.latency_ns, self.lines):
            array.setflags(write=False)
        lengths = {len(x) for x in (self.archs, self.texts, self.latency_ns, self.units, self.lines, self.runs)}
        if len(lengths) != 1:
            raise InputError(f"{self.source}: every row has a network, a latency, a unit, a line and a run; {lengths}.")

    def __len__(self) -> int:
        return len(self.archs)


class _Row(NamedTuple):
    text: str
    latency_ns: float
    unit: str
    line: int
    run: str


class _Columns(NamedTuple):
    """Where things stand in a record; ``unit`` of bare numbers, ``fixed`` by the column's name."""

    width: int
    network: int
    latency: int
    run: int | None
    unit: str
    fixed: bool
    ignored: tuple[str, ...]


def read_samples(path: Path, space: SearchSpace, *, unit: str | None = None) -> SampleRows:
    """The rows of a CSV file (UTF-8, with a header): a network of ``space`` and a latency in each.

    Columns, in any order: ``network`` (or ``architecture``, ``arch``), text that `SearchSpace.architecture` reads;
    ``latency_ns``, ``latency_us``, ``latency_ms``, ``latency_s``, or ``latency`` with a unit in each cell, whose bare
    numbers are in ``unit`` if that is given; and, if it is there, ``run``. Other columns are ignored. A network or a
    number that cannot be read does not stop the reading: `check_samples` tells them.

    Raises:
        InputError: no such file, a column is missing or ambiguous, or numbers without a unit.
        DocumentError: not CSV in UTF-8, a row of another length than the header, a column twice, over 64 MiB, or
            over 1,000,000 rows.
        EnvironmentFault: it exists but cannot be read.
    """
    records = _records(_read_text(path), path)
    line, names = next(records, (1, []))
    columns = _columns([name.strip() for name in names], f"{path}: line {line}", unit)
    rows = list(_rows(records, columns, path))
    networks = {text: _network(space, text) for text in dict.fromkeys(row.text for row in rows)}
    return SampleRows(
        archs=tuple(networks[row.text] for row in rows),
        texts=tuple(row.text for row in rows),
        latency_ns=np.array([row.latency_ns for row in rows], dtype=np.float64),
        units=tuple(row.unit for row in rows),
        lines=np.array([row.line for row in rows], dtype=np.int64),
        runs=tuple(row.run for row in rows),
        source=path,
        ignored=columns.ignored,
    )


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            payload = stream.read(MAX_DOCUMENT_BYTES + 1)  # a device file has no size to ask for
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file (latency samples in CSV were expected).") from error
    except OSError as error:
        raise EnvironmentFault(f"cannot read {path}: {os_reason(error)}") from error
    if len(payload) > MAX_DOCUMENT_BYTES:
        raise DocumentError(f"{path}: over {MAX_DOCUMENT_BYTES // 2**20} MiB; split it, or leave out other columns.")
    if (nul := payload.find(b"\0")) >= 0:
        raise DocumentError(f"{_place(path, payload, nul)}: a NUL byte; samples are CSV in UTF-8 (not UTF-16).")
    try:
        return payload.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        where = _place(path, payload, error.start)
        raise DocumentError(f"{where}: not text in UTF-8; save the samples as CSV in UTF-8.") from error


def _place(path: Path, payload: bytes, offset: int) -> str:
    return f"{path}: line {payload.count(10, 0, offset) + 1}"


def _records(text: str, path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line it starts on, cells) of every record with anything in it, the header first."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    line = 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise DocumentError(
            f"{path}: line {line}: not CSV ({error}). A cell with commas or quotes stands in double quotes, and quotes "
            "inside it are doubled."
        ) from error


def _columns(names: Sequence[str], where: str, unit: str | None) -> _Columns:
    lower = [name.lower() for name in names]
    if twice := next((name for name in lower if lower.count(name) > 1), None):
        raise DocumentError(f"{where}: the header has {twice[:40]!r} twice; each column may stand once.")
    network, latency = _only(_NETWORK, lower, where), _only(tuple(_LATENCY), lower, where)
    stated = _LATENCY[lower[latency]]
    if unit is not None and stated and nanoseconds(unit) != nanoseconds(stated):
        raise InputError(f"{where}: unit {unit!r} was given, and the column is {names[latency]!r}; give one of them.")
    if unit is not None:
        nanoseconds(unit)  # refuses what is not a unit of time, used or not
    run = lower.index(_RUN) if _RUN in lower else None
    ignored = tuple(name for place, name in enumerate(names) if place not in (network, latency, run))
    return _Columns(len(names), network, latency, run, stated or unit or "", bool(stated), ignored)


def _only(allowed: Sequence[str], names: Sequence[str], where: str) -> int:
    """The place of the one column of these names."""
    found = [place for place, name in enumerate(names) if name in allowed]
    if len(found) == 1:
        return found[0]
    shown = [repr(names[place][:40]) for place in (found or range(min(len(names), 12)))]
    raise InputError(
        f"{where}: the header needs exactly one column of {', '.join(allowed)}; it has "
        f"{', '.join(shown) or 'nothing'}. Columns are separated by commas."
    )


def _rows(records: Iterator[tuple[int, list[str]]], columns: _Columns, path: Path) -> Iterator[_Row]:
    for count, (line, cells) in enumerate(records, start=1):
        if count > MAX_ROWS:
            raise DocumentError(f"{path}: line {line}: over {MAX_ROWS:,} rows; split the file.")
        if len(cells) != columns.width:
            raise DocumentError(
                f"{path}: line {line}: {len(cells)} cells, the header has {columns.width}. A cell with commas, as a "
                "network has, stands in double quotes."
            )
        yield _row(line, cells, columns, path)


def _row(line: int, cells: Sequence[str], columns: _Columns, path: Path) -> _Row:
    try:
        latency, unit = read_latency(cells[columns.latency], columns.unit, fixed=columns.fixed)
    except InputError as error:
        raise InputError(
            f"{path}: line {line}: {error}. Name the column latency_ms (or latency_ns, latency_us, latency_s), write "
            "the unit in each cell (12.3ms), or give the unit of the file."
        ) from error
    run = "" if columns.run is None else cells[columns.run].strip()
    return _Row(cells[columns.network].strip(), latency, unit, line, run)


def _network(space: SearchSpace, text: str) -> Architecture | None:
    try:
        return space.architecture(text)
    except InputError:
        return None
