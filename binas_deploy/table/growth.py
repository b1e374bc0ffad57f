"""A table grows by whole networks that were measured after it was made, such as those that were verified."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from binas_deploy.errors import InputError
from binas_deploy.table.latency_table import LatencyTable
from binas_deploy.table.parts import Anchor, MeasuringRun

ORIGIN: Final = "origin"
"""In what a later run says of itself: what it was for."""


def grown(table: LatencyTable, anchor: Anchor, run: MeasuringRun) -> LatencyTable:
    """The table with one more network, measured in ``run`` of its own and carried over by its ``slowdown``.

    ``run`` says its `ORIGIN`. The table is calibrated anew. A network that joined before is replaced.

    Raises:
        InputError: the network was measured when the table was made, ``run`` says no origin, or there is a `refusal`.
    """
    if reason := refusal(table) or ("" if run.host.get(ORIGIN) else "its run says no origin"):
        raise InputError(f"a network cannot join the latency table of device '{table.device}': {reason}.")
    later = _later(table)
    kept = [row for row in table.anchors if row.arch != anchor.arch or not _joined(row, later)]
    named = {number for row in kept for number in _runs_of(row)}
    made = LatencyTable.build(
        space=table.space,
        device=table.device,
        conditions=table.conditions,
        created=table.created,
        runs=[*(row for row in table.runs if row.id in named or row.id not in later), run],
        pieces=table.pieces,
        anchors=[*kept, anchor],
        simulated=table.simulated,
    )
    return replace(made, grown_from=table.digests)


def made_of(table: LatencyTable) -> list[Anchor]:
    """The whole networks that the table was made of: all but those that joined it."""
    later = _later(table)
    return [row for row in table.anchors if not _joined(row, later)]


def refusal(table: LatencyTable) -> str:
    """Why no network can join a table, empty where it can."""
    if not table.pieces:
        return "it rests on whole networks alone, and what else it was fitted by is not in it"
    if table.energy is not None:
        return "it holds energy, which was not measured now"
    return ""


def next_run(table: LatencyTable) -> int:
    """The id of a further measuring run."""
    return 1 + max(run.id for run in table.runs)


def _later(table: LatencyTable) -> set[int]:
    """Ids of the runs that networks joined from."""
    return {row.id for row in table.runs if row.host.get(ORIGIN)}


def _joined(anchor: Anchor, later: set[int]) -> bool:
    return later.issuperset(_runs_of(anchor))


def _runs_of(anchor: Anchor) -> set[int]:
    return set(anchor.measurement.runs.tolist())
