"""What budgets ask of networks: each with the need that it limits, a latency with the table that predicts it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from binas_deploy.budget import ENERGY, LATENCY, MEASURED, Budget
from binas_deploy.errors import InputError, MismatchError
from binas_deploy.problem import Resource
from binas_deploy.quantities import Quantity, format_quantity
from binas_deploy.resources import Need, Peak, Setting, Total, excluding, need
from binas_deploy.search_result import ComputedAnswer, LatencyAnswer
from binas_deploy.space import Architecture, SearchSpace
from binas_deploy.table import LatencyTable
from binas_deploy.table.cost_model import AS_MEASURED, CostModel
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
class AskedPredicted(Asked):
    """A budget of what a table predicts, and what that says of it."""

    table: LatencyTable
    model: CostModel

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
        held, now = self.budget.confidence, "" if self.model.state == AS_MEASURED else f", {self.model.state},"
        bound = f", which with confidence {held:g} allows a prediction of {self._text(self.limit)}" if held else ""
        return (
            f"{self._text(self.budget.limit)} asked on device '{self.table.device}'{bound}; the least that a network "
            f"of space '{space.name}' is predicted to take{now} is {self._text(least)} ({least} {self.model.unit}), by "
            f"{space.text(arch)}. Ask for at least that, or use a space with smaller networks."
        )

    def _text(self, amount: int) -> str:
        return format_quantity(amount, self.budget.quantity.kind)


@dataclass(frozen=True)
class AskedLatency(AskedPredicted):
    """A budget of latency, the table that predicts it, and what that says of the asked statistic."""

    as_made: CostModel

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
    """
    if not budgets:
        raise InputError("a search needs at least one budget, such as 30ms or macs=8M.")
    counts = Counter(budget.resource for budget in budgets if budget.resource not in MEASURED)
    for resource, count in counts.items():
        if count > 1:
            raise InputError(f"{resource} has {count} budgets; give it one.")


def latency_and_computed(budgets: Sequence[Budget]) -> tuple[Budget, tuple[Budget, ...]]:
    """The one budget of latency and the computed ones, as verifying knows them.

    Raises:
        InputError: as `require_answerable`, or no budget of latency, or several, or one of energy.
    """
    require_answerable(budgets)
    if energy := next((budget for budget in budgets if budget.resource == ENERGY), None):
        raise InputError(
            f"budget {energy}: what is deployed is verified, and energy cannot be verified yet. Leave it out, or use "
            "'search' with it, then 'export' and 'verify'."
        )
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
    pairs = tables_of_budgets(space, budgets, LATENCY, tables)
    return tuple(_asked_latency(budget, table, carried.get(table.device)) for budget, table in pairs)


def tables_of_budgets(
    space: SearchSpace, budgets: Sequence[Budget], resource: str, tables: Sequence[LatencyTable]
) -> list[tuple[Budget, LatencyTable]]:
    """The budgets of a measured resource, each with the one table that it is about. Raises as `asked_latencies`."""
    pairs = [(budget, _table_for(budget, tables)) for budget in budgets if budget.resource == resource]
    for device, count in Counter(table.device for _, table in pairs).items():
        if count > 1:
            raise InputError(f"device '{device}' has {count} budgets of {resource}; give it one.")
    for _, table in pairs:
        table.require_space(space, f"the latency table of device '{table.device}'")
    return pairs


def _asked_latency(budget: Budget, table: LatencyTable, found: Reconciliation | None) -> AskedLatency:
    as_made = table.model_of(budget.statistic)
    model = as_made.now(found) if found else as_made
    return AskedLatency(budget, Total(model.form, table.space.depths), table, model, as_made)


def asked_computed(space: SearchSpace, budgets: Sequence[Budget], setting: Setting) -> tuple[AskedComputed, ...]:
    """The budgets of what is computed, for networks that run in ``setting``."""
    computed = [budget for budget in budgets if budget.resource not in MEASURED]
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
