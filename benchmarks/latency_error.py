"""Predicted against measured latency of networks that the table has never seen, one more occasion of it.

For each space and number of threads: a fresh latency table, timed, and `validate` on it: 40 random and 40 searched
networks, each measured in two fresh processes beside 8 to 24 of the table's own networks. The difference of the two
processes is the noise floor of the occasion. Then, from the same measurements at the same cost, what other ways of
predicting make of them:

- ``raw sum``: isolated pieces, added up
- ``one factor``: the same times the median of measured / predicted over the table's networks
- ``MACs``: multiply-accumulates times such a factor
- ``ridge, no pieces``: ridge regression on the decisions of the table's networks, as for accuracy
- ``ours``: the table

With ``--stored`` the table of another occasion, of that file, is judged by the same measurements, carried over by 3
of its networks; one of another identity is left out.

    python benchmarks/latency_error.py [--device NAME] [--space NAME ...] [--threads N ...] [--networks 40] [--seed N]
        [--keep DIR] [--stored FILE ...] [--period 33ms]

Takes about 4 minutes for each space. ``--keep`` leaves the table there, for another occasion. Adds an occasion to
benchmarks/results/latency_error.json.
"""

from __future__ import annotations

import argparse
import itertools
import math
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
from problems import DEVICE, accuracy_of
from record import add_occasion, conditions, parser_of

from binas_deploy.accuracy.regression import ridge
from binas_deploy.cli.render import make_progress, table
from binas_deploy.columns import Columns, Floats
from binas_deploy.conditions import cadence_of
from binas_deploy.devices import DeviceSpec, load_device_spec
from binas_deploy.progress import Progress
from binas_deploy.quantities import parse_quantity
from binas_deploy.space import SearchSpace
from binas_deploy.space_file import load_space
from binas_deploy.steps.carry_over import chosen_anchors
from binas_deploy.steps.networks import KINDS, held_out_networks
from binas_deploy.steps.profile import profile
from binas_deploy.steps.validate import Validated, judged, measured_in_processes
from binas_deploy.table import LatencyTable
from binas_deploy.table.parts import spread
from binas_deploy.table.terms import piece_source, work_sources

SPACES: Final = ("cifar10", "mobilenetv3")
NAME: Final = "latency_error"
STORED_ANCHORS: Final = 3
_METHODS: Final = ("raw sum", "one factor", "MACs", "ridge, no pieces")


def main() -> None:
    """Measure what is asked for, add it to the document, print the figures."""
    args = _arguments()
    progress = make_progress(quiet=False)
    made_under = conditions(threads=max(args.threads), seed=args.seed)
    # One after the other: they would disturb one another.
    rows = [_occasion(name, threads, args, progress) for name in args.space or SPACES for threads in args.threads]
    number, path = add_occasion(NAME, made_under, {"columns": rows})
    print(_text(rows))
    print(f"\noccasion {number}, written to {path}")


def _arguments() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument("--space", action="append", metavar="NAME|FILE", help="again for each (default: both built-in)")
    parser.add_argument("--device", default=DEVICE, help="(default: %(default)s)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="workspace to put the tables in (default: none)")
    parser.add_argument("--stored", type=Path, action="append", default=[], metavar="FILE", help="table of another day")
    parser.add_argument("--threads", action="append", type=int, help="again for each (default: 1)")
    parser.add_argument("--accuracy", type=Path, help="accuracy model of one of the spaces (default: the shipped one)")
    parser.add_argument("--period", type=_cadence, help="call networks once in this time, such as 33ms")
    parser.add_argument("--networks", type=int, default=40, help="of each kind (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.threads = args.threads or [1]
    return args


def _cadence(text: str) -> str:
    return cadence_of(parse_quantity(text).amount)


def _occasion(name: str, threads: int, args: argparse.Namespace, progress: Progress) -> dict[str, Any]:
    """A table made now and those of other days, judged by the same measurements."""
    space, spec = load_space(name), load_device_spec(args.device).with_threads(threads).with_cadence(args.period)
    made, seconds = _made(space, spec, args, progress)
    stored = [table for table in map(LatencyTable.load, args.stored) if _alike(table, made)]
    drawn = held_out_networks(made, accuracy_of(space, args.accuracy), args.networks, args.seed)
    seen = {anchor.arch for table in stored for anchor in table.anchors}
    held_out = [network for network in drawn if network.arch not in seen]
    anchors = [chosen_anchors(made), *(spread(table.anchors, STORED_ANCHORS) for table in stored)]
    archs = [anchor.arch for anchor in itertools.chain(*anchors)] + [network.arch for network in held_out]
    runs = measured_in_processes(space, spec, list(dict.fromkeys(archs)), seed=args.seed, progress=progress)
    found, *others = (judged(table, held_out, few, runs) for table, few in zip([made, *stored], anchors, strict=True))
    return {
        **_row(found),
        "networks": found.to_json()["networks"],
        "profile_seconds": round(seconds, 1),
        "run": dict(made.runs[-1].host),
        "others_mape_percent": _others(made, found),
        "stored": [_row(other) for other in others],
    }


def _made(
    space: SearchSpace, spec: DeviceSpec, args: argparse.Namespace, progress: Progress
) -> tuple[LatencyTable, float]:
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        path, made = profile(
            space, spec, workspace=args.keep or Path(folder), seed=args.seed, progress=progress, force=True
        )
        seconds = time.monotonic() - started
    print(f"{path}: {seconds:.0f} s", flush=True)
    return made, seconds


def _alike(one: LatencyTable, other: LatencyTable) -> bool:
    """Whether a table of another day holds here too."""
    alike = one.space.fingerprint == other.space.fingerprint
    return alike and one.conditions.identity == other.conditions.identity


def _row(found: Validated) -> dict[str, Any]:
    identity = found.table.conditions.identity
    return {
        "runtime": f"{identity['runtime']} {identity['runtime_version']}",
        "threads": int(identity["threads"]),
        "table_made": found.table.created,
        "table_networks": len(found.table.anchors),
        "anchors": found.carried[0].anchors,
        **{key: value for key, value in found.to_json().items() if key != "networks"},
    }


def _others(latencies: LatencyTable, found: Validated) -> dict[str, dict[str, float]]:
    """Mean absolute error by method and kind of network, after one machine factor for each method."""
    columns = Columns(latencies.space)
    kinds = np.array([network.kind for network in found.networks])
    design = columns.design([network.arch for network in found.networks])
    as_made = [
        (run.measured - carried.offset_ns) / carried.scale
        for run, carried in zip(found.runs, found.carried, strict=True)
    ]
    measured = np.mean(as_made, axis=0)
    errors = {name: np.abs(design @ costs / measured - 1) for name, costs in _methods(latencies, columns).items()}
    return {
        name: {kind: round(float(100 * error[kinds == kind].mean()), 3) for kind in KINDS}
        for name, error in errors.items()
    }


def _methods(latencies: LatencyTable, columns: Columns) -> dict[str, Floats]:
    archs = [anchor.arch for anchor in latencies.anchors]
    design = columns.design(archs)
    known = np.array([anchor.measurement.median for anchor in latencies.anchors])
    pieces = piece_source(columns, {key: piece.location for key, piece in latencies.pieces.items()}).costs
    macs = work_sources(columns)[0].costs
    # It takes percentages.
    fitted = ridge(latencies.space, archs, 100 * known / known.max()).contributions.flat() * known.max() / 100
    return {
        "raw sum": pieces,
        "one factor": pieces * np.median(known / (design @ pieces)),
        "MACs": macs * np.median(known / (design @ macs)),
        "ridge, no pieces": fitted,
        "ours": latencies.calibration.costs.astype(np.float64),
    }


def _text(rows: list[dict[str, Any]]) -> str:
    header = (
        "space",
        "threads",
        "kind",
        "MAPE %",
        "/ floor",
        "bias %",
        "in 95 %",
        "raw sum",
        "factor",
        "MACs",
        "ridge",
    )
    lines = [
        (
            row["space"],
            row["threads"],
            kind,
            f"{row[kind]['mape_percent']:.2f}",
            f"{row['error_over_floor'][kind]:.2f}",
            f"{row[kind]['bias_percent']:+.2f}",
            f"{row[kind]['coverage_percent']:.0f}",
            *(f"{row.get('others_mape_percent', {}).get(name, {}).get(kind, math.nan):.2f}" for name in _METHODS),
        )
        for row in rows
        for kind in KINDS
    ]
    return "\n".join([table(header, lines), "", *_of_other_days(rows)])


def _of_other_days(rows: list[dict[str, Any]]) -> list[str]:
    return [
        f"table of {stored['table_made']}, {stored['anchors']} anchors: "
        + ", ".join(f"{kind} {stored[kind]['mape_percent']:.2f} %" for kind in KINDS)
        for row in rows
        for stored in row["stored"]
    ]


if __name__ == "__main__":
    main()
