"""Rows that cannot be used at all: unreadable, of another space, or without a positive latency."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Final

import numpy as np

from binas_deploy.errors import InputError
from binas_deploy.samples.cells import states_a_network
from binas_deploy.samples.file import SampleRows
from binas_deploy.samples.finding import Finding, Kind, count_text
from binas_deploy.samples.points import Indices
from binas_deploy.space import Architecture, SearchSpace

_REASON_LENGTH: Final = 240

Belongs = Callable[[Architecture], bool]


def usable_rows(space: SearchSpace, rows: SampleRows) -> tuple[Indices, tuple[Finding, ...]]:
    """Indices of the rows with a network of ``space`` and a positive latency, and what is wrong with the others."""
    belongs = cache(lambda arch: not _objection(space, arch, ""))
    faults = [
        _fault(arch, text, float(ns), belongs)
        for arch, text, ns in zip(rows.archs, rows.texts, rows.latency_ns, strict=True)
    ]
    kinds: tuple[Kind, ...] = ("unreadable", "foreign", "non-positive")
    found = {kind: [i for i, fault in enumerate(faults) if fault == kind] for kind in kinds}
    findings = tuple(_finding(space, rows, kind, places) for kind, places in found.items() if places)
    return np.flatnonzero([fault is None for fault in faults]), findings


def _fault(arch: Architecture | None, text: str, ns: float, belongs: Belongs) -> Kind | None:
    if not math.isfinite(ns) or (arch is None and not states_a_network(text)):
        return "unreadable"
    if arch is None or not belongs(arch):
        return "foreign"
    return None if ns > 0 else "non-positive"


def _finding(space: SearchSpace, rows: SampleRows, kind: Kind, places: Sequence[int]) -> Finding:
    first, many = places[0], count_text(len(places), "row")
    objection = _objection(space, rows.archs[first], rows.texts[first]) or "its latency is not a number with a unit"
    found = {
        "unreadable": f"{many} with a network or a latency that cannot be read (the first: {objection})",
        "foreign": f"{many} with a network that space '{space.name}' does not have (the first: {objection})",
        "non-positive": f"{many} with a latency of zero or less (the first: {rows.latency_ns[first] / 1e6:g} ms)",
    }[kind]
    return Finding(kind, tuple(int(rows.lines[place]) for place in places), found, "dropped")


def _objection(space: SearchSpace, arch: Architecture | None, text: str) -> str:
    """Why the space does not take this network, "" if it does."""
    try:
        if arch is None:
            space.architecture(text)
        else:
            space.validate(arch)
    except InputError as error:
        reason = " ".join(str(error).split()).rstrip(".")
        return reason if len(reason) <= _REASON_LENGTH else f"{reason[:_REASON_LENGTH]}..."
    return ""
