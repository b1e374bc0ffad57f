"""From the run that a table was measured in to another: a scale and an offset, from a few networks measured in both.

With y the latency of an anchor then and z now, and u the median of y::

    z / y = scale + (offset / u) * (u / y) + noise,   scale ~ N(median of z / y, SCALE_SD^2),
    offset / u ~ N(0, OFFSET_SD^2),                   noise^2 = 2 * (noise of one network in the table)^2

Speed is what changes between runs of one machine, so the scale is nearly free and the offset is held tight: three
anchors settle the one and hint at the other. The posterior says how far off both leave a typical network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from binas_deploy.columns import Floats
from binas_deploy.errors import InputError
from binas_deploy.table.hierarchy import posterior

SCALE_SD: Final = 0.3
OFFSET_SD: Final = 0.02
_GROUPS: Final = ("scale", "offset")


@dataclass(frozen=True)
class Reconciliation:
    """Latency now = ``scale`` * latency then + ``offset_ns``; ``relative_sd``: how far off that leaves a network.

    ``anchors``: how many networks it is from.
    """

    scale: float
    offset_ns: float
    relative_sd: float
    anchors: int


def reconcile(then_ns: Sequence[float] | Floats, now_ns: Sequence[float] | Floats, *, noise: float) -> Reconciliation:
    """From anchors measured in both runs; ``noise`` is the relative standard deviation of one measured network.

    Raises:
        InputError: no anchors, not as many now as then, or latencies that are not positive.
    """
    then, now = np.array(then_ns, dtype=np.float64), np.array(now_ns, dtype=np.float64)
    if not (len(then) == len(now) > 0 and min(then.min(), now.min()) > 0):
        raise InputError("a table is carried over by at least one anchor, with positive latencies then and now.")
    unit, centre = float(np.median(then)), float(np.median(now / then))
    rows = np.column_stack([np.ones_like(then), unit / then])
    spreads = {"scale": SCALE_SD * centre, "offset": OFFSET_SD * centre, "noise": float(np.sqrt(2)) * noise * centre}
    found = posterior(rows, now / then - centre, _GROUPS, spreads)
    scale, offset = centre + float(found.mean[0]), float(found.mean[1])
    sd = float(np.sqrt(found.variance(np.ones((1, 2)))[0]))
    return Reconciliation(scale, offset * unit, sd / (scale + offset), len(then))
