"""Predicted against measured latency of networks that the table has never seen.

For each space (ONNX Runtime, one thread) 20 random networks and 20 searched ones, none of them an anchor, are measured
in one interleaved run beside the table's anchors, with random weights. Searched are the best networks for 20 budgets
spread evenly over the table's latency range: a search prefers what the table underrates, so they are the harder case.
A space without an accuracy model gets a different random one for each budget. Where a network is an anchor or was
chosen before, the next cheaper one on the frontier is taken.

Errors are predicted / measured - 1, once as the table was made and once after one machine factor: the median over the
anchors of now / then. Rows "p25" are the same with the table calibrated to the 25 % quantile, and networks measured
at it.

    python benchmarks/latency_error.py [--space NAME|FILE ...] [--workspace DIR] [--accuracy FILE] [--seed N]

Takes about a minute for cifar10 and three for mobilenetv3, and as long again where a table must be measured first.
Writes benchmarks/results/latency_error.json.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from held_out import Chosen, held_out
from problems import accuracy_of, measured_table, one_thread
from record import conditions, write
from scipy import stats

from binas_deploy.accuracy import AccuracyModel
from binas_deploy.adapters.base import Precision
from binas_deploy.bundle.verification import AnchorMedians, MachineFactor
from binas_deploy.cli.render import make_progress, table
from binas_deploy.devices import DeviceSpec, open_device
from binas_deploy.measure import Measured, measure
from binas_deploy.measurement import Measurement
from binas_deploy.progress import Progress
from binas_deploy.space import Architecture
from binas_deploy.space_file import load_space
from binas_deploy.steps.subjects import (
    Network,
    anchor_models,
    middle_network,
    network_key,
    network_model,
    open_subjects,
)
from binas_deploy.table import Anchor, LatencyTable
from binas_deploy.table.parts import calibrated
from binas_deploy.workspace import find_workspace

SPACES: Final = ("cifar10", "mobilenetv3")
NETWORKS: Final = 20
LEAST_ROUNDS: Final = 24
MOST_SECONDS: Final = 150.0
QUANTILES: Final = {"median": 0.5, "p25": 0.25}


def main() -> None:
    """Measure every space asked for, write the document, print the figures."""
    args = _arguments()
    workspace, progress = find_workspace(args.workspace), make_progress(quiet=False)
    made_under = conditions(threads=1, seed=args.seed)
    content: dict[str, Any] = {"spaces": {}, "figures": [], "networks": []}
    for name in args.space or SPACES:
        latencies = measured_table(load_space(name), workspace, progress)
        accuracy = accuracy_of(latencies.space, args.accuracy)
        _add_space(content, latencies, accuracy, one_thread(workspace), args, progress)
    path = write("latency_error", made_under, content)
    print(_text(content))
    print(f"\nwritten to {path}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", action="append", metavar="NAME|FILE", help="again for each (default: both built-in)")
    parser.add_argument("--workspace", type=Path, help="where its latency table is, or goes")
    parser.add_argument("--accuracy", type=Path, help="accuracy model of one of the spaces (default: the shipped one)")
    parser.add_argument("--networks", type=int, default=NETWORKS, help="of each kind (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def _add_space(
    content: dict[str, Any],
    latencies: LatencyTable,
    accuracy: AccuracyModel | None,
    spec: DeviceSpec,
    args: argparse.Namespace,
    progress: Progress,
) -> None:
    """Add all that is found out of one space to the document; times in ns."""
    chosen = held_out(latencies, accuracy, args.networks, args.seed)
    measured = _measure(latencies, spec, chosen, args.seed, progress)
    tables, named = {"median": latencies, "p25": at_p25(latencies)}, {"space": latencies.space.name}
    rows = [_row(tables, row, measured) for row in (*_anchors(latencies), *chosen)]
    factors = {name: _factor(latencies, measured, q) for name, q in QUANTILES.items()}
    content["spaces"][latencies.space.name] = {
        "table": {"digest": latencies.digest, "created": latencies.created, **asdict(latencies.calibration)},
        "accuracy_model": accuracy.digest if accuracy else "random, another one for each budget",
        "run": measured.quality.summary(),
        "machine_factor": {name: asdict(factor) for name, factor in factors.items()},
    }
    content["figures"] += [named | figure for figure in _figures(rows, factors)]
    content["networks"] += [named | row for row in rows]


def at_p25(latencies: LatencyTable) -> LatencyTable:
    """The same table calibrated to the anchors' 25 % quantiles."""

    def low(anchor: Anchor) -> Anchor:
        only = np.array([round(anchor.measurement.location)])
        return Anchor(anchor.arch, anchor.kind, Measurement(only, np.zeros_like(only)))

    anchors = [low(anchor) for anchor in latencies.anchors]
    return replace(latencies, calibration=calibrated(latencies.space, latencies.pieces, anchors))


def _measure(
    latencies: LatencyTable, spec: DeviceSpec, chosen: Sequence[Chosen], seed: int, progress: Progress
) -> Measured:
    space, usual = latencies.space, spec.timing_rule()
    models = anchor_models(latencies)
    middle = network_key(space, middle_network(space, [Network(row.arch, row.group) for row in _anchors(latencies)]))
    models |= {network_key(space, row.arch): network_model(space, row.arch, spec.batch) for row in chosen}
    most = max(LEAST_ROUNDS, usual.max_rounds)
    timing = replace(usual, min_rounds=LEAST_ROUNDS, max_rounds=most, max_seconds=MOST_SECONDS)
    with (
        open_subjects(open_device(spec), models, precision=Precision(spec.precision), progress=progress) as subjects,
        progress.task(f"measuring {len(subjects)} networks of {space.name}", most) as advance,
    ):
        rng = np.random.default_rng(seed)
        return measure(subjects, timing=timing, rng=rng, sentinel=middle, on_round=lambda *_: advance(1))


def _anchors(latencies: LatencyTable) -> list[Chosen]:
    return [Chosen(anchor.arch, "anchor") for anchor in latencies.anchors]


def _found(latencies: LatencyTable, arch: Architecture, measured: Measured) -> Measurement:
    samples = measured.samples(network_key(latencies.space, arch))
    return Measurement(samples, np.zeros_like(samples))


def _row(tables: dict[str, LatencyTable], chosen: Chosen, measured: Measured) -> dict[str, Any]:
    """``median`` and ``p25``: [predicted, low, high, measured, low, high], intervals of 95 %, as the table was made."""
    latencies = tables["median"]
    found = _found(latencies, chosen.arch, measured)
    row: dict[str, Any] = {"group": chosen.group, "budget": chosen.budget_ns, "samples": len(found)}
    for name, q in QUANTILES.items():
        predicted = tables[name].predict(chosen.arch)
        row[name] = [predicted.value, predicted.low, predicted.high, found.quantile(q), *found.interval(q)]
    return row | {"network": latencies.space.text(chosen.arch)}


def _factor(latencies: LatencyTable, measured: Measured, q: float) -> MachineFactor:
    then = {anchor.arch: anchor.measurement.quantile(q) for anchor in latencies.anchors}
    pairs = ((old, _found(latencies, arch, measured).quantile(q)) for arch, old in then.items())
    return MachineFactor.of([AnchorMedians("anchor", old, new) for old, new in pairs])


def _figures(rows: Sequence[dict[str, Any]], factors: dict[str, MachineFactor]) -> list[dict[str, Any]]:
    """One entry for each group, statistic and way of correcting."""
    found = []
    for group, (name, factor) in itertools.product(("random", "searched", "anchor"), factors.items()):
        numbers = np.array([row[name] for row in rows if row["group"] == group])
        for correction, by in (("as made", 1.0), ("machine factor", factor.value)):
            found.append({"group": group, "statistic": name, "correction": correction, **errors(numbers, by)})
    return found


def errors(numbers: np.ndarray[tuple[int, ...], np.dtype[np.float64]], factor: float) -> dict[str, float]:
    """Errors in percent of rows as in `_row`, predictions times ``factor``.

    ``inside``: how many measured values lie within the predicted 95 % interval.
    """
    predicted, low, high, measured = (
        factor * numbers[:, 0],
        factor * numbers[:, 1],
        factor * numbers[:, 2],
        numbers[:, 3],
    )
    relative = 100 * (predicted / measured - 1)
    return {
        "networks": len(numbers),
        "mape": float(np.mean(np.abs(relative))),
        "bias": float(np.mean(relative)),
        "worst": float(relative[np.argmax(np.abs(relative))]),
        "kendall_tau": float(stats.kendalltau(predicted, measured).statistic),
        "inside": int(np.sum((low <= measured) & (measured <= high))),
    }


def _text(content: dict[str, Any]) -> str:
    header = ("space", "networks", "statistic", "prediction", "MAPE %", "bias %", "worst %", "Kendall tau", "in 95 %")
    factors = [
        f"{space}: the machine takes {facts['machine_factor']['median']['value']:.4f} times as long as for the table"
        for space, facts in content["spaces"].items()
    ]
    return "\n".join([table(header, [_cells(figure) for figure in content["figures"]]), *factors])


def _cells(figure: dict[str, Any]) -> tuple[str, ...]:
    percent = (f"{figure['mape']:.2f}", f"{figure['bias']:+.2f}", f"{figure['worst']:+.2f}")
    named = (figure["space"], f"{figure['networks']} {figure['group']}", figure["statistic"], figure["correction"])
    return (*named, *percent, f"{figure['kendall_tau']:.3f}", f"{figure['inside']}/{figure['networks']}")


if __name__ == "__main__":
    main()
