"""Networks that were measured more than once, and how finely latencies were written: what a row is worth."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from binas_deploy.samples.finding import Finding, count_text
from binas_deploy.samples.points import Floats, Points
from binas_deploy.space import Architecture

_DISAGREEMENT: Final = 0.1
_COARSE: Final = 0.005
_SHOWN_UNITS: Final = ((1e9, "s"), (1e6, "ms"), (1e3, "us"), (1.0, "ns"))


@dataclass(frozen=True, eq=False)
class Networks:
    """The m distinct networks, in the order of (depths, options): ``latency_ns`` (m,) is the median of each one's rows,
    ``samples`` are these (ns), ``lines`` their lines in the file.
    """

    archs: tuple[Architecture, ...]
    latency_ns: Floats
    samples: tuple[Floats, ...]
    lines: tuple[tuple[int, ...], ...]

    @property
    def counts(self) -> NDArray[np.int64]:
        """(m,) rows merged into each."""
        return np.array([len(values) for values in self.samples], dtype=np.int64)


def merge(points: Points) -> Networks:
    """One entry for each network."""
    places: dict[Architecture, list[int]] = {}
    for place, arch in enumerate(points.archs):
        places.setdefault(arch, []).append(place)
    archs = sorted(places, key=lambda arch: (arch.depths, arch.options))
    latency, lines = points.latency_ns, points.rows.lines[points.index]
    samples = tuple(latency[places[arch]] for arch in archs)
    return Networks(
        archs=tuple(archs),
        latency_ns=np.array([np.median(values) for values in samples]),
        samples=samples,
        lines=tuple(tuple(int(line) for line in lines[places[arch]]) for arch in archs),
    )


def repeat_noise(networks: Networks) -> float:
    """Relative sd of one row, pooled over the networks with several; 0.0 without any."""
    logs = [np.log(values) for values in networks.samples if len(values) > 1]
    freedom = sum(len(values) - 1 for values in logs)
    return math.sqrt(sum(float(np.sum((v - v.mean()) ** 2)) for v in logs) / freedom) if freedom else 0.0


def duplicate_findings(networks: Networks) -> tuple[Finding, ...]:
    """What was merged, and which networks disagree with themselves by over 10 %."""
    repeated = [m for m, values in enumerate(networks.samples) if len(values) > 1]
    if not repeated:
        return ()
    spread = {m: float(np.ptp(networks.samples[m]) / networks.latency_ns[m]) for m in repeated}
    median, worst = 100 * float(np.median(list(spread.values()))), 100 * max(spread.values())
    found = (
        f"{count_text(len(repeated), 'network')} measured more than once; the rows of one differ by {median:.2g} % "
        f"in the middle and by {worst:.2g} % at most"
    )
    merged = Finding("duplicate", _lines(networks, repeated), found, "merged by the median")
    if not (apart := [m for m in repeated if spread[m] > _DISAGREEMENT]):
        return (merged,)
    found = f"{count_text(len(apart), 'network')} whose own rows disagree by over 10 %"
    advice = "merged by the median all the same; measure them again, or see whether the runs were of one condition"
    return merged, Finding("duplicate", _lines(networks, apart), found, advice)


def _lines(networks: Networks, chosen: list[int]) -> tuple[int, ...]:
    return tuple(sorted(line for m in chosen for line in networks.lines[m]))


def rounding_step(latency_ns: Floats) -> float:
    """The largest of 1, 2, 5 * 10^k ns that divides all values, if it is over 0.5 % of their median; else 0.0.

    Units of time are powers of ten apart, so the decimal steps in ns are those in any of them.
    """
    least, coarse = float(np.min(latency_ns)), _COARSE * float(np.median(latency_ns))
    exponent = math.floor(math.log10(least))
    for k in range(exponent, math.floor(math.log10(coarse)) - 1, -1):
        for step in (5 * 10.0**k, 2 * 10.0**k, 10.0**k):
            if coarse < step <= least * (1 + 1e-9) and _divides(step, latency_ns):
                return step
    return 0.0


def _divides(step: float, values: Floats) -> bool:
    ratio = values / step
    return bool(np.all(np.abs(ratio - np.rint(ratio)) <= 1e-6))


def rounding_noise(step: float, latency_ns: Floats) -> float:
    """Relative sd of what rounding to ``step`` takes away: step / sqrt(12), over the median."""
    return step / math.sqrt(12) / float(np.median(latency_ns))


def rounding_findings(step: float, latency_ns: Floats) -> tuple[Finding, ...]:
    """One if there is a ``step``."""
    if not step:
        return ()
    share = 100 * step / float(np.median(latency_ns))
    error = 100 * rounding_noise(step, latency_ns)
    found = f"all latencies are multiples of {_step_text(step)}, {share:.2g} % of their median"
    return (Finding("rounded", (), found, f"kept, with {error:.2g} % counted as noise; export more digits"),)


def _step_text(step: float) -> str:
    factor, unit = next(((f, u) for f, u in _SHOWN_UNITS if step >= f * (1 - 1e-9)), (1.0, "ns"))
    return f"{step / factor:g} {unit}"
