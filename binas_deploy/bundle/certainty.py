"""When latencies of a few processes are enough to say that a budget holds, however often one looks.

A process is the unit of replication: calls within one share its memory layout, its place on the host and its moment, so
that thousands of them still are one observation. With x_1 .. x_n the logarithms of what n processes measured, each look
from the third process on tests ``mean x < log budget`` and ``mean x > log budget`` by Student's t at a level of its
own::

    level(n) = c * (1 - confidence) * (n / MOST_PROCESSES)^2,    n = LEAST_PROCESSES .. MOST_PROCESSES

A group-sequential test whose levels grow, as those of O'Brien and Fleming (1979, Biometrics 35:549) do: early looks
take much, so that little is left to pay at the last. Levels of z tests become those of t tests by keeping the level and
not the quantile (Jennison and Turnbull, Group Sequential Methods, 2000, section 4.4). That rests on asymptotics and on
the normal distribution, while three processes are few and now and then one meets a busy host. So ``c`` is by
simulation: of 1.6 million series at most a share of (1 - confidence) passes some look by chance, be the values
independent normal ones, or the same with one process in 4, 7, 10 or 20 slower by two standard deviations. For normal
ones alone it could be 1.2 times (at 80 %) to 2.8 times (at 99.9 %) as large.

The tests turned round are repeated confidence bounds (Jennison and Turnbull, 1989, JRSS B 51:305): all lower bounds of
all looks hold together with that confidence, and so do all upper ones; stopping for any reason harms neither. So a
wrong PASS is at most as likely as 1 - confidence, and so is a wrong FAIL.

They hold for the machine as it was while the processes ran. Where anchors were measured in each process, they tell how
fast it was in that one, g_i (logarithms). With x_i = m + g_i + e_i the mean of x is what the network took at the mean
speed of the session, m + mean g, plus mean e: only e is chance then, so its deviation is that of x_i - g_i. However the
host swings, which the bounds say nothing of, an error needs mean e to be as far off as the tests above allow for.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, exp, fsum, log, pi, sin, sqrt, tan
from typing import Final

from binas_deploy.errors import InputError

LEAST_PROCESSES: Final = 3
MOST_PROCESSES: Final = 10
LEAST_SD: Final = 0.002
"""No machine repeats itself more closely than this share; three that agree better do so by chance."""
_POWER: Final = 2
_HALVINGS: Final = 60
_SHARES: Final = ((0.2, 0.58), (0.1, 0.435), (0.05, 0.34), (0.025, 0.275), (0.01, 0.22), (0.005, 0.19), (0.001, 0.14))
"""(1 - confidence, c), c rounded down; between two of them the smaller c holds."""
_BEYOND: Final = 0.1
"""c for a confidence that was not simulated. Of normal values it errs less than asked, whatever the confidence: the
levels sum up to less (Bonferroni)."""
_MOST_REACH: Final = 30.0
"""Of the logarithm. A bound that far away is none, and beyond it is no number of nanoseconds."""


def level(processes: int, confidence: float) -> float:
    """That of each one-sided test at the look after so many processes.

    Raises:
        InputError: no look is made after so many, or a confidence outside (0.5, 1).
    """
    if not 0.5 < confidence < 1:
        raise InputError(f"a confidence of {confidence:g} cannot be asked; give one between 0.5 and 1, such as 0.95.")
    if not LEAST_PROCESSES <= processes <= MOST_PROCESSES:
        raise InputError(f"looks are made after {LEAST_PROCESSES} to {MOST_PROCESSES} processes, not {processes}.")
    alpha = 1 - confidence
    share = next((c for least, c in _SHARES if alpha >= least - 1e-12), _BEYOND)
    return share * alpha * _weight(processes)


def typical(values_ns: Sequence[int]) -> int:
    """The geometric mean of what processes measured, in ns: what the bounds are of."""
    return round(exp(fsum(map(log, values_ns)) / len(values_ns)))


def bounds(
    values_ns: Sequence[int], confidence: float, slowness: Sequence[float] | None = None
) -> tuple[int, int] | None:
    """(lower, upper) bound in ns, each with that confidence at whatever look one stops; None before the first look.

    ``slowness``: by what factor anchors were slower in each process; None where none were measured.

    Raises:
        InputError: more processes than `MOST_PROCESSES`, or a confidence that cannot be asked.
    """
    if len(values_ns) < LEAST_PROCESSES:
        return None
    reach = _reach(_sd(values_ns, slowness), len(values_ns), confidence)
    value = typical(values_ns)
    return round(value * exp(-reach)), round(value * exp(reach))


def settled(values_ns: Sequence[int], confidence: float, slowness: Sequence[float] | None = None) -> int:
    """The upper bound in ns that the last look could be expected to give, were the processes to agree as they do.

    What a network has to keep below the budget to be passed; a bound of an early look lies far beyond that.

    Raises:
        InputError: a confidence that cannot be asked.
    """
    sd = _sd(values_ns, slowness) if len(values_ns) > 1 else LEAST_SD
    return round(typical(values_ns) * exp(_reach(sd, MOST_PROCESSES, confidence)))


def deviation(values_ns: Sequence[int], slowness: Sequence[float] | None = None) -> float:
    """Standard deviation of the logarithms of two values or more, beside the anchors where those are known."""
    speeds = slowness or [1.0] * len(values_ns)
    logs = [log(value) - log(speed) for value, speed in zip(values_ns, speeds, strict=True)]
    mean = fsum(logs) / len(logs)
    return sqrt(fsum((x - mean) ** 2 for x in logs) / (len(logs) - 1))


def _sd(values_ns: Sequence[int], slowness: Sequence[float] | None) -> float:
    return max(LEAST_SD, deviation(values_ns, slowness))


def _reach(sd: float, processes: int, confidence: float) -> float:
    return min(_MOST_REACH, _t(processes - 1, level(processes, confidence)) * sd / sqrt(processes))


def _t(degrees: int, tail: float) -> float:
    """What Student's t of two or more ``degrees`` of freedom exceeds with probability ``tail``, by bisection.

    Written out, since documents state what comes of it and are checked by finding that again, and libraries differ.
    """
    low, high = 0.0, pi / 2
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if (1 - _within(degrees, middle)) / 2 > tail else (low, middle)
    return sqrt(degrees) * tan((low + high) / 2)


def _within(degrees: int, theta: float) -> float:
    """P(|t| < sqrt(degrees) tan theta), from Abramowitz and Stegun, 26.7.3 and 26.7.4."""
    odd, square = degrees % 2, cos(theta) ** 2
    term = total = cos(theta) if odd else 1.0
    for k in range(2 if odd else 1, degrees - 2, 2):
        term *= k / (k + 1) * square
        total += term
    return 2 / pi * (theta + sin(theta) * total) if odd else sin(theta) * total


def _weight(processes: int) -> float:
    return (processes / MOST_PROCESSES) ** _POWER
