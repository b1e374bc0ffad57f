"""Search: accuracy model + latency tables + budgets -> the best network, proved and rechecked."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from binas_deploy.accuracy import UNITS_PER_POINT, AccuracyModel
from binas_deploy.budget import Budget
from binas_deploy.errors import BinasError, InconclusiveError, InfeasibleBudgetError, InputError, MismatchError
from binas_deploy.extremes import cheapest, dearest
from binas_deploy.problem import Limits, Resource, SelectionProblem, Solution, Status
from binas_deploy.quantities import format_quantity
from binas_deploy.search_result import BudgetAnswer, SearchResult
from binas_deploy.solvers import solver as solver_of
from binas_deploy.solvers.base import Solver
from binas_deploy.solvers.frontier import Frontier
from binas_deploy.space import Architecture, SearchSpace
from binas_deploy.table import LatencyTable

_USUAL_LIMITS: Final = Limits()
_Pairs = list[tuple[Budget, LatencyTable]]


def search(
    space: SearchSpace,
    *,
    accuracy: AccuracyModel,
    budgets: Sequence[Budget],
    tables: Sequence[LatencyTable],
    solver: str | Solver = "frontier",
    limits: Limits = _USUAL_LIMITS,
    seed: int = 0,
) -> SearchResult:
    """The network of highest predicted accuracy whose predicted latency is within every budget.

    A budget without a device needs exactly one table. Whatever the solver answers is computed again from the tables.

    Raises:
        InputError: no budget, none or several tables for one, an unknown solver, or one that cannot take so many.
        MismatchError: a table or the accuracy model is of another space, or a table of another statistic or cadence.
        InfeasibleBudgetError: proved; names the least reachable latency and the network that reaches it.
        InconclusiveError: the solver found nothing within ``limits``.
        BinasError: the solver's answer does not hold.
    """
    pairs = _matched(budgets, tables)
    problem = _problem(space, accuracy, pairs)
    chosen = solver_of(solver) if isinstance(solver, str) else solver
    name = solver if isinstance(solver, str) else type(solver).__name__
    started = time.perf_counter_ns()
    solution = chosen.solve(problem, limits=limits, seed=seed)
    seconds = (time.perf_counter_ns() - started) / 1e9
    architecture = _believed(space, problem, solution, name)
    return SearchResult(
        space=space,
        architecture=architecture,
        budgets=tuple(_answer(problem, architecture, *pair) for pair in pairs),
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
    )


def frontier_of(space: SearchSpace, accuracy: AccuracyModel, table: LatencyTable) -> Frontier:
    """Every budget at once: ``costs`` in ns, ``values`` in 1e-9 points (`UNITS_PER_POINT`), both ascending.

    Raises:
        MismatchError: the table or the accuracy model is of another space.
    """
    accuracy.require_space(space)
    return Frontier.of(SelectionProblem(_depths(space), accuracy.value_form(), (_resource(space, table, 0),)))


def _problem(space: SearchSpace, accuracy: AccuracyModel, pairs: _Pairs) -> SelectionProblem:
    accuracy.require_space(space)
    resources = tuple(_resource(space, table, budget.limit_ns) for budget, table in pairs)
    return SelectionProblem(_depths(space), accuracy.value_form(), resources)


def _resource(space: SearchSpace, table: LatencyTable, limit: int) -> Resource:
    table.require_space(space, f"the latency table of device '{table.device}'")
    return Resource(table.device, table.cost_form(), limit)


def _depths(space: SearchSpace) -> tuple[tuple[int, ...], ...]:
    return tuple(stage.depths for stage in space.stages)


def _matched(budgets: Sequence[Budget], tables: Sequence[LatencyTable]) -> _Pairs:
    """Each budget with the one table that it is about."""
    if not budgets:
        raise InputError("a search needs at least one budget, such as 30ms.")
    pairs = [(budget, _table_for(budget, tables)) for budget in budgets]
    devices = [table.device for _, table in pairs]
    for device in devices:
        if devices.count(device) > 1:
            raise InputError(f"device '{device}' has {devices.count(device)} budgets; give it one.")
    return pairs


def _table_for(budget: Budget, tables: Sequence[LatencyTable]) -> LatencyTable:
    found = [table for table in tables if budget.device in (None, table.device)]
    names = ", ".join(f"'{table.device}'" for table in tables) or "none"
    if not found:
        raise InputError(f"budget {budget}: no latency table of that device was given (given: {names}).")
    if len(found) > 1:
        raise InputError(
            f"budget {budget}: {len(found)} latency tables fit ({names}). "
            f"Give one table a device, and say which, as in {found[0].device}={budget.text}."
        )
    _require_same_meaning(budget, found[0])
    return found[0]


def _require_same_meaning(budget: Budget, table: LatencyTable) -> None:
    cadence = table.conditions.identity["cadence"]
    if budget.quantity.kind != "time":
        raise InputError(f"budget {budget}: a latency table answers budgets of time, not of {budget.quantity.kind}.")
    if (budget.statistic, budget.cadence) != (table.statistic, cadence):
        raise MismatchError(
            f"budget {budget}: asked for the {budget.statistic} at cadence '{budget.cadence}', the latency table of "
            f"device '{table.device}' predicts the {table.statistic} at cadence '{cadence}'. Profile it as asked."
        )


def _believed(space: SearchSpace, problem: SelectionProblem, solution: Solution, name: str) -> Architecture:
    """The solver's network after recomputing what it claims."""
    if solution.status is Status.INFEASIBLE:
        raise _infeasible(space, problem, name)
    if solution.status is Status.UNKNOWN or solution.architecture is None:
        raise InconclusiveError(
            f"the solver '{name}' found no network within its time limit. Allow more time, or use 'frontier'."
        )
    fault = _fault(space, problem, solution, solution.architecture)
    if fault:
        raise BinasError(f"the solver '{name}' answered wrongly and is not believed: {fault}. Use another solver.")
    return solution.architecture


def _fault(space: SearchSpace, problem: SelectionProblem, solution: Solution, arch: Architecture) -> str:
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
    for resource in problem.resources:
        cost = resource.cost.of(arch, problem.depths)
        if cost > resource.limit:
            return f"its network takes {cost} ns on '{resource.name}', the budget is {resource.limit} ns"
    return ""


def _infeasible(space: SearchSpace, problem: SelectionProblem, name: str) -> BinasError:
    """The error for a solver that says infeasible: checked against the cheapest network of each resource."""
    reports = [_least(space, problem, resource) for resource in problem.resources]
    impossible = [text for text, least, limit in reports if least > limit]
    if impossible:
        return InfeasibleBudgetError("\n".join(impossible))
    if len(reports) == 1:
        return BinasError(f"the solver '{name}' says infeasible and is not believed: {reports[0][0]}")
    lines = "\n".join(text for text, _, _ in reports)
    return InfeasibleBudgetError(f"each budget can be met, but no network meets all of them together.\n{lines}")


def _least(space: SearchSpace, problem: SelectionProblem, resource: Resource) -> tuple[str, int, int]:
    arch = cheapest(resource.cost, problem.depths)
    least = resource.cost.of(arch, problem.depths)
    text = (
        f"{format_quantity(resource.limit)} asked on device '{resource.name}'; the least that a network of space "
        f"'{space.name}' is predicted to take is {format_quantity(least)} ({least} ns), by {space.text(arch)}. "
        "Ask for at least that, or use a space with smaller networks."
    )
    return text, least, resource.limit


def _answer(problem: SelectionProblem, arch: Architecture, budget: Budget, table: LatencyTable) -> BudgetAnswer:
    most = table.cost_form().of(dearest(table.cost_form(), problem.depths), problem.depths)
    return BudgetAnswer(
        budget=budget.text,
        limit_ns=budget.limit_ns,
        device=table.device,
        statistic=budget.statistic,
        cadence=budget.cadence,
        predicted=table.predict(arch),
        table_digest=table.digest,
        simulated=table.simulated,
        every_network_meets_it=budget.limit_ns >= most,
    )


def _gap(solution: Solution) -> float | None:
    if solution.bound is None or solution.value is None:
        return None
    return (solution.bound - solution.value) / UNITS_PER_POINT
