"""How long the command line and the solvers take.

Whole processes: ``binas-deploy --help``, and ``binas-deploy search`` in a workspace that has a table of cifar10 (one is
measured when there is none). In this process: both solvers on both spaces for budgets at 25, 50 and 75 % of the range.
For mobilenetv3 the values are random, and the costs are multiply-accumulates where the workspace has no table.
Everything once untimed, then 7 times; median and least are printed. Other work on the machine adds to every figure.

    python benchmarks/speed.py [--workspace DIR] [--accuracy FILE] [--runs N] [--seed N]

Takes about half a minute. Writes benchmarks/results/speed.json.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from problems import accuracy_of, along_range, macs_cost, measured_table, problem, table_of
from record import conditions, parser_of, write

from binas_deploy.cli.render import make_progress, table
from binas_deploy.problem import Limits, SelectionProblem
from binas_deploy.solvers import solver
from binas_deploy.space_file import load_space
from binas_deploy.steps.networks import stand_in
from binas_deploy.workspace import find_workspace

RUNS: Final = 7
SHARES: Final = (0.25, 0.5, 0.75)
SPACES: Final = ("cifar10", "mobilenetv3")
SOLVERS: Final = ("frontier", "milp")


def main() -> None:
    """Time everything, write the document, print the figures."""
    args = _arguments()
    workspace = find_workspace(args.workspace)
    space = load_space("cifar10")
    latencies = measured_table(space, workspace, make_progress(quiet=False))
    budget = along_range(space, latencies.cost_form(), 0.5)
    made_under = conditions(threads=1, seed=args.seed, runs=args.runs)
    rows = [*_commands(workspace, args.accuracy, f"{budget}ns", args.runs), *_solving(workspace, args)]
    path = write("speed", made_under, {"seconds": rows})
    header = ("what", "median s", "least s", "most s")
    print(table(header, [(row["what"], *(f"{row[key]:.3f}" for key in ("median", "least", "most"))) for row in rows]))
    print(f"\nwritten to {path}")


def _arguments() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument("--workspace", type=Path, help="where its latency table is, or goes")
    parser.add_argument("--accuracy", type=Path, help="accuracy model of cifar10 (default: the shipped one)")
    parser.add_argument("--runs", type=int, default=RUNS, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def _commands(workspace: Path, accuracy: Path | None, budget: str, runs: int) -> Iterator[dict[str, Any]]:
    yield _timed("binas-deploy --help", lambda: _run("--help"), runs)
    given = ["--accuracy", str(accuracy.absolute())] if accuracy else []
    with tempfile.TemporaryDirectory() as folder:
        output = str(Path(folder) / "search.json")
        words = ["search", "--device", "cpu", "--budget", budget, "--threads", "1", "--workspace", str(workspace)]
        search = [*words, *given, "--output", output]
        yield _timed("binas-deploy search --device cpu --budget ...", lambda: _run(*search), runs)


def _run(*words: str) -> None:
    """The installed command, beside this interpreter; its whole process."""
    command = shutil.which("binas-deploy", path=str(Path(sys.executable).parent))
    if command is None:
        raise SystemExit(f"there is no binas-deploy beside {sys.executable}; install it there.")
    done = subprocess.run([command, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"binas-deploy {' '.join(words)} ended with {done.returncode}:\n{done.stderr}")


def _solving(workspace: Path, args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    for name in SPACES:
        for share, (source, selection) in zip(SHARES, _problems(name, workspace, args), strict=True):
            for chosen in SOLVERS:
                what = f"{chosen}, {name} ({source}), budget at {100 * share:.0f} %"
                yield _solved(what, chosen, selection, args.runs)


def _problems(name: str, workspace: Path, args: argparse.Namespace) -> Iterator[tuple[str, SelectionProblem]]:
    """What it is made of, and the problem, for each share."""
    space = load_space(name)
    measured, accuracy = table_of(space, workspace), accuracy_of(space, args.accuracy)
    cost = measured.cost_form() if measured else macs_cost(space)
    value = accuracy.value_form() if accuracy else stand_in(space, np.random.default_rng(args.seed))
    source = f"{'table' if measured else 'MACs'}, {'accuracy model' if accuracy else 'random values'}"
    for share in SHARES:
        yield source, problem(space, value, cost, along_range(space, cost, share))


def _solved(what: str, chosen: str, selection: SelectionProblem, runs: int) -> dict[str, Any]:
    found = solver(chosen)
    solution = found.solve(selection, limits=Limits(), seed=0)
    timed = _timed(what, lambda: found.solve(selection, limits=Limits(), seed=0), runs)
    return {**timed, "status": solution.status.value, "value": solution.value}


def _timed(what: str, work: Callable[[], object], runs: int) -> dict[str, Any]:
    """Wall seconds of ``work``, after one untimed run."""
    work()
    taken = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return {
        "what": what,
        "median": statistics.median(taken),
        "least": min(taken),
        "most": max(taken),
        "runs": taken,
    }


if __name__ == "__main__":
    main()
