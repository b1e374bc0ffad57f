"""Deploy: profile, search, export, verify, and search again with what verifying learnt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from binas_deploy.accuracy import AccuracyModel
from binas_deploy.budget import Budget
from binas_deploy.bundle.manifest import Manifest
from binas_deploy.bundle.shown import CONFIDENCE
from binas_deploy.bundle.verification import Verdict, VerificationReport
from binas_deploy.data.cifar10 import cifar10_path, fetch_cifar10
from binas_deploy.devices import DeviceSpec, open_device
from binas_deploy.errors import InputError, NotMeasuredError
from binas_deploy.problem import Status
from binas_deploy.progress import SILENT, Progress
from binas_deploy.quantities import Quantity
from binas_deploy.search_result import SearchResult
from binas_deploy.shipped import accuracy_path, supernet_path
from binas_deploy.solvers import AUTO
from binas_deploy.space import SearchSpace
from binas_deploy.steps.asked import latency_and_computed
from binas_deploy.steps.candidates import Candidates
from binas_deploy.steps.carry_over import CarriedOver, carry_over
from binas_deploy.steps.deploy_notes import Notes, faster_text, list_text, ms, round_text
from binas_deploy.steps.export import export
from binas_deploy.steps.given_table import given_table
from binas_deploy.steps.join import join
from binas_deploy.steps.profile import profile
from binas_deploy.steps.quantise import MAX_DROP
from binas_deploy.steps.rounds import MOST_ROUNDS, Deployment, Round, tightened
from binas_deploy.steps.search import search
from binas_deploy.steps.shortlist import LENGTH, SLOW_LENGTH, Candidate, measured, room_of, weighed
from binas_deploy.steps.tables import find_table
from binas_deploy.steps.verify import Asking, verify
from binas_deploy.table import LatencyTable
from binas_deploy.table.cost_model import CostModel

CIFAR10: Final = "cifar10"
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
    shortlist: int
    solver: str
    seed: int
    progress: Progress

    @property
    def confidence(self) -> float:
        """Of each round's verdict, so that a wrong PASS in any round is no likelier than asked (Bonferroni)."""
        return 1 - (1 - (self.budget.confidence or CONFIDENCE)) / MOST_ROUNDS

    @property
    def model_now(self) -> CostModel:
        """What the table says of the asked statistic, on the machine as it is."""
        made = self.table.model_of(self.budget.statistic)
        return made.now(self.carried.found) if self.carried else made


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
    shortlist: int | None = None,
    solver: str = AUTO,
    max_drop: float = MAX_DROP,
    measure_accuracy: bool = True,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Deployment:
    """The best network of ``space`` that is measured to meet its budget on the device, as a verified bundle.

    ``budgets``: one of latency, and any of what is computed, which hold in every round. A valid latency table is used,
    carried over to the machine as it is now by a few networks measured again, or one is measured. So many candidates
    from about the budget are measured (``shortlist``; 0: none), the best that fits is exported, and verified in further
    processes. While that does not show it within the latency asked, the next one is taken for as much less as it
    showed, at most `MOST_ROUNDS` times in all, between which the error rate is split. Accuracy is measured once the
    latency is right. What was verified joins the latency table of the workspace. In int8 the network may lose at most
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
    path, made, stored = _table(space, asked, workspace, table, seed, progress)
    carried = carry_over(made, asked, seed=seed, progress=progress) if stored else None
    length = (LENGTH if asked.timing.pieces else SLOW_LENGTH) if shortlist is None else shortlist
    to = _Export(workspace, output, weights, data, max_drop, measure_accuracy)
    return _loop(_Job(asked, budget, computed, model, path, made, carried, to, length, solver, seed, progress))


def _loop(job: _Job) -> Deployment:
    aim, rounds, notes, done = job.budget.limit, [], Notes(job.progress), []
    first = _search(job, aim)
    notes.add(job.carried.note if job.carried else "")
    notes.add(_ALL_MEET_IT if first.every_network_meets_it else "")
    candidates = _candidates(job, notes)
    candidates.begin(aim)
    while (pick := candidates.next(aim)) is not None:
        bundle, report = _export_and_verify(job, _as_asked(first, pick.result))
        done.append((Manifest.load(bundle), report))
        rounds.append(Round.of(aim, pick, report.latency))
        notes.add(round_text(len(rounds), rounds[-1]), kept=False)
        if report.latency.verdict is Verdict.PASS or report.parity.verdict is Verdict.FAIL:
            break
        if len(rounds) == MOST_ROUNDS:
            notes.add(f"after {MOST_ROUNDS} rounds no network is shown to be within the budget; {_REMEDY}")
            break
        aim = tightened(job.budget.limit, pick.expected_ns, report.latency, len(rounds))
        candidates.learnt()
    else:
        notes.add(candidates.gave_up or f"no other network is expected to take at most {ms(aim)}; {_REMEDY}")
    for answer in rounds[-1].computed:
        notes.add(f"{answer.resource}: {answer.text}")
    notes.add(_joined(job, done))
    now_ns = report.latency.predicted_now_ns
    notes.add(faster_text(now_ns / rounds[-1].expected_ns) if now_ns is not None else "")
    return Deployment(bundle, tuple(rounds), report, job.table_path, tuple(notes.kept))


def _candidates(job: _Job, notes: Notes) -> Candidates:
    """Measured ones, where a shortlist was asked for."""
    share = job.model_now.margin.two_sided().share
    factor = job.table.statistic_factor(job.budget.statistic).factor.value if job.shortlist > 1 else 1.0

    def weigh(results: Sequence[SearchResult]) -> tuple[tuple[Candidate, ...], float]:
        found = measured(results, job.spec, seed=job.seed, progress=job.progress)
        rows = weighed(results, found, factor)
        notes.add(list_text(rows), kept=False)
        return rows, room_of(found, job.confidence)

    return Candidates(partial(_search, job), weigh if job.shortlist > 1 else None, share, job.shortlist)


def _joined(job: _Job, done: Sequence[tuple[Manifest, VerificationReport]]) -> str:
    """What became of the networks that were verified, for the table; the last one's words stand for all."""
    said = [join(manifest, report, job.export.workspace) for manifest, report in done]
    return said[-1] if said else ""


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
    """``result`` of another budget as an answer to the one asked: what the first search proved bounds it still.

    But for a network that is predicted over the budget and was measured to be within it: about such ones no search
    proves anything.
    """
    if result.architecture == first.architecture:
        return first
    asked = first.latency_budget
    answer = replace(
        result.latency_budget,
        budget=asked.budget,
        limit_ns=asked.limit_ns,
        every_network_meets_it=asked.every_network_meets_it,
    )
    bound = first.bound if result.latency.value <= asked.most_predicted_ns else None
    gap = None if bound is None else max(0.0, bound - result.accuracy.value)
    return replace(result, latencies=(answer,), status=Status.FEASIBLE, bound=bound, gap=gap)


def _export_and_verify(job: _Job, result: SearchResult) -> tuple[Path, VerificationReport]:
    to = job.export
    bundle = export(
        result,
        table=job.table,
        workspace=to.workspace,
        output=to.output,
        supernet=to.supernet,
        data=to.data,
        device=job.spec,
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
        asking=Asking(confidence=job.confidence),
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
