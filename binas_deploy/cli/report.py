"""Results as people read them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from binas_deploy.cli.render import facts

if TYPE_CHECKING:
    from binas_deploy.estimate import Estimate
    from binas_deploy.search_result import BudgetAnswer, SearchResult
    from binas_deploy.table import LatencyTable


def search_text(result: SearchResult, path: Path) -> str:
    """The network, what is predicted of it, how far from the best it can be, and what to know about the answer."""
    space, arch = result.space, result.architecture
    rows = [
        ("network", result.text),
        ("size", f"{space.params(arch) / 1e6:.2f} M parameters, {space.macs(arch) / 1e6:.1f} MMAC"),
        *((f"latency on {answer.device}", _latency(answer)) for answer in result.budgets),
        ("accuracy", f"{_percent(result.accuracy)} predicted, top-1"),
        ("proof", _proof(result)),
        *(("note", note) for note in _notes(result)),
        ("written", path),
    ]
    return facts(rows)


def profile_text(table: LatencyTable, path: Path) -> str:
    """What was measured and how well the table predicts."""
    identity, calibration = table.conditions.identity, table.calibration
    rows: list[tuple[str, object]] = [
        ("table", path),
        ("device", f"{table.device}: {identity['device_model']}, {identity['runtime']} {identity['runtime_version']}"),
        ("settings", f"{identity['precision']}, batch {identity['batch']}, {identity['threads']} thread(s)"),
        ("space", f"{table.space.name}: {len(table.pieces)} pieces, {len(table.anchors)} whole networks"),
        ("predicts", f"the {table.statistic} of a network within {calibration.half_width:.1%} (95 %)"),
    ]
    if table.simulated:
        rows.append(("note", "simulated: no clock measured these"))
    return facts(rows)


def milliseconds(estimate: Estimate) -> str:
    """``0.478 ms (0.465 to 0.490, 95 %)``."""
    value, low, high = (f"{number / 1e6:.3f}" for number in (estimate.value, estimate.low, estimate.high))
    return f"{value} ms ({low} to {high}, {estimate.confidence:.0%})"


def _percent(estimate: Estimate) -> str:
    return f"{estimate.value:.2f} % ({estimate.low:.2f} to {estimate.high:.2f}, {estimate.confidence:.0%})"


def _latency(answer: BudgetAnswer) -> str:
    return f"{milliseconds(answer.predicted)} predicted {answer.statistic}, budget {answer.budget}"


def _proof(result: SearchResult) -> str:
    how = f"{result.solver}, {result.solve_seconds * 1e3:.0f} ms"
    if result.bound is None or result.gap is None:
        return f"{result.status.value}: how far from the best is not known ({how})"
    return (
        f"{result.status.value}: none within the budget is predicted above {result.bound:.2f} %, "
        f"gap {result.gap:.3f} points ({how})"
    )


def _notes(result: SearchResult) -> list[str]:
    notes = []
    if result.every_network_meets_it:
        notes.append("every network of the space meets this budget: it excludes nothing")
    if result.simulated:
        notes.append("the latency table is simulated: no clock measured it")
    return notes
