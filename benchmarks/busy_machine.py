"""Whether tables made on a busy machine are of use on a quiet one, once a few networks are measured again.

Two busy loops (more with ``--loops``) run while each of ten tables is made. Then they are ended, and 20 random and 20
searched networks that no table has seen are measured in two fresh processes, beside 3 networks of each table, which
carry it over. A table is usable when its mean error stays within 2.5 % for both kinds; the others must say themselves
that they are not: by a finding of their measuring run, or by a margin that is wider than that.

    python benchmarks/busy_machine.py [--tables 10] [--loops 2] [--seconds 45] [--networks 20] [--seed N]

Takes about 15 minutes. Writes benchmarks/results/busy_machine.json.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from problems import one_thread
from record import conditions, parser_of, write

from binas_deploy.cli.render import make_progress, table
from binas_deploy.progress import Progress
from binas_deploy.quality import noise_findings
from binas_deploy.space import Architecture
from binas_deploy.space_file import load_space
from binas_deploy.steps.networks import KINDS, Network, held_out_networks
from binas_deploy.steps.profile import profile
from binas_deploy.steps.validate import Run, judged, measured_in_processes
from binas_deploy.table import Anchor, LatencyTable
from binas_deploy.table.parts import spread

NAME: Final = "busy_machine"
SPACE: Final = "mobilenetv3"
ANCHORS: Final = 3
USABLE_PERCENT: Final = 2.5


def main() -> None:
    """Make the tables, measure, judge, write, print."""
    args = _arguments()
    progress = make_progress(quiet=False)
    made_under = conditions(threads=1, seed=args.seed, busy_loops=args.loops)
    with _busy(args.loops):
        tables = [_made(args, seed, progress) for seed in range(args.seed, args.seed + args.tables)]
    rows = _judged(tables, args, progress)
    usable = sum(row["usable"] for row in rows)
    said = sum(not row["usable"] and row["says_so"] for row in rows)
    content = {"tables": rows, "usable": usable, "unusable_and_say_so": said, "of": len(rows)}
    print(_text(rows))
    print(
        f"\n{usable} of {len(rows)} usable, {said} unusable and say so; written to {write(NAME, made_under, content)}"
    )


def _arguments() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument("--tables", type=int, default=10, help="(default: %(default)s)")
    parser.add_argument("--loops", type=int, default=2, help="(default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=45.0, help="to measure each table (default: %(default)s)")
    parser.add_argument("--networks", type=int, default=20, help="of each kind (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


@contextmanager
def _busy(loops: int) -> Iterator[None]:
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(loops)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def _made(args: argparse.Namespace, seed: int, progress: Progress) -> LatencyTable:
    with tempfile.TemporaryDirectory() as folder:
        spec = one_thread(Path(folder)).with_seconds(args.seconds)
        return profile(load_space(SPACE), spec, workspace=Path(folder), seed=seed, progress=progress)[1]


def _judged(tables: list[LatencyTable], args: argparse.Namespace, progress: Progress) -> list[dict[str, Any]]:
    held_out = _held_out(tables, args)
    few = [spread(made.anchors, ANCHORS) for made in tables]
    archs = [anchor.arch for row in few for anchor in row] + [network.arch for network in held_out]
    spec = one_thread(Path.cwd())
    runs = measured_in_processes(tables[0].space, spec, list(dict.fromkeys(archs)), seed=args.seed, progress=progress)
    return [_row(made, held_out, row, runs) for made, row in zip(tables, few, strict=True)]


def _held_out(tables: list[LatencyTable], args: argparse.Namespace) -> list[Network]:
    """That none of the tables has seen."""
    seen: set[Architecture] = {anchor.arch for made in tables for anchor in made.anchors}
    drawn = held_out_networks(tables[0], None, 2 * args.networks, args.seed)
    new = [network for network in drawn if network.arch not in seen]
    return [network for kind in KINDS for network in [row for row in new if row.kind == kind][: args.networks]]


def _row(made: LatencyTable, held_out: list[Network], few: tuple[Anchor, ...], runs: tuple[Run, ...]) -> dict[str, Any]:
    found = judged(made, held_out, few, runs).validation
    mape = {kind: found.kinds[kind].mape_percent for kind in KINDS}
    findings = [text for run in made.runs for text in noise_findings(run.host) or ()]
    margin = 100 * made.model.margin.two_sided().share
    return {
        "mape_percent": mape,
        "noise_floor_percent": found.noise_floor_percent,
        "machine": list(found.machine),
        "findings": findings,
        "margin_percent": round(margin, 3),
        "usable": max(mape.values()) <= USABLE_PERCENT,
        "says_so": bool(findings) or margin > USABLE_PERCENT,
    }


def _text(rows: list[dict[str, Any]]) -> str:
    header = ("random %", "searched %", "machine", "own margin %", "usable", "its findings")
    lines = [
        (
            f"{row['mape_percent']['random']:.2f}",
            f"{row['mape_percent']['searched']:.2f}",
            f"{row['machine'][0]:.3f}",
            f"{row['margin_percent']:.1f}",
            "yes" if row["usable"] else "no",
            "; ".join(row["findings"]),
        )
        for row in rows
    ]
    return table(header, lines)


if __name__ == "__main__":
    main()
