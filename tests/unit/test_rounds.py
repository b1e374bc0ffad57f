"""What the next round of a deployment aims at."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from binas_deploy.bundle.verification import AnchorMedians, Latency, ProcessLatency, Shown
from binas_deploy.estimate import Estimate
from binas_deploy.measurement import Measurement
from binas_deploy.steps.rounds import MARGIN, MOST_ROUNDS, tightened


def measured(values: list[int]) -> Latency:
    """One sample from each process."""
    return Latency(
        measurement=Measurement(np.array(values), np.arange(len(values))),
        budget_ns=10**9,
        predicted=Estimate(1, 1, 1, "ns", 0.95, ""),
        anchors=(AnchorMedians("random", 1e5, 1e5),),
        processes=tuple(ProcessLatency(value, 1) for value in values),
        stopped_by="decided",
        noise={},
        anchor_noise=0.01,
        shown=Shown("median", "back-to-back"),
    )


@given(st.integers(10**4, 10**9), st.floats(0.5, 2.0), st.floats(0.5, 2.0), st.integers(1, MOST_ROUNDS))
def test_the_next_search_aims_below_what_was_found(asked: int, share: float, slower: float, number: int) -> None:
    predicted = asked * min(share, 1.0)
    latency = measured([round(predicted * slower)] * 5)
    aim = tightened(asked, predicted, latency, number)
    assert 1 <= aim <= predicted * (1 - MARGIN)
    # A network that the table puts there is expected within the budget, when the machine is as much slower again.
    assert aim * latency.value_ns / predicted <= asked * (1 - MARGIN * number) + 2


def test_an_early_look_is_not_aimed_by_its_wide_bounds() -> None:
    early = measured([1000_000, 1020_000, 980_000])
    assert early.interval is not None
    assert early.value_ns < early.settled_ns < 0.95 * early.interval[1]
    late = measured([1000_000, 1020_000, 980_000] * 3 + [1000_000])
    assert late.interval is not None
    assert late.settled_ns == late.interval[1]
    restless = measured([1000_000, 1100_000, 900_000])
    assert tightened(10**6, 10**6, restless, 1) < tightened(10**6, 10**6, early, 1) < 10**6 * (1 - MARGIN)
