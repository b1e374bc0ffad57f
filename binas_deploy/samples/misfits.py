"""Latencies that the work of their networks rules out: in another unit, or far from all others.

Latency is judged by a robust line of its log on log MACs. That line is crude (an option may well be slow on a
device), so only what no device explains is dropped.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np

from binas_deploy.errors import InputError
from binas_deploy.samples.cells import UNITS, nanoseconds
from binas_deploy.samples.finding import Finding, count_text, lines_text
from binas_deploy.samples.points import Floats, Line, Mask, Points, main_line, robust_sd

_PLAUSIBLE: Final = (6.0, 15.0)  # decimal logs of MAC/s, from a small microcontroller to a large accelerator
_POWERS: Final = (3, -3, 6, -6)
_ABOUT: Final = math.log(2.5)
_OUTLIER_SD: Final = 8.0
_OUTLIER_LEAST: Final = math.log(1.5)
_OUTLIER_SHARE: Final = 0.02


def require_plausible(points: Points) -> None:
    """Refuse a file whose networks would run at an absurd speed.

    Raises:
        InputError: the median of MACs / latency lies outside 1e6 to 1e15 MAC/s; the message says which unit would do.
    """
    speed = (float(np.median(points.log_macs - points.log_ns)) + math.log(1e9)) / math.log(10)
    low, high = _PLAUSIBLE
    if low <= speed <= high:
        return
    unit = Counter(points.rows.units[i] for i in points.index).most_common(1)[0][0]
    others = {other: speed + math.log10(nanoseconds(unit) / nanoseconds(other)) for other in UNITS}
    fitting = [f"{other} (10^{value:.1f} MAC/s)" for other, value in others.items() if low <= value <= high]
    advice = f"Its numbers would be plausible in {' or '.join(fitting)}: state" if fitting else "State"
    raise InputError(
        f"{points.rows.source}: mis-scaled: its latencies, read as {unit}, mean about 10^{speed:.1f} MAC/s; plausible "
        f"are 10^{low:.0f} to 10^{high:.0f}. {advice} the unit that they were measured in (seconds taken for "
        "milliseconds are the usual cause)."
    )


def drop_misfits(points: Points) -> tuple[Points, Line, tuple[Finding, ...]]:
    """The rows that fit, the line through them, and findings: ``mis-scaled`` rows and a few ``outlier`` rows go.

    Mis-scaled is a row within a factor of 2.5 of 10^3 or 10^6 above or below the line. An outlier is over 8 robust sd
    and over a factor of 1.5 away. One row, or up to 2 % of all, are taken for accidents and dropped: a
    fit by least squares would spread their error over every network. More are no accident, perhaps an option that
    the device runs slowly, and stay.

    Raises:
        InputError: half of the rows or more are mis-scaled, so that nothing tells which half is right.
    """
    line = main_line(points)
    residuals = line.residuals(points)
    powers = _powers_of_ten(residuals)
    scaled = powers != 0
    if 2 * int(scaled.sum()) >= len(points):
        raise InputError(_mixed_text(points, scaled))
    far = ~scaled & (np.abs(residuals) > max(_OUTLIER_SD * robust_sd(residuals[~scaled]), _OUTLIER_LEAST))
    accident = int(far.sum()) <= max(1, math.floor(_OUTLIER_SHARE * len(points)))
    findings = [_scaled_finding(points, powers == power, power) for power in _POWERS if (powers == power).any()]
    findings += [_outlier_finding(points, far, residuals, accident)] if far.any() else []
    return points.keep(~scaled & ~far if accident else ~scaled), line, tuple(findings)


def _powers_of_ten(residuals: Floats) -> Floats:
    """(n,): 3, -3, 6 or -6 where that power of ten explains the residual, else 0."""
    found = np.zeros(len(residuals))
    for power in _POWERS:
        found[np.abs(residuals - power * math.log(10)) <= _ABOUT] = power
    return found


def _mixed_text(points: Points, scaled: Mask) -> str:
    lines = points.lines(scaled)
    return (
        f"{points.rows.source}: mis-scaled: {len(lines)} of {len(points)} rows are thousands of times away from the "
        f"others ({lines_text(lines)}): the file mixes units. Write each latency with its unit (12.3ms)."
    )


def _scaled_finding(points: Points, mask: Mask, power: int) -> Finding:
    lines = points.lines(mask)
    units = [points.rows.units[i] for i in points.index[mask]]
    side = "slower" if power > 0 else "faster"
    found = f"{count_text(len(lines), 'row')} about 10^{abs(power)} times {side} than the rest says"
    return Finding("mis-scaled", lines, found + _fitting_unit(units, power), "dropped")


def _fitting_unit(units: Sequence[str], power: int) -> str:
    """The unit in which such rows would fit, if there is one for all of them."""
    stated = Counter(units).most_common(1)[0][0]
    fitting = [unit for unit in UNITS if nanoseconds(unit) * 10.0**power == nanoseconds(stated)]
    return f", they would fit in {fitting[0]} (read as {stated})" if fitting else ""


def _outlier_finding(points: Points, far: Mask, residuals: Floats, accident: bool) -> Finding:
    lines, worst = points.lines(far), residuals[far][np.argmax(np.abs(residuals[far]))]
    side = "slower" if worst > 0 else "faster"
    found = (
        f"{count_text(len(lines), 'row')} over 8 robust standard deviations from what the work of the network says, "
        f"at most {math.exp(abs(worst)):.3g} times {side}"
    )
    kept = "kept, since so many are no accident: an option may be slow on this device, otherwise remove them"
    return Finding("outlier", lines, found, "dropped as accidents of measuring" if accident else kept)
