"""How often a searched network is within its budget when it is first measured, with and without a confidence.

For a latency table that is there: a few of its networks are measured again and carry it over to the machine as it is.
Then for 40 budgets along its range the best network is searched twice: with its prediction within the budget, and with
the upper bound of 95 % within it (``--confidence 0.95``). All are measured in one fresh process, beside none of the
table's networks: what counts is whether the measured median is within the budget.

    python benchmarks/budgets_held.py TABLE.json [TABLE.json ...] [--budgets 40] [--seed N]

Takes about two minutes a table. Adds an occasion to benchmarks/results/budgets_held.json.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path
from typing import Any, Final

import numpy as np
from problems import accuracy_of
from record import add_occasion, conditions, parser_of

from binas_deploy.cli.render import make_progress, table
from binas_deploy.columns import Floats
from binas_deploy.devices import DeviceSpec, load_device_spec
from binas_deploy.problem import LinearForm, Resource, SelectionProblem
from binas_deploy.progress import Progress
from binas_deploy.solvers.frontier import Frontier
from binas_deploy.space import Architecture
from binas_deploy.steps.carry_over import carry_over
from binas_deploy.steps.fresh import measured_in_fresh_process
from binas_deploy.steps.networks import stand_in
from binas_deploy.table import LatencyTable
from binas_deploy.table.cost_model import CostModel

NAME: Final = "budgets_held"
CONFIDENCE: Final = 0.95
KINDS: Final = ("prediction", "upper bound")


def main() -> None:
    """Measure for every table, add it to the document, print the figures."""
    args = _arguments()
    progress = make_progress(quiet=False)
    made_under = conditions(threads=1, seed=args.seed)
    rows = [_table(LatencyTable.load(path), args, progress) for path in args.tables]
    number, path = add_occasion(NAME, made_under, {"tables": rows})
    print(_text(rows))
    print(f"\noccasion {number}, written to {path}")


def _arguments() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument("tables", type=Path, nargs="+", metavar="TABLE")
    parser.add_argument("--budgets", type=int, default=40, help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def _table(latencies: LatencyTable, args: argparse.Namespace, progress: Progress) -> dict[str, Any]:
    spec = load_device_spec(latencies.device).with_threads(int(latencies.conditions.identity["threads"]))
    carried = carry_over(latencies, spec, seed=args.seed, progress=progress)
    model = latencies.model.now(carried.found)
    budgets, found = _searched(latencies, model, args)
    archs = list(dict.fromkeys(itertools.chain(*found.values())))
    medians = dict(zip(archs, _measured(latencies, spec, archs, args.seed), strict=True))
    return {
        "space": latencies.space.name,
        "table_made": latencies.created,
        "table_digest": latencies.digest,
        "machine": carried.slowdown,
        "budgets_ns": budgets,
        **{kind: _figures(model, found[kind], budgets, medians) for kind in KINDS},
    }


def _searched(
    latencies: LatencyTable, model: CostModel, args: argparse.Namespace
) -> tuple[list[int], dict[str, list[Architecture]]]:
    space, rng = latencies.space, np.random.default_rng(args.seed)
    accuracy = accuracy_of(space, None)
    usual = _frontier(latencies, model, accuracy.value_form()) if accuracy else None
    budgets: list[int] = []
    found: dict[str, list[Architecture]] = {kind: [] for kind in KINDS}
    for index in range(args.budgets):
        front = usual or _frontier(latencies, model, stand_in(space, rng))
        # From a tenth of the range on: below, not even the smallest network's upper bound is within the budget.
        share = 0.1 + 0.9 * (index + 0.5) / args.budgets
        budget = round(front.costs[0] + share * (front.costs[-1] - front.costs[0]))
        budgets.append(budget)
        for kind, most in zip(KINDS, (budget, model.most_predicted(budget, CONFIDENCE)), strict=True):
            found[kind].append(front.architecture(front.best(most) or 0))
    return budgets, found


def _frontier(latencies: LatencyTable, model: CostModel, value: LinearForm) -> Frontier:
    return Frontier.of(SelectionProblem(latencies.space.depths, value, (Resource("latency", model.form, 0),)))


def _measured(latencies: LatencyTable, spec: DeviceSpec, archs: list[Architecture], seed: int) -> tuple[float, ...]:
    return measured_in_fresh_process(latencies.space, spec, archs, spec.timing_rule(), seed + 1).latencies_ns


def _figures(
    model: CostModel, archs: list[Architecture], budgets: list[int], medians: dict[Architecture, float]
) -> dict[str, Any]:
    measured: Floats = np.array([medians[arch] for arch in archs])
    limits = np.array(budgets, dtype=np.float64)
    return {
        "held": int((measured <= limits).sum()),
        "of": len(budgets),
        "mean_unused_percent": float(100 * (1 - measured / limits).mean()),
        "worst_over_percent": float(100 * (measured / limits - 1).max()),
        "measured_ns": measured.tolist(),
        "predicted_ns": [model.predict(arch).value for arch in archs],
    }


def _text(rows: list[dict[str, Any]]) -> str:
    header = ("space", "table made", "machine", "within the budget", "held", "unused %", "worst over %")
    lines = [
        (
            row["space"],
            row["table_made"],
            f"{row['machine']:.3f}",
            kind,
            f"{row[kind]['held']} of {row[kind]['of']}",
            f"{row[kind]['mean_unused_percent']:.2f}",
            f"{row[kind]['worst_over_percent']:+.2f}",
        )
        for row in rows
        for kind in KINDS
    ]
    return table(header, lines)


if __name__ == "__main__":
    main()
