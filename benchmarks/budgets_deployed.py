"""Whether deployed networks keep their budgets: searched for with confidence, exported, verified in fresh processes.

For each latency table of a space with a supernet: budgets along its range, each given to `deploy` with that table and a
confidence of 0.95, as a user would. Told are the budgets that the first network verified is shown to keep, and the last
one, how many lay within by what was measured, and how much of the budget the last network left unused.

    python benchmarks/budgets_deployed.py TABLE.json ... [--budgets 20] [--shortlist N] [--seconds N] [--seed N]

Takes about a minute a budget; the tables take turns. Each budget is added to benchmarks/results/budgets_deployed.json
when it is done, and those that are there for the same table, seed and number of budgets are not measured again.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
from record import RESULTS, conditions, parser_of, write

from binas_deploy.budget import Budget
from binas_deploy.cli.render import make_progress, table
from binas_deploy.devices import load_device_spec
from binas_deploy.extremes import cheapest, dearest
from binas_deploy.progress import Progress
from binas_deploy.quantities import Quantity
from binas_deploy.space import SearchSpace
from binas_deploy.steps.deploy import deploy
from binas_deploy.table import LatencyTable

NAME: Final = "budgets_deployed"
CONFIDENCE: Final = 0.95


def main() -> None:
    """Deploy for every budget that is not in the document yet; print the figures of all."""
    args = _arguments()
    progress = make_progress(quiet=False)
    made_under = conditions(threads=1, seed=args.seed)
    rows, until = _known(), time.monotonic() + args.seconds
    for index, path in itertools.product(range(args.budgets), args.tables):
        latencies = LatencyTable.load(path)
        key = f"{latencies.digest[:12]} {args.seed} {index}/{args.budgets} {args.shortlist}"
        if all(row["key"] != key for row in rows) and time.monotonic() < until:
            rows.append({"key": key, **_deployed(latencies, path, index, args, progress)})
            write(NAME, made_under, {"confidence": CONFIDENCE, "budgets": rows})
    print(_text(rows))


def _arguments() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument("tables", type=Path, nargs="+", metavar="TABLE")
    parser.add_argument("--budgets", type=int, default=20, help="of each table (default: %(default)s)")
    parser.add_argument("--shortlist", type=int, help="as of deploy (default: the same)")
    parser.add_argument("--seconds", type=float, default=math.inf, help="begin no budget after (default: all)")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def _known() -> list[dict[str, Any]]:
    path = RESULTS / f"{NAME}.json"
    found: list[dict[str, Any]] = json.loads(path.read_text())["budgets"] if path.exists() else []
    return found


def _deployed(
    latencies: LatencyTable, path: Path, index: int, args: argparse.Namespace, progress: Progress
) -> dict[str, Any]:
    limit = _limit(latencies, index, args.budgets)
    budget = Budget(Quantity("time", limit), confidence=CONFIDENCE, cadence=latencies.conditions.identity["cadence"])
    spec = load_device_spec(latencies.device).with_threads(int(latencies.conditions.identity["threads"]))
    with tempfile.TemporaryDirectory() as folder:
        done = deploy(
            latencies.space,
            spec,
            [budget],
            workspace=Path(folder),
            table=path,
            shortlist=args.shortlist,
            measure_accuracy=False,
            seed=args.seed + index,
            progress=progress,
        )
    return {
        "table_made": latencies.created,
        "budget_ns": limit,
        "rounds": [
            {
                "predicted_ns": row.predicted_ns,
                "expected_ns": row.expected_ns,
                "measured_ns": row.measured_ns,
                "bounds_ns": row.interval,
                "verdict": row.verdict.value,
            }
            for row in done.rounds
        ],
    }


def _limit(latencies: LatencyTable, index: int, count: int) -> int:
    """From a tenth of the range on: below, no network may be sure to fit on a machine that is slower today."""
    low, high = _range(latencies.space, latencies)
    return round(low + (0.1 + 0.9 * (index + 0.5) / count) * (high - low))


def _range(space: SearchSpace, latencies: LatencyTable) -> tuple[float, float]:
    depths = tuple(stage.depths for stage in space.stages)
    ends = (cheapest(latencies.cost_form(), depths), dearest(latencies.cost_form(), depths))
    low, high = (latencies.predict(arch).value for arch in ends)
    return low, high


def _text(rows: list[dict[str, Any]]) -> str:
    header = ("table made", "budgets", "first: pass", "fail", "last: pass", "fail", "within, first", "unused, last %")
    made = sorted({row["table_made"] for row in rows})
    lines = [_line(when, [row for row in rows if row["table_made"] == when]) for when in made]
    return table(header, [*lines, _line("all", rows)])


def _line(what: str, rows: list[dict[str, Any]]) -> tuple[object, ...]:
    first, last = [row["rounds"][0] for row in rows], [row["rounds"][-1] for row in rows]
    within = sum(found["measured_ns"] <= row["budget_ns"] for row, found in zip(rows, first, strict=True))
    unused = [100 * (1 - found["measured_ns"] / row["budget_ns"]) for row, found in zip(rows, last, strict=True)]
    verdicts = [[found["verdict"] for found in row].count(word) for row in (first, last) for word in ("pass", "fail")]
    return (what, len(rows), *verdicts, within, f"{np.mean(unused):.1f}")


if __name__ == "__main__":
    main()
