"""Latencies without the ups and downs of the host's speed, told from all that was measured around them.

A shared host changes its speed, by up to half, for reasons that the guest cannot see: on some days every few minutes,
on others many times a second. Interleaving makes that fall on all subjects alike, but only on average over many rounds.
Better: subjects are visited in random order, so the visits before and after one show how fast the host was then. With
m_t the median of visit t, to subject k(t), and r_t = log m_t - level[k(t)]::

    log m_t = level[k(t)] + slowness_t + noise,    slowness_t = sum over d of weight_d (r_(t-d) + r_(t+d))

The weights are those of ridge regression (r clipped to what most subjects reach): a speed that lasts for many visits
gives all of them alike, one that is gone at the next visit none. Iterated with ``level[k] = median over its visits of
(log m - slowness)``, and with the median slowness as zero, so that levels stay those of the typical moment. A sample
divided by exp(slowness) is steadied. The location of a subject is the median of its steadied samples; its 95 % interval
comes from the medians of its visits, since samples of one visit have much in common.

Measured on a shared 2-core host, networks of 13 ms, in different processes. When its speed flipped by the minute, 40
samples each: 0.9 % apart after steadying, 2.1 % in plain medians, 3.8 % in lower quartiles. When it changed within a
tenth of a second, 108 samples each: 1.7 %, 2.0 % and 4.8 %.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from binas_deploy.measurement import Measurement, Steady

Samples = NDArray[np.int64]
Round = Mapping[str, Samples]
"""Samples (n,) in ns of every subject by key, of one round, in the order visited."""
Floats = NDArray[np.float64]

REACH: Final = 2
"""Visits on either side that tell the host's speed."""
_REACHED: Final = 0.9
"""Of a subject's visits: so far they reach from its level. What most subjects do not reach is not the host's doing."""
_DOUBT: Final = 50
"""So many visits must agree for half the weight that they call for."""
_PASSES: Final = 4
_NOTHING: Final = 1e-12
_UNITS: Final = 1000
"""Of order statistics: integer ps, so that rounding does not show."""


def locations(rounds: Sequence[Round]) -> dict[str, Steady]:
    """Where each subject lies, from complete rounds; its interval is None below 6 rounds."""
    visits = [(key, samples) for samples_of in rounds for key, samples in samples_of.items()]
    keys = {key: index for index, key in enumerate(dict.fromkeys(key for key, _ in visits))}
    who = np.array([keys[key] for key, _ in visits])
    medians = _medians([samples for _, samples in visits])
    factors = np.exp(_slowness(np.log(medians), who, len(keys)))
    rows: list[list[int]] = [[] for _ in keys]
    for place, index in enumerate(who):
        rows[int(index)].append(place)
    freed = [samples / factor for (_, samples), factor in zip(visits, factors, strict=True)]
    return {
        key: _location(np.concatenate([freed[place] for place in places]), (medians / factors)[places])
        for key, places in zip(keys, rows, strict=True)
    }


def _medians(visits: Sequence[Samples]) -> Floats:
    """Of each visit, (visits,). Those of equal length go together: one call for each would take most of the time."""
    lengths = np.array([len(samples) for samples in visits])
    found = np.empty(len(visits))
    for length in np.unique(lengths):
        places = np.flatnonzero(lengths == length)
        found[places] = np.median(np.stack([visits[place] for place in places.tolist()]), axis=1)
    return found


def _slowness(logs: Floats, who: NDArray[np.int64], subjects: int) -> Floats:
    """Of each visit, (visits,): zero at the typical moment."""
    order = np.argsort(who, kind="stable")
    cuts = np.cumsum(np.bincount(who, minlength=subjects))[:-1]
    slowness = np.zeros_like(logs)
    for _ in range(_PASSES):
        level = np.array([np.median(part) for part in np.split((logs - slowness)[order], cuts)])
        values = logs - level[who]
        reach = np.median([np.quantile(np.abs(part), _REACHED) for part in np.split(values[order], cuts)])
        slowness = _told_by_neighbours(np.clip(values, -reach, reach))
        slowness -= np.median(slowness)
    return slowness


def _told_by_neighbours(values: Floats) -> Floats:
    """What the `REACH` values on either side of each make of it, (visits,), by weights of ridge regression."""
    centred = values - np.median(values)
    padded = np.concatenate([np.zeros(REACH), centred, np.zeros(REACH)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * REACH + 1)
    sides = windows[:, :REACH] + windows[:, :REACH:-1]
    held = np.eye(REACH) * max(_DOUBT * 2 * float(np.mean(centred**2)), _NOTHING)
    return np.asarray(sides @ np.linalg.solve(sides.T @ sides + held, sides.T @ centred), dtype=np.float64)


def _location(samples: Floats, medians: Floats) -> Steady:
    """From steadied samples and the medians of their visits."""
    value = round(float(np.median(samples)))
    whole = np.maximum(np.rint(_UNITS * medians), 1).astype(np.int64)
    interval = Measurement(whole, np.zeros_like(whole)).known_interval(0.5)
    if interval is None:
        return Steady(value)
    low, high = (round(bound / _UNITS) for bound in interval)
    return Steady(value, min(low, value), max(high, value))
