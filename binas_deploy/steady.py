"""Latencies without the ups and downs of the host's speed, told from all that was measured around them.

A shared host changes its speed within seconds, by up to half, for reasons that the guest cannot see. Interleaving
makes that fall on all subjects alike, but only on average over many rounds. Better: subjects are visited in random
order, so the visits before and after one show how fast the host was then. With m_t the median of visit t, to subject
k(t)::

    log m_t = level[k(t)] + slowness_t + noise,    slowness_t = median of log m - level over 3 visits each side

iterated with ``level[k] = median over its visits of (log m - slowness)``, and with the median slowness as zero, so that
levels stay those of the typical moment. A sample divided by exp(slowness) is steadied. The location of a subject is the
median of its steadied samples; its 95 % interval comes from the medians of its visits, since samples of one visit have
much in common.

Measured on a shared 2-core host whose speed flips by half: networks of 10 ms, 40 samples each, in two processes differ
by 0.9 % after steadying, by 2.1 % in their plain medians and by 3.8 % in their lower quartiles.
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

REACH: Final = 3
"""Visits on either side that tell the host's speed."""
_PASSES: Final = 4
_UNITS: Final = 1000
"""Of order statistics: integer ps, so that rounding does not show."""


def locations(rounds: Sequence[Round]) -> dict[str, Steady]:
    """Where each subject lies, from complete rounds; its interval is None below 6 rounds."""
    visits = [(key, samples) for samples_of in rounds for key, samples in samples_of.items()]
    keys = {key: index for index, key in enumerate(dict.fromkeys(key for key, _ in visits))}
    who = np.array([keys[key] for key, _ in visits])
    slowness = _slowness(np.log([float(np.median(samples)) for _, samples in visits]), who, len(keys))
    rows: list[list[Floats]] = [[] for _ in keys]
    for index, factor, (_, samples) in zip(who, np.exp(slowness), visits, strict=True):
        rows[index].append(samples / factor)
    return {key: _location(rows[index]) for key, index in keys.items()}


def _slowness(logs: Floats, who: NDArray[np.int64], subjects: int) -> Floats:
    """Of each visit, (visits,): zero at the typical moment."""
    order = np.argsort(who, kind="stable")
    cuts = np.cumsum(np.bincount(who, minlength=subjects))[:-1]
    slowness = np.zeros_like(logs)
    for _ in range(_PASSES):
        level = np.array([np.median(part) for part in np.split((logs - slowness)[order], cuts)])
        slowness = _around(logs - level[who])
        slowness -= np.median(slowness)
    return slowness


def _around(values: Floats) -> Floats:
    """The median of the `REACH` values on either side of each, fewer at the ends; 0 for a single one."""
    if len(values) == 1:
        return np.zeros(1)
    padded = np.concatenate([np.full(REACH, np.nan), values, np.full(REACH, np.nan)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * REACH + 1)
    return np.asarray(np.nanmedian(np.delete(windows, REACH, axis=1), axis=1), dtype=np.float64)


def _location(visits: Sequence[Floats]) -> Steady:
    medians = np.array([round(_UNITS * float(np.median(visit))) for visit in visits], dtype=np.int64)
    value = float(np.median(np.concatenate(visits)))
    interval = Measurement(np.maximum(medians, 1), np.zeros_like(medians)).known_interval(0.5)
    if interval is None:
        return Steady(round(value))
    low, high = (bound / _UNITS for bound in interval)
    return Steady(round(value), min(round(low), round(value)), max(round(high), round(value)))
