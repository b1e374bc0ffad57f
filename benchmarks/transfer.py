"""Ten samples of a new device and a table of another: how good is the table that comes of them?

For every pair of the given tables of one space: ten of the target's networks (five random and five searched ones, as
``profile --from --samples 10`` takes them, drawn again ``--draws`` times) are all that is known of it, and the other
table is the start. The rest of the target's random and searched networks judge the result; nothing is measured anew.
Beside it, the same ten samples without another table (work alone).

    python benchmarks/transfer.py TABLE.json TABLE.json ... [--samples 10] [--draws 20] [--seed N]

Takes seconds. Writes benchmarks/results/transfer.json.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Final

import numpy as np
from record import conditions, parser_of, write

from binas_deploy.cli.render import table
from binas_deploy.columns import Columns, Floats
from binas_deploy.steps.networks import KINDS
from binas_deploy.table import Anchor, LatencyTable

NAME: Final = "transfer"
NO_TABLE: Final = "work alone"


def main() -> None:
    """Fit for each pair, write, print."""
    args = _arguments()
    tables = [LatencyTable.load(path) for path in args.tables]
    rows = [
        _pair(source, target, args)
        for target in tables
        for source in (None, *tables)
        if source is None or source.conditions.identity != target.conditions.identity
    ]
    path = write(NAME, conditions(threads=0, seed=args.seed), {"samples": args.samples, "pairs": rows})
    print(_text(rows))
    print(f"\nwritten to {path}")


def _arguments() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument("tables", type=Path, nargs="+", metavar="TABLE")
    parser.add_argument("--samples", type=int, default=10, help="(default: %(default)s)")
    parser.add_argument("--draws", type=int, default=20, help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def _pair(source: LatencyTable | None, target: LatencyTable, args: argparse.Namespace) -> dict[str, Any]:
    rng = np.random.default_rng(args.seed)
    found = [_draw(source, target, args.samples, rng) for _ in range(args.draws)]
    return {
        "from": NO_TABLE if source is None else _called(source),
        "to": _called(target),
        **{
            kind: {
                "mape_percent": round(float(np.mean([row[kind]["mape"] for row in found])), 3),
                "mape_sd_percent": round(float(np.std([row[kind]["mape"] for row in found], ddof=1)), 3),
                "coverage_percent": round(float(np.mean([row[kind]["inside"] for row in found])), 1),
            }
            for kind in KINDS
        },
    }


def _draw(
    source: LatencyTable | None, target: LatencyTable, samples: int, rng: np.random.Generator
) -> dict[str, dict[str, float]]:
    mixed = {kind: [anchor for anchor in target.anchors if anchor.kind == kind] for kind in KINDS}
    for row in mixed.values():
        rng.shuffle(row)  # in place
    shares = {"random": samples - samples // 2, "searched": samples // 2}
    known = [anchor for kind in KINDS for anchor in mixed[kind][: shares[kind]]]
    fitted = LatencyTable.fit(
        target.space,
        [(anchor.arch, anchor.location) for anchor in known],
        sources=[source] if source else (),
    )
    return {kind: _figures(fitted, mixed[kind][shares[kind] :]) for kind in KINDS}


def _figures(fitted: LatencyTable, anchors: list[Anchor]) -> dict[str, float]:
    design = Columns(fitted.space).design([anchor.arch for anchor in anchors])
    predicted: Floats = design @ fitted.calibration.costs
    measured = np.array([anchor.location for anchor in anchors])
    share = fitted.model.margin.two_sided().share
    return {
        "mape": float(100 * np.abs(predicted / measured - 1).mean()),
        "inside": float(100 * (np.abs(measured / predicted - 1) <= share).mean()),
    }


def _called(made: LatencyTable) -> str:
    identity = made.conditions.identity
    return f"{identity['runtime']}, {identity['threads']} threads"


def _text(rows: list[dict[str, Any]]) -> str:
    header = ("from", "to", "random %", "± draws", "searched %", "± draws", "in 95 %")
    lines = [
        (
            row["from"],
            row["to"],
            *(f"{row[kind][key]:.2f}" for kind in KINDS for key in ("mape_percent", "mape_sd_percent")),
            " / ".join(f"{row[kind]['coverage_percent']:.0f}" for kind in KINDS),
        )
        for row in rows
    ]
    return table(header, lines)


if __name__ == "__main__":
    main()
