"""From the run that a table was measured in to another: a scale and an offset, from a few networks measured in both.

With y the latency of an anchor then and z now, and u the median of y::

    z / y = scale + (offset / u) * (u / y) + noise,   scale ~ N(median of z / y, SCALE_SD^2),
    offset / u ~ N(0, OFFSET_SD^2),                   noise^2 = max(2 * (noise of one network)^2, scatter^2)

Speed is what changes between runs of one machine, so the scale is nearly free and the offset is held tight: three
anchors settle the one and hint at the other. The posterior says how far off both leave a typical network. The noise is
the table's own; ``scatter`` is how much the ratios z / y disagree, which decides on a noisier day. A ratio that is
further off than `WILD` times what is usual (an interruption at the wrong moment) counts as being just that far off.

It is that of `hierarchy.posterior` for two coefficients, written out: documents state these figures and are checked by
finding them again, so they have to be the same to the last bit everywhere, and libraries of linear algebra differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum, sqrt
from statistics import median
from typing import Final

from binas_deploy.columns import Floats
from binas_deploy.errors import InputError

SCALE_SD: Final = 0.3
OFFSET_SD: Final = 0.02
WILD: Final = 3.0
LEAST_NOISE: Final = 1e-4
"""No network is measured more finely than this share: keeps what follows well-conditioned."""
_NORMAL: Final = 1.4826
"""From the median of absolute deviations to the standard deviation of a normal distribution."""


@dataclass(frozen=True)
class Reconciliation:
    """Latency now = ``scale`` * latency then + ``offset_ns``; ``relative_sd``: how far off that leaves a network.

    ``anchors``: how many networks it is from.
    """

    scale: float
    offset_ns: float
    relative_sd: float
    anchors: int

    def now_ns(self, then_ns: float) -> float:
        """The latency now of what took ``then_ns``."""
        return self.scale * then_ns + self.offset_ns

    def slowdown(self, then_ns: float) -> float:
        """How many times slower the machine is for what took ``then_ns``: the offset is part of it."""
        return self.now_ns(then_ns) / then_ns


def reconcile(then_ns: Sequence[float] | Floats, now_ns: Sequence[float] | Floats, *, noise: float) -> Reconciliation:
    """From anchors measured in both runs; ``noise`` is the relative standard deviation of one measured network.

    Raises:
        InputError: no anchors, not as many now as then, or latencies that are not positive.
    """
    then, now = [float(value) for value in then_ns], [float(value) for value in now_ns]
    if not (len(then) == len(now) > 0 and min(then + now) > 0):
        raise InputError("a table is carried over by at least one anchor, with positive latencies then and now.")
    unit, centre = median(then), median(z / y for y, z in zip(then, now, strict=True))
    shares = [unit / y for y in then]
    off = [z / y / centre - 1 for y, z in zip(then, now, strict=True)]
    told, deviation = _tamed(off, sqrt(2) * max(noise, LEAST_NOISE))
    scale, offset, sd = _posterior(shares, told, deviation**2)
    typical = 1 + scale + offset
    return Reconciliation(centre * (1 + scale), centre * offset * unit, sd / typical, len(then))


def _tamed(off: Sequence[float], noise: float) -> tuple[list[float], float]:
    """Without wild ones, and the standard deviation of one: ``noise``, or more where they disagree by more."""
    limit = WILD * max(noise, _NORMAL * median(abs(value) for value in off))
    told = [min(max(value, -limit), limit) for value in off]
    scatter = sqrt(fsum(value * value for value in told) / max(1, len(told) - 1))
    return told, max(noise, scatter)


def _posterior(shares: Sequence[float], off: Sequence[float], variance: float) -> tuple[float, float, float]:
    """Means of scale and offset in ``off = scale + offset * shares``, and the standard deviation of their sum.

    The normal equations of Bayesian linear regression, times ``variance``, that of one of ``off``.
    """
    a, b = len(shares) + variance / SCALE_SD**2, fsum(shares)
    c = fsum(share * share for share in shares) + variance / OFFSET_SD**2
    p, q = fsum(off), fsum(share * value for share, value in zip(shares, off, strict=True))
    determinant = a * c - b * b
    sd = sqrt(variance * (a - 2 * b + c) / determinant)
    return (c * p - b * q) / determinant, (a * q - b * p) / determinant, sd
