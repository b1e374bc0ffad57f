"""Latencies with the host's ups and downs divided out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from binas_deploy.errors import DocumentError, InputError
from binas_deploy.measurement import Measurement, Steady
from binas_deploy.steady import Round, locations

LEVELS = {f"subject {index}": 1e6 * (1 + index / 4) for index in range(20)}


def measured(rounds: int, seed: int, *, flip: float = 1.0, noise: float = 0.01, samples: int = 2) -> list[Round]:
    """Subjects of known latency on a host that is ``flip`` times as slow for some twenty visits at a time."""
    rng = np.random.default_rng(seed)
    slow, found = False, list[Round]()
    for _ in range(rounds):
        visits: dict[str, NDArray[np.int64]] = {}
        for key in rng.permutation(list(LEVELS)):
            slow ^= bool(rng.random() < 0.05)
            values = LEVELS[key] * (flip if slow else 1.0) * np.exp(noise * rng.standard_normal(samples))
            visits[str(key)] = values.astype(np.int64)
        found.append(visits)
    return found


def errors(found: dict[str, float]) -> np.ndarray:
    """Of each subject, relative, with what all have in common left out."""
    logs = np.array([np.log(found[key] / level) for key, level in LEVELS.items()])
    return np.asarray(np.abs(logs - np.median(logs)))


def test_a_host_that_flips_is_seen_through() -> None:
    runs = [measured(12, seed, flip=1.5) for seed in range(8)]
    steady = [errors({key: value.ns for key, value in locations(rounds).items()}) for rounds in runs]
    plain = [{key: float(np.median(np.concatenate([row[key] for row in rounds]))) for key in LEVELS} for rounds in runs]
    assert np.mean(steady) < 0.01
    assert np.mean([errors(found) for found in plain]) > 4 * np.mean(steady)


def test_on_a_steady_host_it_is_the_median() -> None:
    rounds = measured(20, 0)
    for key, value in locations(rounds).items():
        plain = float(np.median(np.concatenate([row[key] for row in rounds])))
        assert value.ns == pytest.approx(plain, rel=0.01)


def test_the_level_is_that_of_the_typical_moment() -> None:
    found = {key: value.ns for key, value in locations(measured(60, 1, flip=1.5)).items()}
    typical = np.median([found[key] / level for key, level in LEVELS.items()])
    assert 0.99 < typical < 1.51


@pytest.mark.parametrize("flip", [1.0, 1.5])
def test_the_interval_covers_what_it_claims(flip: float) -> None:
    inside = []
    for seed in range(30):
        found = locations(measured(12, seed, flip=flip))
        common = np.median([found[key].ns / level for key, level in LEVELS.items()])
        inside += [row.low <= common * LEVELS[key] <= row.high for key, row in found.items() if row.low and row.high]
    assert len(inside) == 600
    assert np.mean(inside) > 0.93


def test_few_rounds_have_no_interval() -> None:
    assert {(row.low, row.high) for row in locations(measured(5, 0)).values()} == {(None, None)}


@given(st.integers(2, 9), st.integers(0, 10**6))
@settings(max_examples=25)
def test_a_faster_clock_changes_nothing_else(rounds: int, seed: int) -> None:
    first = measured(rounds, seed, flip=1.3)
    twice = [{key: 2 * samples for key, samples in row.items()} for row in first]
    for key, row in locations(first).items():
        assert locations(twice)[key].ns == pytest.approx(2 * row.ns, rel=1e-5)


def test_a_single_visit_is_its_median() -> None:
    assert locations([{"a": np.array([5, 7, 90])}]) == {"a": Steady(7)}


def test_a_measurement_keeps_where_it_lies() -> None:
    samples = np.array([10, 20, 30])
    made = Measurement(samples, np.zeros(3, int), steady=Steady(19, 18, 22))
    assert (made.location, made.location_interval, made.median) == (19, (18, 22), 20)
    assert Measurement.from_json(made.to_json()) == made
    assert made.thinned(2).steady == made.steady
    plain = Measurement(samples, np.zeros(3, int))
    assert (plain.location, plain.location_interval) == (20, None)
    assert plain != made


@pytest.mark.parametrize("steady", [[], [0], [5, 4], [5, 6, 7], [5, 1, 4], [5, 4, 6, 7], ["5"]])
def test_a_location_that_cannot_be_is_refused(steady: list[object]) -> None:
    document = {"samples_ns": [4, 5], "runs": [[0, 2]], "total": 2, "steady_ns": steady}
    with pytest.raises(DocumentError, match="steady_ns"):
        Measurement.from_json(document)


def test_a_value_outside_its_interval_is_refused() -> None:
    for low, high in ((6, 7), (1, 4), (None, 9)):
        with pytest.raises(InputError, match="cannot be"):
            Steady(5, low, high)
