"""The measuring core on executables that are told what latencies to give: no test here looks at a clock."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from binas_deploy.adapters.base import Feed
from binas_deploy.errors import DeviceError, InputError, LinkLostError, NotMeasuredError
from binas_deploy.measure import Measured, Subject, Timing, measure
from binas_deploy.quality import MachineTimes, Watch, timer_resolution_ns
from binas_deploy.steady import Round
from binas_deploy.visit import Visit

QUICK = Timing(warmup_ms=0.0, samples_per_visit=4, min_rounds=6, max_rounds=9, max_seconds=1e9)


@dataclass
class Scripted:
    """An executable whose latencies come from a function of the number of calls so far; it notes what is asked."""

    latency: Callable[[int], int] = lambda call: 1000
    calls: int = 0
    asked: list[int] = field(default_factory=list)
    opened: int = 0

    def run(self, feed: Feed) -> dict[str, NDArray[np.float32]]:
        return {}

    def sample(self, feed: Feed, *, count: int) -> NDArray[np.int64]:
        self.asked.append(count)
        samples = [self.latency(self.calls + i) for i in range(count)]
        self.calls += count
        return np.array(samples, dtype=np.int64)

    @contextlib.contextmanager
    def open(self) -> Iterator[Scripted]:
        self.opened += 1
        yield self


class Clock:
    """Each reading is ``step`` ns after the last."""

    def __init__(self, step: int) -> None:
        self.now, self.step = 0, step

    def __call__(self) -> int:
        self.now += self.step
        return self.now


def subjects_of(executables: dict[str, Scripted]) -> list[Subject]:
    return [Subject(key, executable.open, {}) for key, executable in executables.items()]


def run(
    executables: dict[str, Scripted],
    timing: Timing = QUICK,
    *,
    sentinel: str = "a",
    seed: int = 0,
    done: list[Round] | None = None,
    on_round: Callable[[int, Round], None] | None = None,
    clock_step: int = 1,
) -> Measured:
    return measure(
        subjects_of(executables),
        timing=timing,
        rng=np.random.default_rng(seed),
        sentinel=sentinel,
        done=done or [],
        on_round=on_round,
        clock=Clock(clock_step),
    )


def visiting_order(count: int, rounds: int, seed: int = 0) -> list[list[str]]:
    """Keys in the order visited, round by round."""
    visits: list[str] = []

    def opener(key: str) -> Callable[[], contextlib.AbstractContextManager[Scripted]]:
        def opened() -> contextlib.AbstractContextManager[Scripted]:
            visits.append(key)
            return contextlib.nullcontext(Scripted())

        return opened

    ends: list[int] = []
    measure(
        [Subject(str(i), opener(str(i)), {}) for i in range(count)],
        timing=Timing(0.0, 1, min_rounds=rounds, max_rounds=rounds),
        rng=np.random.default_rng(seed),
        sentinel="0",
        on_round=lambda index, samples: ends.append(len(visits)),
    )
    return [visits[start:end] for start, end in itertools.pairwise([0, *ends])]


@given(count=st.integers(1, 120), seed=st.integers(0, 10))
def test_each_round_visits_all_once(count: int, seed: int) -> None:
    for order in visiting_order(count, 2, seed):
        assert sorted(order, key=int) == [str(i) for i in range(count)]


def test_every_round_has_a_fresh_random_order_which_the_seed_determines() -> None:
    first, again, other = visiting_order(12, 3), visiting_order(12, 3), visiting_order(12, 3, seed=1)
    assert first == again
    assert len({tuple(order) for order in first + other}) == 6


def test_the_place_in_a_round_is_uniform() -> None:
    places = [order.index("3") for order in visiting_order(5, 400)]
    assert min(Counter(places).values()) > 50  # 80 expected in each of five places


def test_steady_subjects_stop_at_the_target() -> None:
    found = run({"a": Scripted(), "b": Scripted(lambda call: 70)})
    assert (found.quality.stopped_by, found.quality.rounds, len(found.rounds)) == ("target", 6, 6)
    assert found.quality.noisy == ()
    assert found.samples("b").tolist() == [70] * 24
    assert found.samples("b").dtype == np.int64


def noisy_latency(call: int) -> int:
    return 1000 + (call * 7919) % 1000


def test_a_noisy_subject_is_measured_to_the_limit_and_marked() -> None:
    found = run({"a": Scripted(), "b": Scripted(noisy_latency), "c": Scripted()})
    assert (found.quality.stopped_by, found.quality.rounds) == ("rounds", 9)
    assert found.quality.noisy == ("b",)
    assert found.quality.interval_percent["b"] > 1 > found.quality.interval_percent["a"]


def test_more_rounds_make_a_noisy_subject_known() -> None:
    timing = Timing(0.0, 50, min_rounds=2, max_rounds=400, target_interval_percent=2.0)
    found = run({"a": Scripted(noisy_latency)}, timing)
    assert found.quality.stopped_by == "target"
    assert 2 < found.quality.rounds < 400
    assert found.quality.interval_percent["a"] <= 2.0


def test_too_few_samples_for_an_interval_are_no_certainty() -> None:
    found = run({"a": Scripted()}, Timing(0.0, 1, min_rounds=2, max_rounds=3))
    assert found.quality.stopped_by == "rounds"
    assert math.isinf(found.quality.interval_percent["a"])
    assert found.quality.to_json()["interval_percent"] == {"a": None}


def test_time_stops_it_but_not_before_the_least_rounds() -> None:
    timing = Timing(0.0, 4, min_rounds=3, max_rounds=1000, max_seconds=1.0)
    found = run({"a": Scripted(noisy_latency)}, timing, clock_step=200_000_000)  # a reading before each round
    assert (found.quality.stopped_by, found.quality.rounds) == ("seconds", 4)
    late = run({"a": Scripted(noisy_latency)}, timing, clock_step=10**10)
    assert (late.quality.stopped_by, late.quality.rounds) == ("seconds", 3)


@pytest.mark.parametrize(
    ("warmup_ms", "latency", "asked"),
    [
        (0.0, 1000, [1, 2, 4]),  # at least one call; two more settle how many samples fit
        (0.01, 1000, [1, 9, 2, 4]),  # 10 us: one call and nine more
        (0.01, 3000, [1, 3, 2, 4]),
        (0.01, 50_000, [1, 2, 4]),  # one call is longer than the warm-up
        (1000.0, 1, [1, 10_000, 2, 4]),  # never without end
    ],
)
def test_a_visit_warms_up_by_the_device_s_own_account(warmup_ms: float, latency: int, asked: list[int]) -> None:
    executable = Scripted(lambda call: latency)
    run({"a": executable}, Timing(warmup_ms, 4, min_rounds=1, max_rounds=1))
    assert executable.asked == asked


@pytest.mark.parametrize(("latency", "kept"), [(1000, 8), (2_500_000, 8), (5_000_000, 4), (10**9, 2)])
def test_long_visits_take_fewer_samples(latency: int, kept: int) -> None:
    found = run({"a": Scripted(lambda call: latency)}, Timing(0.0, 8, visit_ms=20.0, min_rounds=2, max_rounds=2))
    assert found.samples("a").size == 2 * kept


def test_slow_moments_take_as_many_samples_as_fast_ones() -> None:
    def slower(call: int) -> int:
        return 5_000_000 if call < 7 else 15_000_000

    found = run({"a": Scripted(slower)}, Timing(0.0, 8, visit_ms=20.0, min_rounds=3, max_rounds=3))
    assert [samples["a"].size for samples in found.rounds] == [4, 4, 4]


def test_a_cold_first_call_does_not_settle_how_many_samples_fit() -> None:
    found = run({"a": Scripted(lambda call: 10**9 if call == 0 else 1000)}, QUICK)
    assert found.samples("a").size == 4 * 6


def test_warm_up_samples_are_not_kept() -> None:
    found = run({"a": Scripted(lambda call: 999_999 if call < 3 else 10)}, Timing(0.0, 4, min_rounds=1, max_rounds=1))
    assert found.samples("a").tolist() == [10] * 4


def test_a_subject_is_opened_for_each_visit() -> None:
    executables = {"a": Scripted(), "b": Scripted()}
    run(executables)
    assert (executables["a"].opened, executables["b"].opened) == (6, 6)


def rounds_of(count: int, key: str = "a", value: int = 1000) -> list[Round]:
    return [{key: np.full(4, value, dtype=np.int64)} for _ in range(count)]


def test_earlier_rounds_count_and_are_not_repeated() -> None:
    indices: list[int] = []
    executable = Scripted()
    found = run({"a": executable}, done=rounds_of(3), on_round=lambda index, samples: indices.append(index))
    assert indices == [3, 4, 5]
    assert (len(found.rounds), found.quality.rounds, executable.opened) == (3, 6, 3)


def test_enough_earlier_rounds_need_no_visit() -> None:
    executable = Scripted()
    found = run({"a": executable}, done=rounds_of(6))
    assert (found.rounds, executable.opened, found.quality.stopped_by) == ((), 0, "target")
    with pytest.raises(NotMeasuredError, match="no round"):
        found.samples("a")


def test_ctrl_c_loses_no_complete_round() -> None:
    kept: list[Round] = []

    def interrupted(call: int) -> int:
        if call >= 14:  # in the third round: the first takes seven calls, the others five
            raise KeyboardInterrupt
        return 1000

    with pytest.raises(KeyboardInterrupt):
        run({"a": Scripted(interrupted)}, on_round=lambda index, samples: kept.append(samples))
    assert [samples["a"].tolist() for samples in kept] == [[1000] * 4] * 2


def test_a_drift_shows_in_the_sentinel() -> None:
    def slower(call: int) -> int:
        return 1000 if call < 22 else 1500

    quality = run({"a": Scripted(slower)}, Timing(0.0, 4, min_rounds=9, max_rounds=9)).quality
    assert quality.sentinel_trend == pytest.approx(1.5)
    assert quality.sentinel_spread == pytest.approx(1.5)


def test_the_report_is_complete() -> None:
    quality = run({"a": Scripted(), "b": Scripted(noisy_latency), "c": Scripted()}).quality
    assert quality.contention is None or quality.contention >= 0
    assert quality.timer_resolution_ns == 1
    assert quality.to_json()["noisy"] == ["b"]
    summary = quality.summary()
    assert summary["stopped_by"] == "rounds"
    assert summary["noisy"] == "1"
    assert all(isinstance(text, str) for text in summary.values())


@pytest.mark.parametrize(
    ("steps", "resolution"),
    [
        ([0, 0, 0, 300, 300, 400], 300),  # it stands still between readings
        ([0, 41, 42, 0, 83], 41),  # 24 MHz
        ([42], 42),
        ([200, 100, 300], 100),
        ([33, 47, 151, 38], 1),  # finer than a reading takes
    ],
)
def test_the_resolution_is_that_of_the_clock_and_not_of_reading_it(steps: list[int], resolution: int) -> None:
    total = itertools.accumulate(itertools.cycle(steps))
    assert timer_resolution_ns(lambda: next(total)) == resolution


@pytest.mark.parametrize(
    ("keys", "sentinel", "message"),
    [([], "a", "nothing to measure"), (["a", "a"], "a", "twice"), (["b"], "a", "sentinel 'a'")],
)
def test_subjects_that_make_no_sense_are_refused(keys: list[str], sentinel: str, message: str) -> None:
    subjects = [Subject(key, Scripted().open, {}) for key in keys]
    with pytest.raises(InputError, match=message):
        measure(subjects, timing=QUICK, rng=np.random.default_rng(0), sentinel=sentinel)


def test_earlier_rounds_of_other_subjects_are_refused() -> None:
    (of_a,), (of_b,) = rounds_of(1), rounds_of(1, key="b")
    wrong: list[list[Round]] = [[{}], [of_a], [of_b], [{**of_a, **of_b}, of_a], [{**of_a, **of_b, "c": of_a["a"]}]]
    for done in wrong:
        with pytest.raises(InputError, match="other subjects"):
            run({"a": Scripted(), "b": Scripted()}, done=done)


@pytest.mark.parametrize(
    "samples",
    [
        np.array([1, 2], dtype=np.int64),
        np.array([0], dtype=np.int64),
        np.array([-5], dtype=np.int64),
        np.array([1.5]),
        np.array([], dtype=np.int64),
    ],
)
def test_latencies_that_cannot_be_are_refused(samples: NDArray[np.int64]) -> None:
    class Broken(Scripted):
        def sample(self, feed: Feed, *, count: int) -> NDArray[np.int64]:
            return samples

    with pytest.raises(DeviceError, match=r"a: 1 latencies asked"):
        run({"a": Broken()})


def test_load_that_cannot_be_read_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def hidden() -> None:
        raise FileNotFoundError("/proc/stat")

    monkeypatch.setattr("psutil.cpu_times", hidden)
    quality = run({"a": Scripted()}).quality
    assert quality.contention is None
    assert "contention_cpus" not in quality.summary()


def test_calls_in_a_rhythm_are_single_and_the_first_does_not_count() -> None:
    executable = Scripted(lambda call: 1000 + call)
    timing = Timing(samples_per_visit=3, visit_ms=20.0, min_rounds=2, max_rounds=2, period_ms=0.5)
    found = run({"a": executable}, timing)
    assert executable.asked == [2, 1, 1, 1, 1, 1, 1, 1, 1]  # two settle how many fit, once
    assert found.samples("a").tolist() == [1003, 1004, 1005, 1007, 1008, 1009]


def test_a_period_sets_how_long_a_visit_takes() -> None:
    camera = Timing(warmup_ms=1.0, samples_per_visit=8, visit_ms=100.0, period_ms=33.0)
    assert camera.samples_of_visit(5e6) == 3
    assert camera.visit_ns(5e6) == 4 * 33e6
    assert camera.visit_ns(50e6) == 3 * 50e6  # slower than the period: as fast as it goes, two samples at least


@dataclass
class Far(Scripted):
    """An executable on another machine, whose link breaks at these visits (from 1)."""

    breaks: set[int] = field(default_factory=set)
    visits: list[int | None] = field(default_factory=list)

    def visit(self, feed: Feed, timing: Timing, count: int | None) -> Visit:
        self.visits.append(count)
        if len(self.visits) in self.breaks:
            raise LinkLostError("lost")
        return Visit(np.full(count or 3, 1000 + len(self.visits), dtype=np.int64), 10, 5)


def measured_far(far: Far, rounds: int) -> tuple[Measured, list[int], list[int]]:
    """With a second subject beside it: what was measured, the rounds told, and after how many each loss was told."""
    told: list[int] = []
    lost: list[int] = []
    found = measure(
        subjects_of({"far": far, "near": Scripted()}),
        timing=Timing(0.0, 3, min_rounds=rounds, max_rounds=rounds),
        rng=np.random.default_rng(0),
        sentinel="near",
        on_round=lambda index, samples: told.append(index),
        on_lost=lambda: lost.append(len(told)),
    )
    return found, told, lost


def test_a_visit_elsewhere_is_taken_there_and_its_count_settled_once() -> None:
    far = Far()
    found, _, _ = measured_far(far, 3)
    assert far.visits == [None, 3, 3]
    assert far.asked == []
    assert found.samples("far").tolist() == [1001] * 3 + [1002] * 3 + [1003] * 3


def test_a_lost_link_costs_the_round_under_way_and_nothing_else() -> None:
    far = Far(breaks={2, 3, 5})
    found, told, lost = measured_far(far, 4)
    assert (told, lost) == ([0, 1, 2, 3], [1, 1, 2])
    assert [samples["far"][0] for samples in found.rounds] == [1001, 1004, 1006, 1007]
    assert all(samples.keys() == {"far", "near"} for samples in found.rounds)


def test_a_link_that_breaks_in_each_round_ends_it() -> None:
    far = Far(breaks=set(range(3, 20)))
    with pytest.raises(LinkLostError):
        measured_far(far, 9)
    assert len(far.visits) == 2 + 5


@dataclass
class Elsewhere:
    """A machine that another process measures on from the second look on."""

    processes: list[int]

    def times(self) -> MachineTimes:
        return MachineTimes(self.processes.pop(0), 10.0 - len(self.processes), 1.0, 5.0 - len(self.processes))

    def timer_resolution_ns(self) -> int:
        return 77

    def available_memory(self) -> int:
        return 0


def test_contention_is_that_of_the_machine_elsewhere_and_of_one_process() -> None:
    watch = Watch(Clock(1), Elsewhere([1, 1, 2, 2]))
    assert watch.contention() == 1.0
    assert watch.contention() is None
    subject = Subject("a", Scripted().open, {}, Elsewhere([1, 1]))
    found = measure([subject], timing=QUICK, rng=np.random.default_rng(0), sentinel="a")
    assert (found.quality.timer_resolution_ns, found.quality.contention) == (77, 1.0)
