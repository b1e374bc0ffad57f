"""Fit: a latency table from whole networks that were measured elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from binas_deploy.samples import CheckedSamples, check_samples, read_samples
from binas_deploy.space import SearchSpace
from binas_deploy.table import LatencyTable
from binas_deploy.table.parts import stated_conditions


def fit(
    space: SearchSpace,
    samples: Path,
    *,
    device: str,
    unit: str | None = None,
    sources: Sequence[Path] = (),
    stated: Mapping[str, str] | None = None,
) -> tuple[LatencyTable, CheckedSamples]:
    """A table of ``device`` from a CSV of networks and latencies, and what was found and done with its rows.

    ``sources``: tables of other devices to start from; ``stated``: conditions that are known, by identity key.

    Raises:
        InputError: no such file, no usable rows, an unknown condition, or a latency without a unit.
        MismatchError: a source is of another space.
        DocumentError: a source is damaged.
    """
    checked = check_samples(space, read_samples(samples, space, unit=unit))
    table = LatencyTable.fit(
        space,
        list(zip(checked.archs, checked.latency_ns.tolist(), strict=True)),
        sources=[LatencyTable.load(path) for path in sources],
        device=device,
        conditions=stated_conditions(device, **(stated or {})),
    )
    return table, checked
