"""A latency table as plain rows, for spreadsheets and other programs. Times in ns; what is not known stays empty."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from binas_deploy.block import Head, Piece, block_text
from binas_deploy.errors import InputError, NotMeasuredError
from binas_deploy.measurement import Measurement
from binas_deploy.table.labels import piece_text
from binas_deploy.table.latency_table import LatencyTable
from binas_deploy.table.parts import Anchor, measured_pieces

Row = dict[str, str | int | float | None]


def table_rows(table: LatencyTable, what: str) -> list[Row]:
    """The rows of ``what``, a key of `ROWS`; all with the same columns.

    Raises:
        InputError: an unknown ``what``.
        NotMeasuredError: the table has none of it.
    """
    if what not in ROWS:
        raise InputError(f"a table has no rows of {what!r}. Known: {', '.join(ROWS)}.")
    found = ROWS[what](table)
    if not found:
        raise NotMeasuredError(
            f"no isolated {what}: this table of device '{table.device}' rests on whole networks alone. "
            f"Ask for {' or '.join(name for name in ROWS if name != what)}."
        )
    return found


def csv_text(rows: Sequence[Row]) -> str:
    """Comma-separated values with a header line; ``rows``: at least one."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def piece_rows(table: LatencyTable) -> list[Row]:
    """The isolated pieces: what each computes, and its samples; low and high are the location's 95 % interval."""
    measured = [(piece, table.pieces.get(piece.key)) for piece in measured_pieces(table.space)]
    return [
        {"key": piece.key, "piece": piece_text(table.space, piece), **_work(piece), **_piece_times(found)}
        for piece, found in measured
        if found is not None
    ]


def network_rows(table: LatencyTable) -> list[Row]:
    """The whole networks: measured (low and high are the median's 95 % interval) and predicted."""
    return [_network_row(table, anchor) for anchor in table.anchors]


def cost_rows(table: LatencyTable) -> list[Row]:
    """What the search reckons: a network costs the base, the depth of each stage and the option of each position.

    Stages, positions and options count from 0. Skips cost what their row says, mostly nothing.
    """
    space, form = table.space, table.cost_form()
    rows = [_cost_row("base", form.constant)]
    for s, stage in enumerate(space.stages):
        costs = zip(stage.depths, form.depth[s], strict=True)
        rows += [_cost_row("depth", int(cost), stage=s, depth=depth) for depth, cost in costs]
        rows += [
            _cost_row("option", int(cost), stage=s, position=j, option=c, block=block_text(space.block(s, j, c)))
            for j, row in enumerate(form.option[s])
            for c, cost in enumerate(row)
        ]
    return rows


ROWS: Final[Mapping[str, Callable[[LatencyTable], list[Row]]]] = MappingProxyType(
    {"pieces": piece_rows, "networks": network_rows, "costs": cost_rows}
)


def _work(piece: Piece) -> Row:
    """What a piece computes; of a head, ``mid`` is its hidden layer and ``c_out`` its classes."""
    if isinstance(piece, Head):
        return _shape(piece, op="head", c_in=piece.c_in, mid=piece.hidden, c_out=piece.classes)
    option = piece.option
    settings: Row = {"kernel": option.kernel, "expansion": option.expansion, "se_ratio": option.se_ratio}
    return _shape(
        piece, op=option.op.value, **settings, stride=piece.stride, c_in=piece.c_in, mid=piece.mid, c_out=piece.c_out
    )


def _shape(piece: Piece, **known: str | int | float | None) -> Row:
    columns = ("op", "kernel", "expansion", "se_ratio", "stride", "c_in", "mid", "c_out")
    shared: Row = {"activation": piece.activation.value, "resolution": piece.resolution}
    return {name: known.get(name) for name in columns} | shared | {"macs": piece.macs, "params": piece.params}


def _piece_times(measured: Measurement) -> Row:
    low, high = measured.location_interval or (None, None)
    return {
        "samples": len(measured),
        "location_ns": measured.location,
        "median_ns": measured.median,
        "p90_ns": measured.p90,
        "low_ns": low,
        "high_ns": high,
    }


def _network_row(table: LatencyTable, anchor: Anchor) -> Row:
    measured = anchor.measurement
    low, high = measured.known_interval(0.5) or (None, None)
    return {
        "network": table.space.text(anchor.arch),
        "kind": anchor.kind,
        "samples": len(measured),
        "median_ns": measured.median,
        "low_ns": low,
        "high_ns": high,
        "predicted_ns": table.predict(anchor.arch).value,
    }


def _cost_row(term: str, cost_ns: int, **place: str | int) -> Row:
    columns = ("stage", "depth", "position", "option", "block")
    return {"term": term, **{name: place.get(name) for name in columns}, "cost_ns": cost_ns}
