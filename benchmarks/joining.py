"""What a latency table gains by networks that join it once they were measured beside its own, as `verify` lets them.

Measures nothing: the tables given are those of `latency_error.py`, whose document holds 40 random and 40 searched
networks for each, measured in two fresh processes beside networks of the table. So many of the searched ones join the
table by what the first process measured; the others, and all random ones, judge the table before and after by what the
second one did.

    python benchmarks/joining.py TABLE.json TABLE.json ... [--join 10] [--draws 3] [--seed N]

Takes about three seconds a draw. Writes benchmarks/results/joining.json.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from record import RESULTS, conditions, parser_of, write

from binas_deploy.cli.render import table
from binas_deploy.measurement import Measurement
from binas_deploy.steps.join import KIND, VERIFY
from binas_deploy.steps.networks import KINDS
from binas_deploy.table import Anchor, LatencyTable, MeasuringRun
from binas_deploy.table.growth import ORIGIN, grown, next_run

NAME: Final = "joining"
Row = dict[str, Any]


def main() -> None:
    """Join for each table, judge, write, print."""
    args = _arguments()
    columns = _columns()
    rows = [_gain(made, columns[made.digest], args) for made in map(LatencyTable.load, args.tables)]
    path = write(NAME, conditions(threads=0, seed=args.seed), {"join": args.join, "draws": args.draws, "tables": rows})
    print(_text(rows))
    print(f"\nwritten to {path}")


def _arguments() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument("tables", type=Path, nargs="+", metavar="TABLE")
    parser.add_argument("--join", type=int, default=10, help="how many (default: %(default)s)")
    parser.add_argument("--draws", type=int, default=3, help="of those that join (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def _columns() -> dict[str, Row]:
    """By the digest of their table."""
    document = json.loads((RESULTS / "latency_error.json").read_text())
    return {column["table_digest"]: column for occasion in document["occasions"] for column in occasion["columns"]}


def _gain(made: LatencyTable, column: Row, args: argparse.Namespace) -> Row:
    rng = np.random.default_rng(args.seed)
    searched = [row for row in column["networks"] if row["kind"] == KIND]
    before, after = [], []
    for _ in range(args.draws):
        chosen = set(rng.choice(len(searched), args.join, replace=False).tolist())
        joining = [row for index, row in enumerate(searched) if index in chosen]
        others = [row for row in column["networks"] if row not in joining]
        before.append(_errors(made, made, others))
        after.append(_errors(_joined(made, joining), made, others))
    return {
        "runtime": column["runtime"],
        "threads": column["threads"],
        "cadence": column["cadence"],
        "table_made": made.created,
        **{kind: {"before": _mean(before, kind), "after": _mean(after, kind)} for kind in KINDS},
    }


def _joined(made: LatencyTable, rows: Sequence[Row]) -> LatencyTable:
    """One after the other, each as the first process measured it beside the table's own networks."""
    table = made
    for row in rows:
        run = MeasuringRun(next_run(table), made.created, {ORIGIN: VERIFY})
        measurement = Measurement(np.array([row["measured_ns"][0]]), np.array([run.id]))
        arch, slowdown = made.space.architecture(row["network"]), _slowdown(made, row, 0)
        table = grown(table, Anchor(arch, KIND, measurement, slowdown=slowdown), run)
    return table


def _slowdown(made: LatencyTable, row: Row, process: int) -> float:
    """Of the machine then for this network, by the networks of the table beside it."""
    return float(row["predicted_ns"][process] / made.predict(made.space.architecture(row["network"])).value)


def _errors(judged: LatencyTable, made: LatencyTable, rows: Sequence[Row]) -> dict[str, list[float]]:
    """Relative errors in per cent by kind, against the second process."""
    found: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for row in rows:
        then = row["measured_ns"][1] / _slowdown(made, row, 1)
        found[row["kind"]].append(100 * abs(judged.predict(made.space.architecture(row["network"])).value / then - 1))
    return found


def _mean(draws: Sequence[dict[str, list[float]]], kind: str) -> float:
    return round(float(np.mean([np.mean(draw[kind]) for draw in draws])), 3)


def _text(rows: Sequence[Row]) -> str:
    header = ("runtime", "threads", "table made", "random, before %", "after %", "searched, before %", "after %")
    lines = [_line(row["runtime"], row["threads"], row["table_made"], [row]) for row in rows]
    return table(header, [*lines, _line("mean", "", "", rows)])


def _line(runtime: str, threads: object, when: str, rows: Sequence[Row]) -> tuple[object, ...]:
    ends = [(kind, end) for kind in KINDS for end in ("before", "after")]
    return (runtime, threads, when, *(f"{np.mean([row[kind][end] for row in rows]):.2f}" for kind, end in ends))


if __name__ == "__main__":
    main()
