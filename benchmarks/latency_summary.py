"""All occasions of ``latency_error.py`` in one table: means, and 95 % t-intervals over occasions.

An occasion is the unit: networks of one occasion share a table, a host in one mood, and anchors. With one occasion
there is a mean and no interval.

    python benchmarks/latency_summary.py [--space NAME]

Measures nothing. Prints Markdown, as it stands in benchmarks/README.md.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from latency_error import NAME
from record import RESULTS, parser_of
from scipy.stats import t as student

from binas_deploy.conditions import BACK_TO_BACK
from binas_deploy.steps.networks import KINDS

METHODS: Final = ("raw sum", "one factor", "MACs", "ridge, no pieces", "ours")
_Row = dict[str, Any]
_Figure = Callable[[_Row], float | None]


def main() -> None:
    """Read, group, print."""
    parser = parser_of(__doc__)
    parser.add_argument("--space", default="mobilenetv3", help="(default: %(default)s)")
    args = parser.parse_args()
    occasions = json.loads((RESULTS / f"{NAME}.json").read_text())["occasions"]
    columns: dict[str, list[_Row]] = defaultdict(list)
    for row in (row for occasion in occasions for row in occasion["columns"] if row["space"] == args.space):
        columns[_column(row)].append(row)
    print(_markdown("", columns, _figures()))
    print()
    print(_markdown("MAPE at equal measuring time", columns, _methods()))


def _column(row: _Row) -> str:
    called = f"{row['runtime'].split()[0]}, {row['threads']} thread{'s' if row['threads'] > 1 else ''}"
    return called if row["cadence"] == BACK_TO_BACK else f"{called}, {row['cadence']}"


def _figures() -> dict[str, _Figure]:
    found: dict[str, _Figure] = {}
    for kind in KINDS:
        found[f"MAPE, {kind}"] = _of(kind, "mape_percent")
    for kind in KINDS:
        found[f"error / noise floor, {kind}"] = _of("error_over_floor", kind)
    found["noise floor"] = lambda row: float(row["noise_floor_percent"])
    for kind in KINDS:
        found[f"bias, {kind}"] = _of(kind, "bias_percent")
    for kind in KINDS:
        found[f"within the 95 % interval, {kind}"] = _of(kind, "coverage_percent")
    for kind in KINDS:
        found[f"table of the occasion before, 3 anchors: MAPE, {kind}"] = _stored(kind)
    found["whole `profile`, s"] = lambda row: float(row["profile_seconds"])
    return found


def _methods() -> dict[str, _Figure]:
    return {f"{name}: {kind}": _of("others_mape_percent", name, kind) for name in METHODS for kind in KINDS}


def _of(*keys: str) -> _Figure:
    def figure(row: _Row) -> float | None:
        found: Any = row
        for key in keys:
            found = found.get(key, {})
        return float(found) if found != {} else None

    return figure


def _stored(kind: str) -> _Figure:
    def figure(row: _Row) -> float | None:
        return float(row["stored"][0][kind]["mape_percent"]) if row["stored"] else None

    return figure


def _markdown(title: str, columns: dict[str, list[_Row]], figures: dict[str, _Figure]) -> str:
    heads = [f"{name} ({len(rows)} occasion{'s' if len(rows) > 1 else ''})" for name, rows in columns.items()]
    lines = [[title, *heads], ["---"] * (1 + len(heads))]
    lines += [
        [name, *(_told([figure(row) for row in rows]) for rows in columns.values())] for name, figure in figures.items()
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _told(values: Sequence[float | None]) -> str:
    known = np.array([value for value in values if value is not None and math.isfinite(value)])
    if not len(known):
        return "–"
    if len(known) == 1:
        return f"{known[0]:.2f}"
    reach = float(student.ppf(0.975, len(known) - 1) * known.std(ddof=1) / math.sqrt(len(known)))
    return f"{known.mean():.2f} ± {reach:.2f}"


if __name__ == "__main__":
    main()
