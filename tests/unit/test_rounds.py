"""What the next round of a deployment aims at."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from binas_deploy.bundle.verification import AnchorMedians, Latency
from binas_deploy.estimate import Estimate
from binas_deploy.measurement import Measurement
from binas_deploy.steps.rounds import MARGIN, MOST_ROUNDS, tightened


def measured(samples: list[int]) -> Latency:
    taken = np.array(samples)
    anchors = (AnchorMedians("random", 1e5, 1e5),)
    predicted = Estimate(1, 1, 1, "ns", 0.95, "")
    return Latency(Measurement(taken, np.zeros_like(taken)), 10**9, predicted, anchors, 1, "rounds", {}, 0.01)


@given(st.integers(10**4, 10**9), st.floats(0.5, 2.0), st.floats(0.5, 2.0), st.integers(1, MOST_ROUNDS))
def test_the_next_search_aims_below_what_was_found(asked: int, share: float, slower: float, number: int) -> None:
    predicted = asked * min(share, 1.0)
    latency = measured([round(predicted * slower)] * 20)
    aim = tightened(asked, predicted, latency, number)
    assert 1 <= aim <= predicted * (1 - MARGIN)
    # A network that the table puts there is expected within the budget, when the machine is as much slower again.
    assert aim * latency.measurement.median / predicted <= asked * (1 - MARGIN * number) + 2


def test_with_few_samples_the_slow_ones_decide() -> None:
    assert tightened(1000, 1000.0, measured([1000, 1000, 2000]), 1) == int(
        1000 * 1000 / measured([1000, 1000, 2000]).measurement.p90 * (1 - MARGIN)
    )
