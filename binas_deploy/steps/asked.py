"""What budgets ask of networks: each with the need that it limits, a latency with the table that predicts it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from binas_deploy.budget import LATENCY, Budget
from binas_deploy.errors import InputError, MismatchError, NotMeasuredError
from binas_deploy.problem import Resource
from binas_deploy.quantities import Quantity, format_quantity
from binas_deploy.resources import Need, Peak, Setting, Total, excluding, need
from binas_deploy.search_result import ComputedAnswer, LatencyAnswer
from binas_deploy.space import Architecture, SearchSpace
from binas_deploy.table import LatencyTable
from binas_deploy.table.cost_model import CostModel
from binas_deploy.table.margin import CONFIDENCE
from binas_deploy.table.reconcile import Reconciliation


@dataclass(frozen=True)
class Asked:
    """A budget and the need of a network that it limits."""

    budget: Budget
    need: Need

    @property
    def limit(self) -> int:
        """The most that a network may need, in base units."""
        return self.budget.limit

    @property
    def reachable(self) -> bool:
        """Whether any network keeps this budget alone."""
        return self.need.amount(self.need.least()) <= self.limit

    @property
    def excludes_nothing(self) -> bool:
        """Whether every network keeps it."""
        return self.need.most() <= self.limit

    def exceeded(self, arch: Architecture) -> str:
        """How a network breaks the budget, empty when it does not."""
        amount = self.need.amount(arch)
        if amount <= self.limit:
            return ""
        kind = self.budget.quantity.kind
        allowed = f", which allows {Quantity(kind, self.limit).text}" if self.limit != self.budget.limit else ""
        return f"its network takes {Quantity(kind, amount).text}, the budget is {self.budget}{allowed}"


@dataclass(frozen=True)
class AskedLatency(Asked):
    """A budget of latency, the table that predicts it, and what that says of the asked statistic."""

    table: LatencyTable
    model: CostModel
    as_made: CostModel

    @property
    def limit(self) -> int:
        """The most that may be predicted, so that the upper bound of the asked confidence is within the budget."""
        if self.budget.confidence is None:
            return self.budget.limit
        return self.model.most_predicted(self.budget.limit, self.budget.confidence)

    def least_text(self, space: SearchSpace) -> str:
        """What was asked, the least that is predicted, and the network that reaches it."""
        arch = self.need.least()
        least = self.need.amount(arch)
        held, now = self.budget.confidence, "" if self.model is self.as_made else f", {self.model.state},"
        bound = f", which with confidence {held:g} allows a prediction of {format_quantity(self.limit)}" if held else ""
        return (
            f"{format_quantity(self.budget.limit)} asked on device '{self.table.device}'{bound}; the least that a "
            f"network of space '{space.name}' is predicted to take{now} is {format_quantity(least)} ({least} ns), by "
            f"{space.text(arch)}. Ask for at least that, or use a space with smaller networks."
        )

    def answer(self, arch: Architecture) -> LatencyAnswer:
        """The budget and what is predicted for a network."""
        return LatencyAnswer(
            budget=self.budget.text,
            limit_ns=self.budget.limit,
            device=self.table.device,
            statistic=self.budget.statistic,
            cadence=self.budget.cadence,
            confidence=self.budget.confidence,
            most_predicted_ns=self.limit,
            predicted=self.model.predict(arch, self.budget.confidence or CONFIDENCE),
            as_made=self.as_made.predict(arch, self.budget.confidence or CONFIDENCE),
            table_digest=self.table.digest,
            simulated=self.table.simulated,
            every_network_meets_it=self.excludes_nothing,
        )


@dataclass(frozen=True)
class AskedComputed(Asked):
    """A budget of something that is computed."""

    def least_text(self, space: SearchSpace) -> str:
        """What was asked, the least that there is, and the network that has it."""
        arch = self.need.least()
        least = Quantity(self.budget.quantity.kind, self.need.amount(arch))
        where = f" (the peak is in {self.need.where(arch)})" if isinstance(self.need, Peak) else ""
        return (
            f"{self.budget} asked; the least that a network of space '{space.name}' needs is "
            f"{self.budget.resource}={least.text}{where}, by {space.text(arch)}. "
            "Ask for at least that, or use a space with smaller networks."
        )

    def answer(self, arch: Architecture) -> ComputedAnswer:
        """The budget and what a network uses of it."""
        return ComputedAnswer(
            resource=self.budget.resource,
            budget=self.budget.text,
            limit=self.budget.limit,
            used=self.need.amount(arch),
            every_network_meets_it=self.excludes_nothing,
        )


def require_answerable(budgets: Sequence[Budget]) -> None:
    """What can be said of budgets before any table is there.

    Raises:
        InputError: there is none, or a computed resource has several.
        NotMeasuredError: one of them is of energy.
    """
    if not budgets:
        raise InputError("a search needs at least one budget, such as 30ms or macs=8M.")
    counts = Counter(budget.resource for budget in budgets if budget.resource != LATENCY)
    for resource, count in counts.items():
        if count > 1:
            raise InputError(f"{resource} has {count} budgets; give it one.")
    for budget in budgets:
        if budget.resource == "energy":
            raise NotMeasuredError(
                f"budget {budget}: energy is not measured. No device reads a sensor of energy yet, so there is no "
                "table of it to answer from. Ask for a latency, params, macs, weights or memory."
            )


def latency_and_computed(budgets: Sequence[Budget]) -> tuple[Budget, tuple[Budget, ...]]:
    """The one budget of latency and the others.

    Raises:
        InputError, NotMeasuredError: as `require_answerable`, or no budget of latency, or several.
    """
    require_answerable(budgets)
    latencies = [budget for budget in budgets if budget.resource == LATENCY]
    if len(latencies) != 1:
        found = ", ".join(map(str, latencies)) or "none"
        raise InputError(f"exactly one budget of latency is needed, such as 0.5ms; found {found}.")
    return latencies[0], tuple(budget for budget in budgets if budget.resource != LATENCY)


def asked_latencies(
    space: SearchSpace,
    budgets: Sequence[Budget],
    tables: Sequence[LatencyTable],
    carried: Mapping[str, Reconciliation],
) -> tuple[AskedLatency, ...]:
    """The budgets of latency, each with the one table that it is about, ``carried`` over by device to the machine now.

    Raises:
        InputError: no table or several for a budget, or several budgets for a table.
        MismatchError: a table of another space or cadence.
    """
    pairs = [(budget, _table_for(budget, tables)) for budget in budgets if budget.resource == LATENCY]
    for device, count in Counter(table.device for _, table in pairs).items():
        if count > 1:
            raise InputError(f"device '{device}' has {count} budgets; give it one.")
    for _, table in pairs:
        table.require_space(space, f"the latency table of device '{table.device}'")
    return tuple(_asked_latency(budget, table, carried.get(table.device)) for budget, table in pairs)


def _asked_latency(budget: Budget, table: LatencyTable, found: Reconciliation | None) -> AskedLatency:
    as_made = table.model_of(budget.statistic)
    model = as_made.now(found) if found else as_made
    return AskedLatency(budget, Total(model.form, table.space.depths), table, model, as_made)


def asked_computed(space: SearchSpace, budgets: Sequence[Budget], setting: Setting) -> tuple[AskedComputed, ...]:
    """The budgets of what is computed, for networks that run in ``setting``."""
    computed = [budget for budget in budgets if budget.resource != LATENCY]
    return tuple(AskedComputed(budget, need(budget.resource, space, setting)) for budget in computed)


def resources_of(space: SearchSpace, asked: Sequence[Asked]) -> tuple[Resource, ...]:
    """The budgets as a solver takes them; that of memory goes into the first of the others, where there is one."""
    totals = [Resource(str(a.budget), a.need.form, a.limit) for a in asked if isinstance(a.need, Total)]
    peaks = [a.need.forbidden(a.limit) for a in asked if isinstance(a.need, Peak)]
    if not totals:
        return tuple(Resource("memory", forbidden, 0) for forbidden in peaks)
    for forbidden in peaks:
        totals[0] = excluding(totals[0], forbidden, space.depths)
    return tuple(totals)


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
    _require_same_cadence(budget, found[0])
    return found[0]


def _require_same_cadence(budget: Budget, table: LatencyTable) -> None:
    cadence = table.conditions.identity["cadence"]
    if budget.cadence != cadence:
        raise MismatchError(
            f"budget {budget}: asked for calls {budget.cadence}, the latency table of device '{table.device}' was "
            f"measured with calls {cadence}. Profile it as asked."
        )
