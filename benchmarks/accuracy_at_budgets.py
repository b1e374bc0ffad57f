"""Predicted against verified accuracy at three budgets, and the searched network against random ones.

For budgets at 25, 50 and 75 % of the cifar10 space's predicted latency range (ONNX Runtime, one thread): search,
export to a temporary bundle, verify: accuracy on the test set through the runtime, beside what the accuracy model
predicted (optimistic at its own maximum) and the direct evaluation on held-out images. Then, at 50 %, the searched
network against 20 random ones whose predicted latency is 95-100 % of the budget: each is extracted from the supernet,
its batch norm recalibrated, and evaluated by torch on the held-out images and on the test set. The test set is only
compared on; the best of the random ones is picked by it, which favours them.

    python benchmarks/accuracy_at_budgets.py [--workspace DIR] [--supernet DIR] [--accuracy FILE] [--seed N]

Needs the images (binas-deploy data fetch cifar10). Takes about ten minutes on two cores.
Writes benchmarks/results/accuracy_at_budgets.json.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from problems import along_range, measured_table, one_thread
from record import conditions, parser_of, write
from rivals import Job, compared

from binas_deploy.accuracy import AccuracyModel
from binas_deploy.budget import Budget
from binas_deploy.bundle.manifest import Manifest
from binas_deploy.bundle.verification import Accuracy, VerificationReport
from binas_deploy.cli.render import make_progress, table
from binas_deploy.quantities import Quantity
from binas_deploy.search_result import SearchResult
from binas_deploy.shipped import accuracy_path, supernet_path
from binas_deploy.space_file import load_space
from binas_deploy.steps.export import export
from binas_deploy.steps.search import search
from binas_deploy.steps.verify import verify
from binas_deploy.workspace import find_workspace

SHARES: Final = (0.25, 0.5, 0.75)
COMPARED_AT: Final = 0.5
NETWORKS: Final = 20


def main() -> None:
    """Search, export and verify at each budget, compare at one, write the document, print the figures."""
    job = _job()
    made_under = conditions(threads=1, torch_threads=torch.get_num_threads(), seed=job.seed)
    found = {share: _search(job, share) for share in SHARES}
    budgets = [_verified(job, share, result) for share, result in found.items()]
    content = {
        "inputs": _inputs(job),
        "budgets": budgets,
        "compared_at": {"share": COMPARED_AT, "budget": found[COMPARED_AT].latency_budget.limit_ns},
        **compared(job, found[COMPARED_AT]),
    }
    path = write("accuracy_at_budgets", made_under, content)
    print(_text(content))
    print(f"\nwritten to {path}")


def _job() -> Job:
    parser = parser_of(__doc__)
    parser.add_argument("--workspace", type=Path, help="where its latency table is, or goes")
    parser.add_argument("--supernet", type=Path, help="folder of a trained supernet (default: the shipped one)")
    parser.add_argument("--accuracy", type=Path, help="its accuracy model (default: the shipped one)")
    parser.add_argument("--data", default="cifar10", help="images (default: %(default)s)")
    parser.add_argument("--networks", type=int, default=NETWORKS, help="random ones (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    space, workspace, progress = load_space("cifar10"), find_workspace(args.workspace), make_progress(quiet=False)
    supernet = supernet_path(space, args.supernet)
    model = AccuracyModel.load(accuracy_path(space, args.accuracy))
    latencies = measured_table(space, workspace, progress)
    return Job(latencies, model, workspace, supernet, args.data, args.networks, args.seed, progress)


def _inputs(job: Job) -> dict[str, Any]:
    quality = None if job.model.quality is None else dict(job.model.quality)
    return {"table": job.table.digest, "accuracy_model": job.model.digest, "accuracy_model_quality": quality}


def _search(job: Job, share: float) -> SearchResult:
    budget = Budget(Quantity("time", along_range(job.table.space, job.table.cost_form(), share)))
    return search(job.table.space, accuracy=job.model, budgets=[budget], tables=[job.table], seed=job.seed)


def _verified(job: Job, share: float, result: SearchResult) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        bundle = export(
            result,
            table=job.table,
            workspace=job.workspace,
            output=Path(folder) / "bundle",
            supernet=job.supernet,
            data=job.data,
            seed=job.seed,
            progress=job.progress,
        )
        report = verify(
            bundle,
            device=one_thread(job.workspace),
            workspace=job.workspace,
            data=job.data,
            accuracy="always",
            seed=job.seed,
            progress=job.progress,
        )
        return _budget_row(share, Manifest.load(bundle), report)


def _budget_row(share: float, manifest: Manifest, report: VerificationReport) -> dict[str, Any]:
    """Accuracies in percent as [value, low, high] (95 %), latencies in ns."""
    if not isinstance(report.accuracy, Accuracy):
        raise SystemExit(f"at {100 * share:.0f} % of the range: {report.accuracy.reason}")
    test, latency, predicted = report.accuracy, report.latency, manifest.predicted
    by_model = Accuracy(test.correct, test.images, test.data, predicted.accuracy)
    return {
        "share": share,
        "budget": manifest.asked.limit_ns,
        "predicted_by_model": [predicted.accuracy.value, predicted.accuracy.low, predicted.accuracy.high],
        "held_out": [predicted.best_accuracy.value, predicted.best_accuracy.low, predicted.best_accuracy.high],
        "test_through_runtime": [test.top1.value, test.top1.low, test.top1.high],
        "test_minus_held_out": test.difference,
        "allowed": test.allowed,
        "within_allowed": abs(test.difference) <= test.allowed,
        "test_minus_model": by_model.difference,
        "allowed_of_model": by_model.allowed,
        "model_within_allowed": abs(by_model.difference) <= by_model.allowed,
        "parity": report.parity.verdict.value,
        "latency_predicted": predicted.latency.value,
        "latency_median": latency.measurement.median,
        "latency_interval": latency.interval,
        "machine_scale": latency.machine.scale if latency.machine else None,
        "latency_verdict": latency.verdict.value,
        "network": manifest.space.text(manifest.architecture),
    }


def _text(content: dict[str, Any]) -> str:
    accuracies = ("model", "held-out", "test")
    budgets = ("budget", "of range", *accuracies, "test - held-out", "test - model", "latency")
    networks = ("network", "latency predicted", "of budget", *accuracies)
    parts = [
        table(budgets, [_budget_cells(row) for row in content["budgets"]]),
        table(networks, [*_network_cells(content["networks"], content["compared_at"]["budget"])]),
        *(_sentence(split, row, len(content["networks"]) - 1) for split, row in content["comparison"].items()),
    ]
    return "\n\n".join(parts)


def _budget_cells(row: dict[str, Any]) -> tuple[str, ...]:
    median = f"{row['latency_median'] / 1e6:.4f} ms: {row['latency_verdict']}"
    return (
        f"{row['budget'] / 1e6:.4f} ms",
        f"{100 * row['share']:.0f} %",
        *(_interval(row[name]) for name in ("predicted_by_model", "held_out", "test_through_runtime")),
        _judged(row["test_minus_held_out"], row["allowed"]),
        _judged(row["test_minus_model"], row["allowed_of_model"]),
        median,
    )


def _network_cells(networks: Sequence[dict[str, Any]], budget: int) -> Iterator[tuple[str, ...]]:
    for number, row in enumerate(networks):
        latency = row["latency_predicted"]
        yield (
            f"random {number}" if number else "searched",
            f"{latency / 1e6:.4f} ms",
            f"{100 * latency / budget:.1f} %",
            f"{row['predicted_by_model']:.2f}",
            _interval(row["held_out"]),
            _interval(row["test"]),
        )


def _sentence(split: str, row: dict[str, Any], count: int) -> str:
    verdict = "beats" if row["searched_is_best"] else "does NOT beat"
    value, low, high = row["difference"]
    return (
        f"{split}: the searched network ({row['searched']:.2f} %) {verdict} the best of {count} random ones "
        f"({row['best_random']:.2f} %, mean {row['mean_random']:.2f} %): {value:+.2f} points "
        f"({low:+.2f} to {high:+.2f}, paired, 95 %); {row['random_below']} of {count} are below it"
    )


def _interval(values: Sequence[float]) -> str:
    return "{:.2f} ({:.2f} to {:.2f})".format(*values)


def _judged(difference: float, allowed: float) -> str:
    return f"{difference:+.2f} ({'within' if abs(difference) <= allowed else 'NOT within'} {allowed:.2f})"


if __name__ == "__main__":
    main()
