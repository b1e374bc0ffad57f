"""Latency tables, and how two of them differ, as people read them. Times of pieces in microseconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Final

from binas_deploy.cli.render import duration, facts, table
from binas_deploy.cli.report import joules, milliseconds
from binas_deploy.conditions import unmeasured_text

if TYPE_CHECKING:
    from binas_deploy.table import LatencyTable
    from binas_deploy.table.difference import TableDifference
    from binas_deploy.table.ratios import Interval, PieceChange, Ratios
    from binas_deploy.table.summary import PieceSummary, RunSummary, TableSummary

_SPEED_FACTS: Final = (
    "clock_mhz",
    "governor",
    "temperature_c",
    "load_average",
    "contention_cpus",
    "sentinel_trend",
    "sentinel_spread",
    "measured_s",
    "stopped_by",
)
"""What a measuring run says of the host's speed."""
_NO_PIECES: Final = "no isolated pieces"
_UNKNOWN: Final = "-"


def summary_text(summary: TableSummary, path: Path) -> str:
    """All of a summary; ``path`` is where its table stands."""
    parts = [
        facts(_head(summary, path)),
        _titled("identity: under another one this table is refused", _conditions(summary.conditions.identity)),
        _titled("context: a difference is a warning", _conditions(summary.conditions.context)),
        _titled("measuring runs", _runs(summary.runs)),
        _titled("dearest pieces", _pieces(summary.dearest)),
    ]
    if summary.noisiest:
        parts.append(_titled("noisiest pieces", _pieces(summary.noisiest)))
    return "\n\n".join(parts)


def difference_text(difference: TableDifference, a: Path, b: Path) -> str:
    """All of a difference between the tables at ``a`` and ``b``; its sentence first."""
    parts = [
        difference.sentence,
        facts([("A", _origin(difference.a, a)), ("B", _origin(difference.b, b))]),
        _both_conditions(difference),
        _ratios(difference),
    ]
    if difference.changes:
        title = "most changed pieces; 'by itself' is B / A over the median of all pieces, with its 95 % interval"
        parts.append(_titled(title, _changes(difference.changes)))
    return "\n\n".join(parts)


def _titled(title: str, text: str) -> str:
    return "\n".join([title, *(f"  {line}" for line in text.splitlines())])


def _head(summary: TableSummary, path: Path) -> list[tuple[str, object]]:
    found, width = summary.table, summary.width
    anchors = ", ".join(f"{count} {kind}" for kind, count in summary.anchors.items())
    off, widest = (f"±{share:.1f} %" for share in (width.median_percent, width.widest_percent))
    within = f"{off if off == widest else f'{off}, at most {widest}'} ({width.confidence:.0%}; {width.method})"
    rows: list[tuple[str, object]] = [
        ("table", path),
        ("digest", found.digest[:12]),
        ("device", found.device),
        ("space", f"{found.space.name}: {found.space.size:.3g} networks"),
        ("made", f"{found.created}, {_age(summary.age_seconds)}"),
        ("predicts", f"the {found.statistic} of a random network within {within}"),
        ("fitted to", f"{len(found.anchors)} whole networks: {anchors}"),
        ("pieces", _noise(summary)),
        ("cheapest", f"network of the space: {milliseconds(summary.least.latency)}"),
        ("dearest", f"network of the space: {milliseconds(summary.most.latency)}"),
        ("energy", _energy(summary)),
    ]
    return [*rows, ("note", unmeasured_text(found.conditions.identity))] if found.simulated else rows


def _age(seconds: float | None) -> str:
    if seconds is None:
        return "a time that does not exist"
    return f"{duration(seconds)} ago" if seconds >= 0 else f"{duration(-seconds)} from now by this machine's clock"


def _noise(summary: TableSummary) -> str:
    noise = summary.noise
    if not noise.measured:
        return f"{_NO_PIECES}: the table rests on whole networks alone"
    unknown = f", {noise.unknown} with too few samples to say" if noise.unknown else ""
    if noise.median_percent is None:
        return f"{noise.measured} measured alone{unknown}"
    known = f"known to ±{noise.median_percent:.1f} % at the median and ±{noise.widest_percent:.1f} % at the worst"
    return f"{noise.measured} measured alone, {known}{unknown}"


def _energy(summary: TableSummary) -> str:
    found = summary.energy
    if found is None:
        return "not measured: no sensor was read; profile with --energy where there is one"
    ends = f"{joules(found.least)} at least, {joules(found.most)} at most"
    return f"of a call by {found.sensor}, idle power included: {ends}"


def _conditions(values: Mapping[str, str]) -> str:
    return facts(list(values.items())) if values else "none stated"


def _runs(runs: Sequence[RunSummary]) -> str:
    rows = [(run.run.id, run.run.started, _speed(run.run.host), _findings(run.findings)) for run in runs]
    return table(("run", "started", "host", "noise"), rows)


def _speed(host: Mapping[str, str]) -> str:
    return ", ".join(f"{key} {host[key]}" for key in _SPEED_FACTS if key in host) or _UNKNOWN


def _findings(findings: tuple[str, ...] | None) -> str:
    if findings is None:
        return "not recorded"
    return "; ".join(findings) or "none found"


def _pieces(pieces: Sequence[PieceSummary]) -> str:
    header = ("piece", "stage.position", "alone us", "±95 %", "samples", "in a network us")
    return table(header, [_piece(piece) for piece in pieces]) if pieces else "none asked for"


def _piece(piece: PieceSummary) -> tuple[str, ...]:
    label = piece.label
    samples = _UNKNOWN if piece.samples is None else str(piece.samples)
    alone = (_us(piece.location_ns), _percent(piece.interval_percent), samples)
    return (label.text, _places(label.places) or "always", *alone, _costs(piece) or "in the base of all")


def _costs(piece: PieceSummary) -> str:
    """What the piece costs in a network, with the places where the places differ."""
    at: dict[int, dict[tuple[int, int], None]] = {}
    for cost in piece.costs:
        at.setdefault(cost.cost_ns, {})[(cost.stage, cost.position)] = None
    if len(at) <= 1:
        return "".join(_us(cost) for cost in at)
    return "; ".join(f"{_us(cost)} at {_places(tuple(places))}" for cost, places in at.items())


def _places(places: Sequence[tuple[int, int]]) -> str:
    """``0.0, 1.1-3``: stage and positions, both from 0, neighbours joined."""
    joined = []
    for _, run in groupby(enumerate(places), key=lambda item: (item[1][0], item[1][1] - item[0])):
        stage, first = (members := [place for _, place in run])[0]
        last = members[-1][1]
        joined.append(f"{stage}.{first}" if last == first else f"{stage}.{first}-{last}")
    return ", ".join(joined)


def _origin(found: LatencyTable, path: Path) -> str:
    simulated = f"; {unmeasured_text(found.conditions.identity)}" if found.simulated else ""
    return f"{path}: device {found.device}, made {found.created}, digest {found.digest[:12]}{simulated}"


def _both_conditions(difference: TableDifference) -> str:
    """Differing ones side by side, identity marked; the others by name."""
    rows = [
        ("!" if pair.kind == "identity" else "", pair.kind, pair.key, pair.a, pair.b)
        for pair in difference.conditions
        if pair.differs
    ]
    same = ", ".join(pair.key for pair in difference.conditions if not pair.differs)
    differing = _titled("conditions that differ", table(("", "", "condition", "A", "B"), rows)) if rows else ""
    return "\n".join(text for text in (differing, f"the same in both: {same or 'none'}") if text)


def _ratios(difference: TableDifference) -> str:
    found = {
        "isolated pieces": difference.pieces,
        "whole networks measured in both": difference.anchors,
        "random networks, predicted": difference.networks,
    }
    header = ("B / A", "count", "least", "5 %", "median", "95 %", "most", "nine in ten within")
    rows = [_ratio_row(name, ratios) for name, ratios in found.items() if ratios]
    text = table(header, rows)
    if difference.pieces is None:
        return f"{text}\n{_NO_PIECES} in common"
    return f"{text}\n{difference.apart} of {difference.pieces.count} pieces changed by themselves, beyond 5 %"


def _ratio_row(name: str, ratios: Ratios) -> tuple[object, ...]:
    quantiles = (ratios.least, ratios.p5, ratios.median, ratios.p95, ratios.most)
    return (name, ratios.count, *(f"{value:.3f}" for value in quantiles), f"±{ratios.spread_percent:.1f} %")


def _changes(changes: Sequence[PieceChange]) -> str:
    header = ("piece", "stage.position", "A us", "95 %", "B us", "95 %", "B / A", "by itself", "95 %", "changed")
    return table(header, [_change(change) for change in changes])


def _change(change: PieceChange) -> tuple[str, ...]:
    verdict = {True: "yes", False: "no", None: "too few samples"}[change.excludes_no_change]
    times = [
        (_us(ns), _interval(interval, 1e3, 2))
        for ns, interval in ((change.a_ns, change.a_interval), (change.b_ns, change.b_interval))
    ]
    ratios = (f"{change.ratio:.3f}", f"{change.relative:.3f}", _interval(change.relative_interval, 1, 3))
    return (change.label.text, _places(change.label.places) or "always", *times[0], *times[1], *ratios, verdict)


def _interval(interval: Interval | None, unit: float, digits: int) -> str:
    if interval is None:
        return _UNKNOWN
    low, high = (f"{value / unit:.{digits}f}" for value in interval)
    return f"{low} to {high}"


def _us(nanoseconds: float | None) -> str:
    return _UNKNOWN if nanoseconds is None else f"{nanoseconds / 1e3:.2f}"


def _percent(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{value:.2f}"
