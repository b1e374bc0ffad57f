"""Finding, keeping and locking latency tables of a workspace."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import filelock

from binas_deploy.conditions import Conditions, period_of
from binas_deploy.devices import DeviceSpec, device_conditions, open_device
from binas_deploy.documents import writing
from binas_deploy.errors import (
    BinasError,
    DeviceError,
    EnvironmentFault,
    InputError,
    MissingExtraError,
    NotMeasuredError,
)
from binas_deploy.quantities import Quantity
from binas_deploy.space import SearchSpace
from binas_deploy.table import LatencyTable, table_path
from binas_deploy.workspace import builtin_folder

TABLES: Final = "latency_tables"


def workspace_table(workspace: Path, spec: DeviceSpec, space: SearchSpace, conditions: Conditions) -> Path:
    """Where the table of this device, space and conditions stands in a workspace, there or not."""
    return table_path(workspace / TABLES, spec.name, space.name, conditions)


def find_table(
    space: SearchSpace, spec: DeviceSpec, *, workspace: Path, threads: int | None = None
) -> tuple[Path, LatencyTable]:
    """The table to answer from: of this space, device and threads, and of the conditions read from the device.

    A device that is not at hand states no conditions; then its only table with this precision, batch and number of
    threads is taken. Nothing is measured.

    Raises:
        NotMeasuredError: there is none; the message says how to make it, and what others there are.
        InputError: the device is not at hand and has several.
        DocumentError, MismatchError: what stands in its place is damaged or another's.
    """
    asked = spec.with_threads(threads)
    try:
        conditions = device_conditions(asked, open_device(asked).facts())
    except (DeviceError, MissingExtraError) as error:
        return _only_table(space, asked, workspace, error)
    path = matching_table(workspace, asked, space, conditions)
    table = valid_table(path, space, conditions) if path else None
    if path is None or table is None:
        raise NotMeasuredError(_nothing_measured(space, asked) + _others(space, asked, workspace, conditions))
    return path, table


def matching_table(workspace: Path, spec: DeviceSpec, space: SearchSpace, conditions: Conditions) -> Path | None:
    """The file of exactly these conditions: the workspace's, else a built-in one, else None."""
    paths = (table_path(folder, spec.name, space.name, conditions) for folder in _folders(workspace))
    return next((path for path in paths if path.is_file()), None)


def tables_of(workspace: Path, spec: DeviceSpec, space: SearchSpace) -> list[Path]:
    """Every table of this device and space with its precision, batch and threads, the workspace's first."""
    pattern = f"{spec.precision}-b{spec.batch}-t{spec.threads}-*.json"
    return [path for folder in _folders(workspace) for path in sorted((folder / spec.name / space.name).glob(pattern))]


def valid_table(path: Path, space: SearchSpace, conditions: Conditions) -> LatencyTable | None:
    """The table at ``path`` if it is there, checked to be of this space and these conditions.

    Raises:
        MismatchError: it is of another space or other conditions.
        DocumentError, NotMeasuredError: it is damaged or incomplete.
    """
    if not path.exists():
        return None
    table = LatencyTable.load(path)
    table.require_space(space, str(path))
    table.conditions.require_same_identity(conditions, str(path))
    return table


def table_of_digest(workspace: Path, device: str, space: SearchSpace, digest: str) -> LatencyTable:
    """The table with this digest, or grown from it, among those of a device and space.

    Raises:
        InputError: it is not there (any more).
    """
    for folder in _folders(workspace):
        for path in sorted((folder / device / space.name).glob("*.json")):
            table = LatencyTable.load(path)
            if digest in table.digests:
                return table
    raise InputError(
        f"the latency table {digest[:12]} that the search used is not in {workspace / TABLES} any more: it was "
        "removed, measured again, or got energy added (profile --energy). Search again, or restore the table."
    )


@contextlib.contextmanager
def table_lock(path: Path) -> Iterator[None]:
    """Hold the table at ``path`` for writing.

    Raises:
        EnvironmentFault: another run holds it, or no lock can be made there.
    """
    beside = path.with_name(f".{path.name}.lock")
    lock = filelock.FileLock(beside, timeout=0)
    with writing(beside):
        beside.parent.mkdir(parents=True, exist_ok=True)
        _acquire(lock, path)
    try:
        yield
    finally:
        # While it is still held: a run that opened the name before this sees that its file is gone and fails to lock.
        if os.name == "posix":
            beside.unlink(missing_ok=True)
        lock.release()


def _folders(workspace: Path) -> tuple[Path, ...]:
    """Where tables are looked for; a workspace that is the checkout itself is looked at once."""
    own, built_in = workspace / TABLES, builtin_folder("latency_tables")
    return (own,) if own.resolve() == built_in.resolve() else (own, built_in)


def _only_table(
    space: SearchSpace, spec: DeviceSpec, workspace: Path, absent: DeviceError | MissingExtraError
) -> tuple[Path, LatencyTable]:
    found = tables_of(workspace, spec, space)
    if not found:
        raise NotMeasuredError(f"{_nothing_measured(space, spec)} Here it cannot be: {absent}") from absent
    if len(found) > 1:
        names = ", ".join(str(path) for path in found)
        raise InputError(f"device '{spec.name}' is not at hand and has {len(found)} tables: choose one of {names}.")
    table = LatencyTable.load(found[0])
    table.require_space(space, str(found[0]))
    return found[0], table


def _nothing_measured(space: SearchSpace, spec: DeviceSpec) -> str:
    command = f"binas-deploy profile --device {spec.name} --space {space.name} --threads {spec.threads}"
    if period := period_of(spec.cadence):
        command += f" --period {Quantity('time', period).text}"
    return f"no latency table of device '{spec.name}' for space '{space.name}' under these conditions. Run: {command}."


def _others(space: SearchSpace, spec: DeviceSpec, workspace: Path, conditions: Conditions) -> str:
    """Why a table that looks right is not: which of its conditions differ."""
    return "".join(_fault(path, space, conditions) for path in tables_of(workspace, spec, space))


def _fault(path: Path, space: SearchSpace, conditions: Conditions) -> str:
    try:
        valid_table(path, space, conditions)
    except BinasError as error:
        return f" {error}"
    return ""


def _acquire(lock: filelock.BaseFileLock, path: Path) -> None:
    try:
        lock.acquire()
    except filelock.Timeout as error:
        raise EnvironmentFault(
            f"another run is writing {path}. Wait until it has finished, then run the same command again."
        ) from error
