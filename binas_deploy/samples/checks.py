"""`check_samples`: latency samples of any origin, judged row by row before a table is fitted to them.

What is done with the rows, in this order: those that cannot be read, that the space does not have or that are not
positive are dropped; so are rows in another unit and single outliers; the rest is told to drift, merged by network,
and told to be rounded or non-monotone. Nothing is dropped or merged without a `Finding`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from binas_deploy.errors import InputError
from binas_deploy.samples.containment import non_monotone_findings
from binas_deploy.samples.drift import drift_findings
from binas_deploy.samples.file import SampleRows
from binas_deploy.samples.finding import Finding, count_text
from binas_deploy.samples.misfits import drop_misfits, require_plausible
from binas_deploy.samples.points import Points
from binas_deploy.samples.repeats import (
    duplicate_findings,
    merge,
    repeat_noise,
    rounding_findings,
    rounding_noise,
    rounding_step,
)
from binas_deploy.samples.usable import usable_rows
from binas_deploy.space import Architecture, SearchSpace

FEWEST_NETWORKS: Final = 8


@dataclass(frozen=True, eq=False)
class CheckedSamples:
    """m distinct networks and what each takes; the order of the rows in the file does not matter to them.

    ``archs``: ascending by (depths, options); ``latency_ns``: (m,), the median of each one's rows; ``counts``: (m,)
    rows merged into each; ``findings``: what was wrong, and what was done; ``noise``: relative sd of one row, the
    larger of what repeated networks and rounding show, 0.0 where nothing is known. The arrays are read-only.
    """

    archs: tuple[Architecture, ...]
    latency_ns: NDArray[np.float64]
    counts: NDArray[np.int64]
    findings: tuple[Finding, ...]
    noise: float

    def __post_init__(self) -> None:
        for array in (self.latency_ns, self.counts):
            array.setflags(write=False)


def check_samples(space: SearchSpace, rows: SampleRows) -> CheckedSamples:
    """The networks of ``rows`` with their latencies, and everything that is wrong with them.

    Raises:
        InputError: over half of the rows cannot be used, fewer than 8 networks remain, the file mixes units in equal
            parts, or its latencies imply an absurd speed (then the message says which unit would be plausible).
    """
    index, findings = usable_rows(space, rows)
    points = Points.of(space, rows, index)
    _require_enough(points, findings)
    require_plausible(points)
    points, line, misfits = drop_misfits(points)
    findings += misfits
    _require_enough(points, findings)
    networks, step = merge(points), rounding_step(points.latency_ns)
    # Repeats show rounding too where it matters, so the two are not added.
    noise = max(repeat_noise(networks), rounding_noise(step, points.latency_ns))
    findings += drift_findings(points, line) + duplicate_findings(networks)
    findings += rounding_findings(step, points.latency_ns) + non_monotone_findings(space, networks, noise)
    return CheckedSamples(networks.archs, networks.latency_ns, networks.counts, findings, noise)


def _require_enough(points: Points, findings: Sequence[Finding]) -> None:
    count, kept, distinct = len(points.rows), len(points), len(set(points.archs))
    told = "".join(f"\n  {finding.text}" for finding in findings)
    if 2 * (count - kept) > count:
        raise InputError(
            f"{points.rows.source}: {count - kept} of {count_text(count, 'row')} had to be dropped, over half; "
            f"see whether this is the right file, space and unit.{told}"
        )
    if distinct < FEWEST_NETWORKS:
        raise InputError(
            f"{points.rows.source}: {count_text(distinct, 'usable network')} in {count_text(count, 'row')}; at least "
            f"{FEWEST_NETWORKS} different ones are needed. Measure more.{told}"
        )
