"""The command that makes a bundle again, from what its search and its export were told."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from typing import Final

from binas_deploy.conditions import period_of
from binas_deploy.quantities import Quantity
from binas_deploy.search_result import SearchResult
from binas_deploy.table import LatencyTable

PROGRAM: Final = "binas-deploy"
AND: Final = "&&"
_FILE: Final = "search.json"


def reproduce_words(
    result: SearchResult, table: LatencyTable, formats: Iterable[str], *, data: str, seed: int
) -> tuple[str, ...]:
    """A search for the same network, and the export of it: words, with `AND` between the two commands.

    It needs the same latency table, accuracy model and supernet, whose digests the manifest states; a table that was
    carried over (``--now``) is measured anew. A budget that 'deploy' tightened is searched for as tightened.
    """
    named = [word for name in formats for word in ("--format", name)]
    exporting = [PROGRAM, "export", _FILE, *named, "--data", data, "--seed", str(seed)]
    return (*_searching(result, table), AND, *exporting)


def command_text(words: Sequence[str]) -> str:
    """The words as a shell takes them, one command a line."""
    lines: list[list[str]] = [[]]
    for word in words:
        if word == AND:
            lines.append([])
        else:
            lines[-1].append(word)
    return f" {AND} \\\n".join(shlex.join(line) for line in lines if line)


def _searching(result: SearchResult, table: LatencyTable) -> list[str]:
    first, identity = result.latency_budget, table.conditions.identity
    words = [PROGRAM, "search", "--device", first.device, "--space", result.space.name]
    for text in _budgets(result):
        words += ["--budget", text]
    words += ["--statistic", first.statistic, "--threads", identity["threads"], "--seed", str(result.seed)]
    if period := period_of(first.cadence):
        words += ["--period", Quantity("time", period).text]
    if first.confidence is not None:
        words += ["--confidence", f"{first.confidence:g}"]
    return [*words, *(["--now"] if first.carried_over else []), "--output", _FILE]


def _budgets(result: SearchResult) -> list[str]:
    latencies = [
        f"{row.device}={_sought(row.confidence, row.most_predicted_ns, row.limit_ns, row.budget)}"
        for row in result.latencies
    ]
    energies = [f"{row.device}={row.budget}" for row in result.energies]
    return [*latencies, *energies, *(f"{row.resource}={row.budget}" for row in result.computed)]


def _sought(confidence: float | None, most_ns: int, limit_ns: int, text: str) -> str:
    """What was searched for: less than was asked where verifying had shown that it must be."""
    return Quantity("time", most_ns).text if confidence is None and most_ns < limit_ns else text
