"""Deploy: profile, search, export, verify, and search again with what verifying learnt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from binas_deploy.accuracy import AccuracyModel
from binas_deploy.budget import Budget
from binas_deploy.bundle.verification import Verdict, VerificationReport
from binas_deploy.data.cifar10 import cifar10_path, fetch_cifar10
from binas_deploy.devices import DeviceSpec, open_device
from binas_deploy.errors import InfeasibleBudgetError, InputError, NotMeasuredError
from binas_deploy.problem import Status
from binas_deploy.progress import SILENT, Progress
from binas_deploy.quantities import Quantity
from binas_deploy.search_result import SearchResult
from binas_deploy.shipped import accuracy_path, supernet_path
from binas_deploy.solvers import AUTO
from binas_deploy.space import SearchSpace
from binas_deploy.steps.asked import latency_and_computed
from binas_deploy.steps.carry_over import CarriedOver, carry_over
from binas_deploy.steps.export import export
from binas_deploy.steps.given_table import given_table
from binas_deploy.steps.profile import profile
from binas_deploy.steps.quantise import MAX_DROP
from binas_deploy.steps.rounds import MOST_ROUNDS, Deployment, Round, tightened
from binas_deploy.steps.search import search
from binas_deploy.steps.tables import find_table
from binas_deploy.steps.verify import verify
from binas_deploy.table import LatencyTable

CIFAR10: Final = "cifar10"
_MUCH_FASTER: Final = 0.93
_ALL_MEET_IT: Final = "every network of the space is predicted to meet this budget: it excludes nothing."
_REMEDY: Final = "close other programs and run it again, profile again, or ask for a larger budget."


@dataclass(frozen=True)
class _Export:
    """What exporting and verifying are told."""

    workspace: Path
    output: Path | None
    supernet: Path
    data: str
    max_drop: float
    measure_accuracy: bool


@dataclass(frozen=True)
class _Job:
    """All that stays the same from round to round."""

    spec: DeviceSpec
    budget: Budget
    computed: tuple[Budget, ...]
    model: AccuracyModel
    table_path: Path
    table: LatencyTable
    carried: CarriedOver | None
    export: _Export
    solver: str
    seed: int
    progress: Progress


def deploy(
    space: SearchSpace,
    spec: DeviceSpec,
    budgets: Sequence[Budget],
    *,
    workspace: Path,
    threads: int | None = None,
    supernet: Path | None = None,
    accuracy: Path | None = None,
    table: Path | None = None,
    data: str = "cifar10",
    output: Path | None = None,
    solver: str = AUTO,
    max_drop: float = MAX_DROP,
    measure_accuracy: bool = True,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Deployment:
    """The best network of ``space`` that is measured to meet its budget on the device, as a verified bundle.

    ``budgets``: one of latency, and any of what is computed, which hold in every round. A valid latency table is used,
    carried over to the machine as it is now by a few networks measured again, or one is measured. While verifying does
    not show the network within the latency asked, the search is repeated for as much less as that showed, at most
    `MOST_ROUNDS` times in all. Accuracy is measured once the latency is right. In int8 the network may lose at most
    ``max_drop`` points by quantising.

    Raises:
        InfeasibleBudgetError: proved: no network is predicted to meet the budgets.
        TooLossyError: int8 costs more accuracy than ``max_drop``.
        InputError, MismatchError, DocumentError: something given is unknown, damaged or made for something else, or a
            budget is of energy.
        DeviceError, MissingExtraError: the device, its runtime or torch is absent, or failed.
        EnvironmentFault: images cannot be had, or the disk refuses.
    """
    asked = spec.with_threads(threads)
    budget, computed = latency_and_computed(budgets)
    _require_device(budget, asked)
    weights = supernet_path(space, supernet)
    model = AccuracyModel.load(accuracy_path(space, accuracy))
    model.require_space(space)
    open_device(asked).facts()  # a device that is not there is noticed before anything is made
    _fetch_images(data, progress)
    path, measured, stored = _table(space, asked, workspace, table, seed, progress)
    carried = carry_over(measured, asked, seed=seed, progress=progress) if stored else None
    export_to = _Export(workspace, output, weights, data, max_drop, measure_accuracy)
    return _loop(_Job(asked, budget, computed, model, path, measured, carried, export_to, solver, seed, progress))


def _loop(job: _Job) -> Deployment:
    effective, rounds, notes = job.budget.limit, [], _Notes(job.progress)
    first = result = _search(job, effective)
    notes.add(job.carried.note if job.carried else "")
    notes.add(_ALL_MEET_IT if first.every_network_meets_it else "")
    while True:
        bundle, report = _export_and_verify(job, _as_asked(first, result))
        rounds.append(Round.of(effective, result, report.latency))
        notes.add(_round_text(len(rounds), rounds[-1]), kept=False)
        if report.latency.verdict is Verdict.PASS or report.parity.verdict is Verdict.FAIL:
            break
        if len(rounds) == MOST_ROUNDS:
            notes.add(f"after {MOST_ROUNDS} rounds no network is shown to be within the budget; {_REMEDY}")
            break
        effective = tightened(job.budget.limit, result.latency.value, report.latency, len(rounds))
        try:
            result = _search(job, effective)
        except InfeasibleBudgetError as error:
            notes.add(f"no network is predicted to take at most {_ms(effective)}, which measuring calls for: {error}")
            break
    for answer in result.computed:
        notes.add(f"{answer.resource}: {answer.text}")
    notes.add(_faster_text(report.latency.predicted_now_ns / rounds[-1].predicted_ns))
    return Deployment(bundle, tuple(rounds), report, job.table_path, tuple(notes.kept))


class _Notes:
    """Says things as they happen, and keeps those that the end should repeat."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.kept: list[str] = []

    def add(self, text: str, *, kept: bool = True) -> None:
        if text:
            self._progress.note(text)
        if text and kept:
            self.kept.append(text)


def _search(job: _Job, effective: int) -> SearchResult:
    budget = replace(job.budget, quantity=Quantity("time", effective))
    return search(
        job.table.space,
        accuracy=job.model,
        budgets=[budget, *job.computed],
        tables=[job.table],
        solver=job.solver,
        seed=job.seed,
        carried={job.table.device: job.carried.found} if job.carried else {},
    )


def _as_asked(first: SearchResult, result: SearchResult) -> SearchResult:
    """``result`` of a smaller budget as an answer to the one asked: what the first search proved still bounds it."""
    if result is first:
        return first
    asked = first.latency_budget
    answer = replace(
        result.latency_budget,
        budget=asked.budget,
        limit_ns=asked.limit_ns,
        every_network_meets_it=asked.every_network_meets_it,
    )
    gap = None if first.bound is None else max(0.0, first.bound - result.accuracy.value)
    return replace(result, latencies=(answer,), status=Status.FEASIBLE, bound=first.bound, gap=gap)


def _export_and_verify(job: _Job, result: SearchResult) -> tuple[Path, VerificationReport]:
    to = job.export
    bundle = export(
        result,
        table=job.table,
        workspace=to.workspace,
        output=to.output,
        supernet=to.supernet,
        data=to.data,
        max_drop=to.max_drop,
        seed=job.seed,
        progress=job.progress,
    )
    report = verify(
        bundle,
        device=job.spec,
        workspace=to.workspace,
        data=to.data,
        accuracy="if_within_budget" if to.measure_accuracy else "never",
        seed=job.seed,
        progress=job.progress,
    )
    return bundle, report


def _table(
    space: SearchSpace, spec: DeviceSpec, workspace: Path, given: Path | None, seed: int, progress: Progress
) -> tuple[Path, LatencyTable, bool]:
    """Where the table is, the table, and whether it was there: one that is made now needs no carrying over."""
    if given is not None:
        return given, given_table(given, space, spec), True
    try:
        return (*find_table(space, spec, workspace=workspace), True)
    except NotMeasuredError:
        return (*profile(space, spec, workspace=workspace, seed=seed, progress=progress), False)


def _fetch_images(data: str, progress: Progress) -> None:
    """Exporting and verifying need them; better to fail before measuring than after."""
    if data == CIFAR10 and not cifar10_path().exists():
        fetch_cifar10(progress=progress)


def _require_device(budget: Budget, spec: DeviceSpec) -> None:
    if budget.device not in (None, spec.name):
        raise InputError(
            f"budget {budget}: is for device '{budget.device}', the network is for '{spec.name}'. "
            f"Write {budget.text}, or choose --device {budget.device}."
        )


def _round_text(number: int, row: Round) -> str:
    return (
        f"round {number}: searched for {_ms(row.effective_ns)}, predicted {_ms(row.predicted_ns)}, "
        f"measured {_ms(row.measured_ns)}: {row.verdict.value}"
    )


def _faster_text(factor: float) -> str:
    """``factor``: of the latency predicted for the machine as verified to the one that was searched for.

    A machine that is slower than its table is found out by the budget; one that is faster leaves some unused.
    """
    if factor > _MUCH_FASTER:
        return ""
    return (
        f"the machine is {1 / factor:.2f} times as fast as when the budget was searched for, so a better network "
        "may fit. Run the same command again if it stays so; a shared host's speed changes by the minute."
    )


def _ms(nanoseconds: float) -> str:
    return f"{nanoseconds / 1e6:.4f} ms"
