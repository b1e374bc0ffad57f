"""Results as people read them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from binas_deploy.cli.render import facts
from binas_deploy.conditions import unmeasured_text
from binas_deploy.quantities import Quantity, energy_unit
from binas_deploy.table.cost_model import AS_MEASURED, AS_NOW
from binas_deploy.table.energy import energy_model

if TYPE_CHECKING:
    from binas_deploy.estimate import Estimate
    from binas_deploy.resources import Footprint
    from binas_deploy.search_result import EnergyAnswer, LatencyAnswer, SearchResult
    from binas_deploy.table import LatencyTable


def search_text(result: SearchResult, path: Path) -> str:
    """The network, what it needs, what is predicted of it, how far from the best it can be, and what to know."""
    rows = [
        ("network", result.text),
        ("size", _size(result.footprint)),
        *(row for answer in result.latencies for row in _latency(answer)),
        *((f"energy on {answer.device}", _energy(answer)) for answer in result.energies),
        *((answer.resource, answer.text) for answer in result.computed),
        ("accuracy", f"{_percent(result.accuracy)} predicted, top-1"),
        ("proof", _proof(result)),
        *(("note", note) for note in _notes(result)),
        ("written", path),
    ]
    return facts(rows)


def profile_text(table: LatencyTable, path: Path) -> str:
    """What was measured and how well the table predicts."""
    identity, bound = table.conditions.identity, table.model.margin.two_sided()
    stated = f" (as {identity['stated_by']} states)" if "stated_by" in identity else ""
    rows: list[tuple[str, object]] = [
        ("table", path),
        (
            "device",
            f"{table.device}: {identity['device_model']}, {identity['runtime']} {identity['runtime_version']}{stated}",
        ),
        ("settings", f"{identity['precision']}, batch {identity['batch']}, {identity['threads']} thread(s)"),
        ("space", f"{table.space.name}: {len(table.pieces)} pieces, {len(table.anchors)} whole networks"),
        ("predicts", f"the {table.statistic} of a network within {bound.share:.1%} (95 %; {bound.method})"),
    ]
    if table.energy is not None:
        bound = energy_model(table).margin.two_sided()
        text = f"of a call within {bound.share:.1%} (95 %; {bound.method}), by {table.energy.sensor}"
        rows.append(("energy", text))
    if table.simulated:
        rows.append(("note", unmeasured_text(identity)))
    return facts(rows)


def milliseconds(estimate: Estimate) -> str:
    """``0.478 ms (0.465 to 0.490, 95 %)``."""
    return _interval(estimate, 1e6, "ms")


def joules(estimate: Estimate) -> str:
    """``5.130 mJ (4.912 to 5.348, 95 %)``, or in uJ where it is less than a tenth of one."""
    unit, factor = energy_unit(estimate.value)
    return _interval(estimate, factor, unit)


def _interval(estimate: Estimate, factor: float, unit: str) -> str:
    value, low, high = (f"{number / factor:.3f}" for number in (estimate.value, estimate.low, estimate.high))
    return f"{value} {unit} ({low} to {high}, {estimate.confidence:.0%})"


def _size(needs: Footprint) -> str:
    weights, memory = (Quantity("size", amount).text for amount in (needs.weights, needs.memory))
    return (
        f"{needs.params / 1e6:.3f} M parameters, {needs.macs / 1e6:.2f} MMAC, weights {weights} ({needs.precision}), "
        f"peak memory {memory} (batch {needs.batch})"
    )


def _percent(estimate: Estimate) -> str:
    return f"{estimate.value:.2f} % ({estimate.low:.2f} to {estimate.high:.2f}, {estimate.confidence:.0%})"


def _latency(answer: LatencyAnswer) -> list[tuple[str, str]]:
    held = f" held with confidence {answer.confidence:g}" if answer.confidence else ""
    now = f" {AS_NOW}" if answer.carried_over else ""
    said = f"{milliseconds(answer.predicted)} predicted {answer.statistic}{now}, budget {answer.budget}{held}"
    as_made = [("", f"{milliseconds(answer.as_made)} {AS_MEASURED}")] if answer.carried_over else []
    return [(f"latency on {answer.device}", said), *as_made]


def _energy(answer: EnergyAnswer) -> str:
    held = f" held with confidence {answer.confidence:g}" if answer.confidence else ""
    return f"{joules(answer.predicted)} predicted a call by {answer.sensor}, budget {answer.budget}{held}"


def _proof(result: SearchResult) -> str:
    how = f"{result.solver}, {result.solve_seconds * 1e3:.0f} ms"
    if result.bound is None or result.gap is None:
        return f"{result.status.value}: how far from the best is not known ({how})"
    return (
        f"{result.status.value}: none within the budget is predicted above {result.bound:.2f} %, "
        f"gap {result.gap:.3f} points ({how})"
    )


def _notes(result: SearchResult) -> list[str]:
    notes = [*result.notes]
    if result.every_network_meets_it:
        notes.append("every network of the space meets this budget: it excludes nothing")
    if result.simulated:
        notes.append("the latency table is simulated, or recorded before: no clock measured it now")
    return notes
