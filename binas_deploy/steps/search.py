"""Search: accuracy model + budgets + latency tables -> the best network, proved and rechecked."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from binas_deploy.accuracy import UNITS_PER_POINT, AccuracyModel
from binas_deploy.budget import Budget
from binas_deploy.errors import BinasError, InconclusiveError, InfeasibleBudgetError, InputError
from binas_deploy.extremes import cheapest
from binas_deploy.problem import Limits, Resource, SelectionProblem, Solution, Status
from binas_deploy.resources import Footprint, Setting
from binas_deploy.search_result import SearchResult
from binas_deploy.solvers import AUTO, solver_name
from binas_deploy.solvers import solver as solver_of
from binas_deploy.solvers.base import Solver
from binas_deploy.solvers.frontier import Frontier
from binas_deploy.space import Architecture, SearchSpace
from binas_deploy.steps.asked import (
    AskedComputed,
    AskedLatency,
    AskedPredicted,
    asked_computed,
    asked_latencies,
    require_answerable,
    resources_of,
)
from binas_deploy.steps.asked_energy import AskedEnergy, asked_energies
from binas_deploy.table import LatencyTable
from binas_deploy.table.reconcile import Reconciliation

_USUAL_LIMITS: Final = Limits()
_AS_MADE: Final[Mapping[str, Reconciliation]] = MappingProxyType({})
_AllAsked = tuple[AskedLatency | AskedEnergy | AskedComputed, ...]


def search(
    space: SearchSpace,
    *,
    accuracy: AccuracyModel,
    budgets: Sequence[Budget],
    tables: Sequence[LatencyTable] = (),
    solver: str | Solver = AUTO,
    limits: Limits = _USUAL_LIMITS,
    seed: int = 0,
    setting: Setting | None = None,
    carried: Mapping[str, Reconciliation] = _AS_MADE,
) -> SearchResult:
    """The network of highest predicted accuracy that keeps every budget.

    A budget of latency or energy needs its table; without a device it needs exactly one. Latencies of devices in
    ``carried`` are read for the machine as it is now. Weight bytes and peak memory are those in ``setting``, by default
    that of the first such budget's table, else batch 1 in fp32. Whatever the solver answers is computed again from
    tables and networks.

    Raises:
        InputError: no budget, none or several tables for one, an unknown solver, or one that cannot take so many.
        MismatchError: a table or the accuracy model is of another space, or a table of another statistic or cadence.
        NotMeasuredError: a table without the energy that is asked for, or with too few samples for the statistic.
        InfeasibleBudgetError: proved; names the least that there is of each resource and the network that has it.
        InconclusiveError: the solver found nothing within ``limits``.
        BinasError: the solver's answer does not hold.
    """
    require_answerable(budgets)
    accuracy.require_space(space)
    latencies = asked_latencies(space, budgets, tables, carried)
    energies = asked_energies(space, budgets, tables)
    running = setting or _setting([*latencies, *energies])
    computed = asked_computed(space, budgets, running)
    asked: _AllAsked = (*latencies, *energies, *computed)
    problem = SelectionProblem(space.depths, accuracy.value_form(), resources_of(space, asked))
    name, chosen = _solver(solver, problem)
    started = time.perf_counter_ns()
    solution = chosen.solve(problem, limits=limits, seed=seed)
    seconds = (time.perf_counter_ns() - started) / 1e9
    architecture = _believed(space, problem, asked, solution, name)
    return SearchResult(
        space=space,
        architecture=architecture,
        latencies=tuple(row.answer(architecture) for row in latencies),
        computed=tuple(row.answer(architecture) for row in computed),
        footprint=Footprint.of(space, architecture, running),
        accuracy=accuracy.predict(architecture),
        accuracy_digest=accuracy.digest,
        supernet_digest=accuracy.supernet_digest,
        status=solution.status,
        bound=None if solution.bound is None else solution.bound / UNITS_PER_POINT,
        gap=_gap(solution),
        solver=name,
        tie_rule=chosen.ties,
        seed=seed,
        solve_seconds=seconds,
        energies=tuple(row.answer(architecture) for row in energies),
    )


def frontier_of(space: SearchSpace, accuracy: AccuracyModel, table: LatencyTable) -> Frontier:
    """Every budget at once: ``costs`` in ns, ``values`` in 1e-9 points (`UNITS_PER_POINT`), both ascending.

    Raises:
        MismatchError: the table or the accuracy model is of another space.
    """
    accuracy.require_space(space)
    table.require_space(space, f"the latency table of device '{table.device}'")
    resource = Resource(table.device, table.cost_form(), 0)
    return Frontier.of(SelectionProblem(space.depths, accuracy.value_form(), (resource,)))


def _setting(measured: Sequence[AskedPredicted]) -> Setting:
    return Setting.of(measured[0].table.conditions.identity) if measured else Setting()


def _solver(asked: str | Solver, problem: SelectionProblem) -> tuple[str, Solver]:
    if not isinstance(asked, str):
        return type(asked).__name__, asked
    name = solver_name(asked, len(problem.resources))
    return name, solver_of(name)


def _believed(
    space: SearchSpace, problem: SelectionProblem, asked: _AllAsked, solution: Solution, name: str
) -> Architecture:
    """The solver's network after recomputing what it claims."""
    if solution.status is Status.INFEASIBLE:
        raise _infeasible(space, problem, asked, name)
    if solution.status is Status.UNKNOWN or solution.architecture is None:
        raise InconclusiveError(f"the solver '{name}' found no network within its time limit. Allow it more time.")
    fault = _fault(space, problem, asked, solution, solution.architecture)
    if fault:
        raise BinasError(f"the solver '{name}' answered wrongly and is not believed: {fault}. Use another solver.")
    return solution.architecture


def _fault(
    space: SearchSpace, problem: SelectionProblem, asked: _AllAsked, solution: Solution, arch: Architecture
) -> str:
    """What is wrong with an answer, empty when it holds."""
    try:
        space.validate(arch)
    except InputError as error:
        return str(error).rstrip(".")
    value = problem.value.of(arch, problem.depths)
    if solution.value != value:
        return f"it claims the value {solution.value}, its network has {value}"
    if solution.bound is None and solution.status is Status.OPTIMAL:
        return "it claims an optimum without a bound"
    if solution.bound is not None and (
        solution.bound < value or (solution.status is Status.OPTIMAL and solution.bound > value)
    ):
        return f"it claims status {solution.status.value} and bound {solution.bound} for the value {value}"
    return next((fault for row in asked if (fault := row.exceeded(arch))), "")


def _infeasible(space: SearchSpace, problem: SelectionProblem, asked: _AllAsked, name: str) -> BinasError:
    """The error for a solver that says infeasible: checked against the network that needs least of each resource."""
    impossible = [row.least_text(space) for row in asked if not row.reachable]
    if impossible:
        return InfeasibleBudgetError("\n".join(impossible))
    lines = "\n".join(row.least_text(space) for row in asked)
    if len(problem.resources) == 1 and _met_by_cheapest(problem):
        return BinasError(f"the solver '{name}' says infeasible and is not believed: {lines}")
    return InfeasibleBudgetError(f"each budget can be met, but no network meets all of them together.\n{lines}")


def _met_by_cheapest(problem: SelectionProblem) -> bool:
    (resource,) = problem.resources
    return resource.cost.of(cheapest(resource.cost, problem.depths), problem.depths) <= resource.limit


def _gap(solution: Solution) -> float | None:
    if solution.bound is None or solution.value is None:
        return None
    return (solution.bound - solution.value) / UNITS_PER_POINT
