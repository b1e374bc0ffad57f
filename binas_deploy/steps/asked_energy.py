"""A budget of energy: the table that predicts it, and what that says of a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from binas_deploy.budget import ENERGY, Budget
from binas_deploy.errors import NotMeasuredError
from binas_deploy.resources import Total
from binas_deploy.search_result import EnergyAnswer
from binas_deploy.space import Architecture, SearchSpace
from binas_deploy.steps.asked import AskedPredicted, tables_of_budgets
from binas_deploy.table import LatencyTable
from binas_deploy.table.energy import energy_model, energy_of
from binas_deploy.table.margin import CONFIDENCE


@dataclass(frozen=True)
class AskedEnergy(AskedPredicted):
    """A budget of energy, of one call in nJ."""

    def answer(self, arch: Architecture) -> EnergyAnswer:
        """The budget and what is predicted for a network."""
        return EnergyAnswer(
            budget=self.budget.text,
            limit_nj=self.budget.limit,
            device=self.table.device,
            sensor=energy_of(self.table).sensor,
            confidence=self.budget.confidence,
            most_predicted_nj=self.limit,
            predicted=self.model.predict(arch, self.budget.confidence or CONFIDENCE),
            table_digest=self.table.digest,
            simulated=self.table.simulated,
            every_network_meets_it=self.excludes_nothing,
        )


def asked_energies(
    space: SearchSpace, budgets: Sequence[Budget], tables: Sequence[LatencyTable]
) -> tuple[AskedEnergy, ...]:
    """The budgets of energy, each with the one table that it is about.

    Raises:
        InputError: no table or several for a budget, or several budgets for a table.
        MismatchError: a table of another space or cadence.
        NotMeasuredError: a table that holds no energy.
    """
    pairs = tables_of_budgets(space, budgets, ENERGY, tables)
    return tuple(_asked_energy(budget, table) for budget, table in pairs)


def _asked_energy(budget: Budget, table: LatencyTable) -> AskedEnergy:
    try:
        model = energy_model(table)
    except NotMeasuredError as error:
        raise NotMeasuredError(f"budget {budget}: {error}") from error
    return AskedEnergy(budget, Total(model.form, table.space.depths), table, model)
