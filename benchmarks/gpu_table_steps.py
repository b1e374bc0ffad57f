"""What `gpu_table` does once the package can be imported: exam, table, validation, for each device and batch."""

from __future__ import annotations

import argparse
import inspect
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final
from unittest import SkipTest

from gpu_table import ROOT
from record import RESULTS, conditions

from binas_deploy.adapters.base import Device, Precision
from binas_deploy.cli.render import make_progress
from binas_deploy.devices import DeviceSpec, availability, load_device_spec, open_device
from binas_deploy.documents import dump_text, write_atomic
from binas_deploy.errors import BinasError
from binas_deploy.progress import Progress
from binas_deploy.shipped import shipped_accuracy
from binas_deploy.space import SearchSpace
from binas_deploy.space_file import load_space
from binas_deploy.steps.profile import profile
from binas_deploy.steps.validate import validate
from binas_deploy.testing.device_suite import DeviceSuite

NAME: Final = "gpu_table"
DEVICES: Final = ("torch", "gpu", "gpu-rtx")
OUT_OF_TIME: Final = "not run: no time left"
EXAM_S: Final = 120.0
"""No further test of a device's exam begins after this: its tables are to have time too."""


@dataclass(frozen=True)
class Size:
    """How much is measured. ``held_out``: of each kind, random and searched; ``networks``: that a table rests on."""

    batches: tuple[int, ...]
    networks: int
    held_out: int
    anchors: int
    table_s: float
    pieces: bool | None = None


FULL: Final = Size(batches=(1, 32), networks=40, held_out=20, anchors=8, table_s=30)
DRY: Final = Size(batches=(1, 2), networks=4, held_out=3, anchors=2, table_s=2, pieces=False)


@dataclass
class Run:
    """One run of the script: when it must end, where figures go, and the figures so far."""

    end: float
    path: Path | None
    header: dict[str, Any]
    rows: list[dict[str, Any]] = field(default_factory=list)

    @property
    def late(self) -> bool:
        """Whether no further step is to begin."""
        return time.monotonic() > self.end

    def write(self) -> None:
        """All figures so far."""
        if self.path is not None:
            write_atomic(self.path, dump_text({**self.header, "devices": self.rows}).encode())


def measure_all(args: argparse.Namespace) -> None:
    """Every step, as long as there is time; a step that fails is told and the next one begins."""
    size, space, progress = DRY if args.dry_run else FULL, load_space(args.space), make_progress(quiet=False)
    made_under = conditions(threads=1, dry_run=args.dry_run)
    results = args.results or (None if args.dry_run else RESULTS)
    header = {"benchmark": NAME, "dry_run": args.dry_run, "space": space.name, "conditions": made_under}
    run = Run(time.monotonic() + args.seconds, results / f"{NAME}.json" if results else None, header)
    if args.dry_run:
        print("dry run: on the CPU, with few networks. Nothing here says anything about a GPU.", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        workspace = args.workspace or (Path(folder) if args.dry_run else ROOT)
        for name in args.device or DEVICES:
            for row in _device_rows(name, args, size, space, workspace, run, progress):
                run.rows.append(row)
                run.write()
                print(_line(row), flush=True)
    print(f"\n{len(run.rows)} steps" + (f", written to {run.path}" if run.path else ", nothing kept"))


def _device_rows(
    name: str,
    args: argparse.Namespace,
    size: Size,
    space: SearchSpace,
    workspace: Path,
    run: Run,
    progress: Progress,
) -> Iterator[dict[str, Any]]:
    try:
        spec = _spec(name, dry=args.dry_run, size=size)
        usable, reason = availability(spec)
    except BinasError as error:
        usable, reason = False, str(error)
    if not usable:
        yield {"device": name, "step": "open", "skipped": reason}
        return
    yield _told(run, {"device": name, "step": "exam"}, partial(_exam, spec, run))
    for batch in args.batch or size.batches:
        at = spec.model_copy(update={"batch": batch})
        step = partial(_table, at, size, space, workspace, progress)
        yield _told(run, {"device": name, "step": "table", "batch": batch}, step)


def _told(run: Run, row: dict[str, Any], step: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    if run.late:
        return {**row, "skipped": OUT_OF_TIME}
    begin = time.monotonic()
    try:
        found = step()
    except BinasError as error:
        found = {"failed": str(error)}
    return {**row, **found, "seconds": round(time.monotonic() - begin, 1)}


def _spec(name: str, *, dry: bool, size: Size) -> DeviceSpec:
    spec = load_device_spec(name)
    pieces = spec.timing.pieces if size.pieces is None else size.pieces
    limits = {"networks": size.networks, "max_seconds": size.table_s, "pieces": pieces}
    options = {**spec.options, **(_torch_options(dry=dry) if spec.adapter == "torch" else {})}
    return spec.model_copy(update={"options": options, "timing": spec.timing.model_copy(update=limits)})


def _torch_options(*, dry: bool) -> dict[str, bool | str]:
    return {"target": "cpu"} if dry else {"target": "cuda", "cuda_graphs": True}


def _table(spec: DeviceSpec, size: Size, space: SearchSpace, workspace: Path, progress: Progress) -> dict[str, Any]:
    """A table and what it is worth."""
    path, table = profile(space, spec, workspace=workspace, progress=progress, force=True)
    found = validate(
        table,
        spec,
        accuracy=shipped_accuracy(space),
        networks=size.held_out,
        anchors=size.anchors,
        progress=progress,
    )
    where = str(path.relative_to(workspace)) if path.is_relative_to(workspace) else path.name
    return {
        "table": where,
        "identity": dict(table.conditions.identity),
        "context": dict(table.conditions.context),
        **found.to_json(),
    }


def _exam(spec: DeviceSpec, run: Run) -> dict[str, Any]:
    """Each test of the suite that asks for no more than a folder: 'passed', or what it found."""

    class Suite(DeviceSuite):
        precision = Precision(spec.precision)

        def make_device(self) -> Device:
            return open_device(spec)

    suite = Suite()
    tests = [(name, test) for name, test in inspect.getmembers(suite, callable) if name.startswith("test_")]
    end = time.monotonic() + EXAM_S
    found = {name: OUT_OF_TIME if run.late or time.monotonic() > end else _outcome(test) for name, test in tests}
    return {"passed": sum(text == "passed" for text in found.values()), "of": len(found), "tests": found}


def _outcome(test: Callable[..., object]) -> str:
    asked = set(inspect.signature(test).parameters)
    if asked - {"tmp_path"}:
        return f"not run: it asks pytest for {', '.join(sorted(asked - {'tmp_path'}))}"
    with tempfile.TemporaryDirectory() as folder:
        try:
            test(**({"tmp_path": Path(folder)} if asked else {}))
        except SkipTest as reason:
            return f"not run: {reason}"
        except Exception as error:  # noqa: BLE001  whatever it is, the exam says so and goes on
            return f"{type(error).__name__}: {error}"
    return "passed"


def _line(row: dict[str, Any]) -> str:
    step = " ".join(str(row[key]) for key in ("device", "step", "batch") if key in row)
    if "skipped" in row or "failed" in row:
        return f"{step}: {row.get('failed') or row['skipped']}"
    if "tests" in row:
        wrong = [f"\n  {name}: {text}" for name, text in row["tests"].items() if text != "passed"]
        return f"{step}: {row['passed']} of {row['of']} passed in {row['seconds']} s{''.join(wrong)}"
    errors = ", ".join(f"{kind} {row[kind]['mape_percent']:.2f} %" for kind in ("random", "searched") if kind in row)
    return f"{step}: mean error {errors}, in {row['seconds']} s, {row['table']}"
