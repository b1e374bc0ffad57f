r"""Many resources at once: the linear form of the selection problem, solved by HiGHS through SciPy.

Binary variables b[s,d] (depth d of stage s) and x[s,j,c] (option c at position j, 0 where inactive)::

    maximise    sum_s value.depth[s] . b[s]  +  sum_sj value.option[s][j] . x[s,j]
    subject to  sum_d b[s,d] = 1                                      one row a stage
                sum_c x[s,j,c] - sum over d > j of b[s,d] = 0         one row a position (j from 0)
                sum_s cost.depth[s] . b[s] + sum_sj cost.option[s][j] . x[s,j] <= limit - constant     one a resource

(The product of option and depth variables of arXiv 2110.12399 is linear in x.)

HiGHS computes in floating point with an *absolute* feasibility tolerance of 1e-6 and an absolute gap of 1e-6, so:
costs are divided by 1000 (ns become microseconds) and values by a power of ten, so that one base unit stays above it;
the right side is ``limit + 1/2``, which no sum of integers meets; every answer is recomputed in integers against
every limit, and one that breaks a limit tightens that row and is solved again.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from binas_deploy.problem import Limits, LinearForm, SelectionProblem, Solution, Status
from binas_deploy.space import Architecture

_Floats = NDArray[np.float64]
_COST_SCALE: Final = 1e3
_LARGEST_VALUE: Final = 1e5
_HALF: Final = 0.5
_ATTEMPTS: Final = 8
_SOLVED, _STOPPED, _NO_POINT = 0, 1, 2


@dataclass(frozen=True)
class _Row:
    """``coefficients @ variables <= right`` in base units; divided by ``scale`` before HiGHS sees it."""

    coefficients: _Floats
    right: float
    scale: float


@dataclass(frozen=True)
class _Answer:
    """What HiGHS said: its status code, variables, and an upper bound of the value in base units."""

    code: int
    variables: _Floats | None
    bound: float | None


class MilpSolver:
    """Exact up to HiGHS's tolerances for any number of resources; limits are kept exactly (integer recheck).

    Of the tie rule it keeps the first two parts: highest value, then (by a second solve at that value) the lowest
    cost of the first resource. Networks equal in both are not ordered.
    """

    ties = (
        "highest value, then lowest cost of the first resource (both within the solver's tolerance of 1e-6); "
        "networks equal in both are not ordered"
    )

    def solve(self, problem: SelectionProblem, *, limits: Limits, seed: int) -> Solution:
        """OPTIMAL, or FEASIBLE with a bound when time ran out, INFEASIBLE when HiGHS proved it, else UNKNOWN.

        Nothing is random that ``seed`` could decide.
        """
        deadline = time.monotonic() + limits.seconds
        rows = [_row(resource.cost, resource.limit + _HALF, _COST_SCALE) for resource in problem.resources]
        solution, rows = _solve_rechecked(problem, rows, deadline)
        if solution.status is not Status.OPTIMAL or not problem.resources:
            return solution
        return _cheapest_of_equals(problem, rows, solution, deadline)


def _solve_rechecked(problem: SelectionProblem, rows: list[_Row], deadline: float) -> tuple[Solution, list[_Row]]:
    """Solve, recheck in integers, tighten the rows that were broken, and solve again."""
    objective = _row(problem.value, 0.0, _value_scale(problem.value))
    proved: float | None = None
    for attempt in range(_ATTEMPTS):
        answer = _highs(problem, objective, rows, deadline)
        whole = all(row.right >= r.limit - r.cost.constant for row, r in zip(rows, problem.resources, strict=True))
        if whole and answer.bound is not None:
            proved = answer.bound if proved is None else min(proved, answer.bound)
        if answer.variables is None:
            return _without_point(answer, whole, proved), rows
        arch = _architecture(problem, answer.variables)
        excess = _excess(problem, arch)
        if max(excess, default=0) <= 0:
            return _with_point(problem, arch, answer, whole, proved), rows
        rows = [_tighter(row, over, attempt) for row, over in zip(rows, excess, strict=True)]
    return Solution(Status.UNKNOWN, None, None, _whole_number(proved)), rows


def _without_point(answer: _Answer, whole: bool, proved: float | None) -> Solution:
    """INFEASIBLE is a proof only while no row is tighter than what was asked."""
    if answer.code == _NO_POINT and whole:
        return Solution(Status.INFEASIBLE, None, None, None)
    return Solution(Status.UNKNOWN, None, None, _whole_number(proved))


def _with_point(
    problem: SelectionProblem, arch: Architecture, answer: _Answer, whole: bool, proved: float | None
) -> Solution:
    value = problem.value.of(arch, problem.depths)
    if answer.code == _SOLVED and whole:
        return Solution(Status.OPTIMAL, arch, value, value)
    bound = _whole_number(proved)
    return Solution(Status.FEASIBLE, arch, value, None if bound is None else max(bound, value))


def _cheapest_of_equals(problem: SelectionProblem, rows: list[_Row], best: Solution, deadline: float) -> Solution:
    """``best``, or a network of the same value that costs less of the first resource."""
    if best.architecture is None or best.value is None:
        return best
    cost = problem.resources[0].cost
    at_least = _row(_negative(problem.value), _HALF - best.value, _value_scale(problem.value))
    answer = _highs(problem, _row(_negative(cost), 0.0, _COST_SCALE), [*rows, at_least], deadline)
    if answer.code != _SOLVED or answer.variables is None:
        return best
    arch = _architecture(problem, answer.variables)
    cheaper = cost.of(arch, problem.depths) < cost.of(best.architecture, problem.depths)
    as_good = problem.value.of(arch, problem.depths) >= best.value and max(_excess(problem, arch)) <= 0
    value = problem.value.of(arch, problem.depths)
    return Solution(Status.OPTIMAL, arch, value, value) if cheaper and as_good else best


def _row(form: LinearForm, right: float, scale: float) -> _Row:
    """``form <= right``; the constant goes to the right side."""
    return _Row(_flat(form), right - form.constant, scale)


def _value_scale(value: LinearForm) -> float:
    """The power of ten that brings the largest coefficient to at most 1e5: a unit of 1e10 stays above 1e-6."""
    largest = float(np.abs(_flat(value)).max(initial=1.0))
    return float(10.0 ** max(0, int(np.ceil(np.log10(max(largest, 1.0) / _LARGEST_VALUE)))))


def _tighter(row: _Row, over: int, attempt: int) -> _Row:
    """First to the limit itself, then below it by what was too much, twice as far each time."""
    if over <= 0:
        return row
    step = _HALF if attempt == 0 else over * 2.0 ** (attempt - 1)
    return _Row(row.coefficients, row.right - step, row.scale)


def _excess(problem: SelectionProblem, arch: Architecture) -> list[int]:
    """Base units above each limit, in integers."""
    return [resource.cost.of(arch, problem.depths) - resource.limit for resource in problem.resources]


def _negative(form: LinearForm) -> LinearForm:
    options = tuple(tuple(-row for row in stage) for stage in form.option)
    return LinearForm(-form.constant, tuple(-row for row in form.depth), options)


def _flat(form: LinearForm) -> _Floats:
    """Coefficients in the order of the variables: per stage its depths, then the options of each position."""
    parts = [part for depth, stage in zip(form.depth, form.option, strict=True) for part in (depth, *stage)]
    return np.concatenate(parts).astype(np.float64)


def _structure(problem: SelectionProblem) -> tuple[_Floats, _Floats]:
    """Equality rows and right sides: one depth a stage; one option at each active position."""
    size, start, lines, right = len(_flat(problem.value)), 0, [], []
    for depths, stage in zip(problem.depths, problem.value.option, strict=True):
        end = start + len(depths)
        lines.append(_line(size, range(start, end), ()))
        right.append(1.0)
        deep, start = start, end
        for j, options in enumerate(stage):
            active = [deep + index for index, depth in enumerate(depths) if depth > j]
            lines.append(_line(size, range(start, start + len(options)), active))
            right.append(0.0)
            start += len(options)
    return np.array(lines), np.array(right)


def _line(size: int, plus: Sequence[int], minus: Sequence[int]) -> _Floats:
    line = np.zeros(size)
    line[list(plus)] = 1.0
    line[list(minus)] = -1.0
    return line


def _architecture(problem: SelectionProblem, variables: _Floats) -> Architecture:
    """The network that the (nearly integer) variables say; the largest of each one-hot group."""
    depths, options, start = [], [], 0
    for allowed, stage in zip(problem.depths, problem.value.option, strict=True):
        depth = allowed[int(np.argmax(variables[start : start + len(allowed)]))]
        start += len(allowed)
        row = []
        for terms in stage:
            row.append(int(np.argmax(variables[start : start + len(terms)])))
            start += len(terms)
        depths.append(depth)
        options.append(tuple(row[:depth]))
    return Architecture(tuple(depths), tuple(options))


def _whole_number(bound: float | None) -> int | None:
    return None if bound is None else int(np.floor(bound + _HALF))


def _highs(problem: SelectionProblem, objective: _Row, rows: list[_Row], deadline: float) -> _Answer:
    """One run of HiGHS; once more without presolve when it fails by itself."""
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        return _Answer(_STOPPED, None, None)
    result = _milp(problem, objective, rows, seconds, presolve=True)
    if result.status not in (_SOLVED, _STOPPED, _NO_POINT):
        result = _milp(problem, objective, rows, max(1e-3, deadline - time.monotonic()), presolve=False)
    return _Answer(int(result.status), result.x, _bound(result, objective))


def _bound(result: Any, objective: _Row) -> float | None:
    """The dual bound as a value in base units; HiGHS minimises the negative scaled value without its constant."""
    dual = getattr(result, "mip_dual_bound", None)
    if result.status not in (_SOLVED, _STOPPED) or dual is None or not np.isfinite(dual):
        return None
    return -float(dual) * objective.scale - objective.right


def _milp(problem: SelectionProblem, objective: _Row, rows: list[_Row], seconds: float, *, presolve: bool) -> Any:
    from scipy.optimize import Bounds, LinearConstraint, milp

    matrix, right = _structure(problem)
    constraints = [LinearConstraint(matrix, right, right)]
    constraints += [LinearConstraint(r.coefficients / r.scale, -np.inf, r.right / r.scale) for r in rows]
    with _quiet_stdout():
        return milp(
            -objective.coefficients / objective.scale,
            integrality=np.ones(matrix.shape[1]),
            bounds=Bounds(0, 1),
            constraints=constraints,
            options={"mip_rel_gap": 0.0, "time_limit": seconds, "presolve": presolve},
        )


@contextlib.contextmanager
def _quiet_stdout() -> Iterator[None]:
    """Send the process's stdout descriptor to nowhere: HiGHS prints stray lines that would break ``--json``."""
    saved = _copy_of_stdout()
    if saved is None:
        yield
        return
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 1)
        yield
    finally:
        os.dup2(saved, 1)
        os.close(saved)


def _copy_of_stdout() -> int | None:
    """A second descriptor of what stdout is now, everything written so far flushed; None when it is closed."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stdout.flush()
        return os.dup(1)
    return None
