from __future__ import annotations

import json
from fractions import Fraction
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from binas_deploy.errors import DocumentError, InputError, NotMeasuredError
from binas_deploy.measurement import Measurement, samples_needed

NS = st.integers(1, 10**12)
PROBABILITIES = st.sampled_from([Fraction(1, 10), Fraction(1, 4), Fraction(1, 2), Fraction(3, 4), Fraction(9, 10)])
CONFIDENCES = st.sampled_from([Fraction(80, 100), Fraction(95, 100), Fraction(99, 100)])


def measured(*samples: int, run: int = 0) -> Measurement:
    return Measurement(np.array(samples), np.full(len(samples), run))


@st.composite
def measurements(draw: st.DrawFn) -> Measurement:
    rows = draw(st.lists(st.tuples(NS, st.integers(0, 3)), min_size=1, max_size=40))
    samples, runs = zip(*rows, strict=True)
    extra = draw(st.integers(0, 1000))
    return Measurement(np.array(samples), np.array(runs), len(rows) + extra)


@given(measurements(), st.floats(0, 1))
def test_quantiles_agree_with_numpy(made: Measurement, q: float) -> None:
    assert made.quantile(q) == pytest.approx(float(np.quantile(made.samples_ns, q)), rel=1e-9)


def test_statistics_are_derived_from_the_samples() -> None:
    made = measured(*range(101, 0, -1))
    assert (made.location, made.median, made.p90, made.p95, made.p99) == (51, 51, 91, 96, 100)
    assert len(made) == made.total == 101


@pytest.mark.parametrize("q", [-0.1, 1.1, float("nan")])
def test_a_quantile_outside_0_to_1_is_refused(q: float) -> None:
    with pytest.raises(InputError, match="between 0 and 1"):
        measured(1).quantile(q)


def at_most(k: int, n: int, q: Fraction) -> Fraction:
    """P(K <= k) for K ~ Binomial(n, q), exact."""
    return sum((comb(n, i) * q**i * (1 - q) ** (n - i) for i in range(k + 1)), Fraction(0))


@given(st.integers(1, 120), PROBABILITIES, CONFIDENCES)
def test_interval_is_the_tightest_whose_exact_binomial_tails_are_small(n: int, q: Fraction, level: Fraction) -> None:
    made, tail = measured(*range(1, n + 1)), (1 - level) / 2  # the k-th smallest sample is k
    possible = at_most(0, n, q) <= tail and q**n <= tail
    if not possible:
        with pytest.raises(NotMeasuredError):
            made.interval(float(q), float(level))
        return
    lower, upper = made.interval(float(q), float(level))
    slack = Fraction(1, 10**12)
    assert at_most(lower - 1, n, q) <= tail + slack  # P(the quantile lies below the interval)
    assert 1 - at_most(upper - 1, n, q) <= tail + slack  # P(it lies above)
    assert at_most(lower, n, q) > tail - slack
    assert 1 - at_most(upper - 2, n, q) > tail - slack
    assert at_most(upper - 1, n, q) - at_most(lower - 1, n, q) >= level - 2 * slack


def test_an_interval_that_too_few_samples_do_not_give_is_none() -> None:
    enough = measured(*range(1, samples_needed(0.25) + 1))
    assert enough.known_interval(0.25) == enough.interval(0.25)
    assert measured(*range(1, samples_needed(0.25))).known_interval(0.25) is None


def test_interval_of_many_samples_does_not_underflow() -> None:
    lower, upper = measured(*range(1, 200_001)).interval(0.5)
    assert 99_500 < lower < 100_000 < upper < 100_500


@pytest.mark.parametrize(("q", "needed"), [(0.5, 6), (0.1, 36), (0.2, 17), (0.95, 72), (0.99, 368)])
def test_too_few_samples_are_refused_saying_how_many_it_takes(q: float, needed: int) -> None:
    assert samples_needed(q) == needed
    with pytest.raises(NotMeasuredError, match=f"needs {needed} samples, there are {needed - 1}") as refusal:
        measured(*range(1, needed)).interval(q)
    assert refusal.value.exit_code == 3
    measured(*range(1, needed + 1)).interval(q)


@given(PROBABILITIES, CONFIDENCES)
def test_samples_needed_is_exact(q: Fraction, level: Fraction) -> None:
    n, extreme, tail = samples_needed(float(q), float(level)), max(q, 1 - q), (1 - level) / 2
    assert extreme**n <= tail < extreme ** (n - 1)


@pytest.mark.parametrize(("q", "level"), [(0, 0.95), (1, 0.95), (0.5, 0), (0.5, 1)])
def test_an_interval_of_no_sense_is_refused(q: float, level: float) -> None:
    with pytest.raises(InputError, match="strictly between"):
        measured(1, 2).interval(q, level)


@given(measurements(), st.integers(1, 50))
def test_thinning_keeps_order_ends_and_the_total(made: Measurement, keep: int) -> None:
    thin = made.thinned(keep)
    assert len(thin) == min(keep, len(made))
    assert thin.total == made.total
    rows = list(zip(made.samples_ns.tolist(), made.runs.tolist(), strict=True))
    left = iter(rows)
    assert all(row in left for row in zip(thin.samples_ns.tolist(), thin.runs.tolist(), strict=True))


@given(st.integers(1, 3000), st.integers(1, 300))
def test_thinning_is_even(n: int, keep: int) -> None:
    places = np.concatenate([[-1], measured(*range(1, n + 1)).thinned(keep).samples_ns - 1, [n]])
    gaps = np.diff(places[1:-1]) if len(places) > 3 else np.array([1])
    assert gaps.max() - gaps.min() <= 1
    assert abs(places[1] - (n - 1 - places[-2])) <= 1


def test_thinning_to_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="at least 1"):
        measured(1).thinned(0)


def test_is_immutable_and_independent_of_what_it_was_made_from() -> None:
    source = np.array([5, 6, 7])
    made = Measurement(source, np.zeros(3, int))
    source[0] = 1
    assert made == measured(5, 6, 7)
    with pytest.raises(ValueError, match="read-only"):
        made.samples_ns[0] = 1
    with pytest.raises(AttributeError):
        made.total = 9  # type: ignore[misc]


def test_equality_sees_samples_runs_and_total() -> None:
    assert measured(1, 2) == measured(1, 2)
    assert measured(1, 2) != measured(2, 1)
    assert measured(1, 2) != measured(1, 2, run=1)
    assert measured(1, 2) != Measurement(np.array([1, 2]), np.zeros(2, int), 9)
    assert measured(1) != 1


@pytest.mark.parametrize(
    ("samples", "runs", "total", "finding"),
    [
        ([], [], 0, "samples_ns: expected a non-empty row"),
        ([[1, 2]], [[0, 0]], 0, "samples_ns: expected a non-empty row"),
        ([1.5], [0], 0, "samples_ns: expected integers, found float64"),
        ([True], [0], 0, "samples_ns: expected integers, found bool"),
        ([0], [0], 0, "samples_ns: values lie from 1"),
        ([5, -1], [0, 0], 0, "samples_ns: values lie from 1 .*found -1 to 5"),
        ([2 * 10**18], [0], 0, "samples_ns: values lie from 1"),
        ([1], [-1], 0, "runs: values lie from 0"),
        ([1, 2], [0], 0, "runs: 1 entries for 2 samples"),
        ([1, 2], [0, 0], 1, "total: 1 is less than the 2 samples"),
    ],
)
def test_what_is_no_measurement_is_refused(samples: Any, runs: Any, total: int, finding: str) -> None:
    with pytest.raises(InputError, match=finding):
        Measurement(np.array(samples), np.array(runs), total)


@given(measurements())
def test_json_round_trips(made: Measurement) -> None:
    assert Measurement.from_json(json.loads(json.dumps(made.to_json()))) == made


def test_runs_are_run_length_coded() -> None:
    made = Measurement(np.array([9, 8, 7, 6]), np.array([0, 0, 1, 0]), 40)
    assert made.to_json() == {"samples_ns": [9, 8, 7, 6], "runs": [[0, 2], [1, 1], [0, 1]], "total": 40}


@pytest.mark.parametrize(
    ("document", "finding"),
    [
        (None, "valid dictionary"),
        ({"samples_ns": [1], "runs": [[0, 1]]}, "total: Field required"),
        ({"samples_ns": [1.5], "runs": [[0, 1]], "total": 1}, r"samples_ns\[0\]: .*valid integer .*1\.5"),
        ({"samples_ns": [True], "runs": [[0, 1]], "total": 1}, r"samples_ns\[0\]: .*valid integer"),
        ({"samples_ns": [0], "runs": [[0, 1]], "total": 1}, r"samples_ns\[0\]: .*greater than or equal to 1"),
        ({"samples_ns": [], "runs": [], "total": 1}, "samples_ns: .*at least 1"),
        ({"samples_ns": [1], "runs": [[0]], "total": 1}, r"runs\[0\]: .*at least 2"),
        ({"samples_ns": [1], "runs": [[0, 2]], "total": 1}, "runs cover 2 samples, samples_ns has 1"),
        ({"samples_ns": [1, 2], "runs": [[0, 2]], "total": 1}, "total 1 is less than the 2 samples"),
        ({"samples_ns": [1], "runs": [[0, 1]], "total": 1, "mean": 1}, "mean: Extra inputs"),
    ],
)
def test_a_malformed_document_is_refused_naming_the_field(document: Any, finding: str) -> None:
    with pytest.raises(DocumentError, match=f"(?s)part.json: .*{finding}"):
        Measurement.from_json(document, Path("part.json"))
