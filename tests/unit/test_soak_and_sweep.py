"""Sustained runs and sweeps: what they say of latencies, and how they are taken."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from binas_deploy.adapters.base import DeviceFacts
from binas_deploy.bundle.manifest import Manifest
from binas_deploy.bundle.shown import Shown
from binas_deploy.bundle.soak import Reading, Soak, SoakDocument
from binas_deploy.bundle.sweep import Point, PointDocument
from binas_deploy.bundle.verification import Verdict
from binas_deploy.cli.verification_report import sweep_text
from binas_deploy.devices import DeviceSpec
from binas_deploy.errors import DeviceError, InputError
from binas_deploy.quality import Machine
from binas_deploy.steps.soak import SoakJob, soak, soaked
from binas_deploy.steps.sweep import SweepJob, numbers, sweep, swept
from binas_deploy.testing.fake_device import FakeDevice, FakeExecutable

Bundle = tuple[Path, Manifest]
MEDIAN = Shown("median", "back-to-back")


def of(medians: list[float], budget: int = 1_200_000, last: int | None = None) -> Soak:
    """One window a second."""
    windows = tuple((index * 10**9, round(value)) for index, value in enumerate(medians))
    return Soak(len(medians), 1000, windows, round(medians[0]), last or round(medians[-1]), budget)


def noisy(levels: list[float], sd: float = 0.004) -> list[float]:
    rng = np.random.default_rng(0)
    return [1e6 * level * float(np.exp(sd * rng.standard_normal())) for level in levels]


def test_a_device_that_stays_as_it_is_is_steady() -> None:
    found = of(noisy([1.0] * 60))
    assert found.text.startswith("steady: ")
    assert (found.verdict, found.slows) == (Verdict.PASS, False)


def test_throttling_is_told_with_its_moment() -> None:
    found = of(noisy([1.0] * 23 + [1.15] * 37))
    assert found.slows
    assert found.text.startswith("slows by 1")
    assert found.text.endswith("after 23 s")
    assert found.changed_at_s == 23
    assert found.change is not None
    assert found.change[1] < 0.15 < found.change[2] + 0.01
    assert found.verdict is Verdict.PASS  # slower, and within the budget still
    over = replace(found, budget_ns=1_100_000)
    assert over.verdict is Verdict.FAIL
    assert "in the last tenth of 60 s is over the budget of 1.1000 ms: slows by" in over.reason


def test_what_gets_faster_or_swings_is_told_apart() -> None:
    assert of(noisy([1.1] * 30 + [1.0] * 30)).text.startswith("gets faster by 9")
    swinging = of(noisy([1.0] * 60, sd=0.2))
    assert swinging.text.startswith("too restless to tell")
    assert replace(swinging, budget_ns=1).verdict is Verdict.INCONCLUSIVE


def test_too_short_a_run_tells_nothing() -> None:
    found = of(noisy([1.0] * 12))
    assert found.change is None
    assert "soak for longer" in found.text
    assert of([1e6]).changed_at_s == 0.0
    with pytest.raises(InputError, match="in the order of time"):
        Soak(1.0, 1, (), 1, 1, 1)


@given(st.lists(st.floats(1e4, 1e7), min_size=1, max_size=90))
def test_a_soak_survives_its_document(medians: list[float]) -> None:
    found = of(medians)
    assert SoakDocument.model_validate(found.to_json()).soak() == found
    if found.change:
        value, low, high = found.change
        assert low <= value <= high


def test_the_host_is_told_where_it_says_something() -> None:
    found = replace(of([1e6] * 3), readings=(Reading(0, 3000.0, 41.0, None), Reading(10**9, 2400.0, 78.0, None)))
    assert found.host == "clock 3000 to 2400 MHz, temperature 41 to 78 °C"
    assert of([1e6] * 3).host == ""
    assert SoakDocument.model_validate(found.to_json()).soak() == found


class Warming(FakeDevice):
    """Each second of its clock makes it a hundredth slower; a call takes what it says on that clock."""

    def __init__(self) -> None:
        super().__init__(noise=0.001)
        self.now = 0

    def clock(self) -> int:
        return self.now

    def facts(self) -> DeviceFacts:
        found = super().facts()
        context: Mapping[str, str] = {"temperature_c": f"{40 + self.now / 1e9:.1f}"}
        return DeviceFacts(found.identity, context, simulated=True)

    @contextmanager
    def load(self, program: object) -> Iterator[FakeExecutable]:
        with super().load(program) as executable:  # type: ignore[arg-type]
            sample = executable.sample

            def slower(feed: object, *, count: int) -> object:
                found = np.rint(sample(feed, count=count) * 1000 * (1 + self.now / 1e11)).astype(np.int64)  # type: ignore[arg-type]
                self.now += int(found.sum())
                return found

            executable.sample = slower  # type: ignore[assignment,method-assign]
            yield executable


def test_a_run_lasts_as_long_as_it_is_told(bundle: Bundle, fake_spec: DeviceSpec) -> None:
    device = Warming()
    found = soaked(SoakJob(bundle[0], fake_spec, MEDIAN, 30.0), device, device.clock)
    assert 60 <= len(found.windows) <= 61  # the last calls may end after it
    assert found.windows[59][0] == pytest.approx(29.5e9)
    assert found.slows
    assert found.last_ns > 1.2 * found.first_ns
    assert found.readings[0].temperature_c == pytest.approx(40, abs=2)
    assert found.readings[-1].temperature_c == pytest.approx(70, abs=3)
    assert 10 <= len(found.readings) <= 22
    assert found.budget_ns == bundle[1].asked.limit_ns


@pytest.mark.usefixtures("fake_adapter")
def test_a_run_of_another_process_opens_its_own_device(
    bundle: Bundle, fake_spec: DeviceSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("binas_deploy.steps.soak.in_fresh_process", lambda function, *given: function(*given))
    job = SoakJob(bundle[0], fake_spec, MEDIAN, 1.0)
    found = [soak(job, kind, FakeDevice()) for kind in ("process", "run")]
    assert all(row.calls > 100 for row in found)


@pytest.mark.parametrize("seconds", [0.0, 0.5, 1e9])
def test_runs_without_end_or_beginning_are_refused(bundle: Bundle, fake_spec: DeviceSpec, seconds: float) -> None:
    with pytest.raises(InputError, match="give from 1 s to a week"):
        SoakJob(bundle[0], fake_spec, MEDIAN, seconds)


def test_every_pair_of_batch_and_callers_is_measured(bundle: Bundle, fake_spec: DeviceSpec) -> None:
    points = swept(SweepJob(bundle[0], fake_spec, (1, 4), (1, 2), seconds=0.05), FakeDevice())
    assert [(point.batch, point.concurrency) for point in points] == [(1, 1), (1, 2), (4, 1), (4, 2)]
    assert points[2].median_ns > points[0].median_ns  # the simulated device takes longer for more work
    for point in points:
        assert PointDocument.model_validate(point.to_json()).point() == point
        assert point.inputs_per_second == pytest.approx(1e9 * point.calls * point.batch / point.wall_ns)
    text = sweep_text(points)
    assert text.splitlines()[0].split() == ["batch", "callers", "inputs/s", "median", "p95"]
    assert len(text.splitlines()) == 5


class Elsewhere(FakeDevice):
    def machine(self) -> Machine:
        raise AssertionError


def test_callers_at_once_need_a_device_that_is_here(bundle: Bundle, fake_spec: DeviceSpec) -> None:
    with pytest.raises(InputError, match="answers one call at a time"):
        sweep(SweepJob(bundle[0], fake_spec, (1,), (1, 2)), "session", Elsewhere())


def test_a_device_that_fails_ends_the_sweep(bundle: Bundle, fake_spec: DeviceSpec) -> None:
    device = FakeDevice()
    device.unplug()
    with pytest.raises(DeviceError, match="lost"):
        swept(SweepJob(bundle[0], fake_spec, (1,), (2,), seconds=0.05), device)


def test_numbers_are_read_once_each() -> None:
    assert numbers("1, 2,4,2", "--batches") == (1, 2, 4)
    for text in ("", "1,,2", "two", "-1", "1.5"):
        with pytest.raises(InputError, match="whole numbers"):
            numbers(text, "--batches")


@pytest.mark.parametrize(("batches", "callers"), [((0,), (1,)), ((1,), (257,)), ((), (1,)), ((70_000,), (1,))])
def test_sweeps_out_of_range_are_refused(
    bundle: Bundle, fake_spec: DeviceSpec, batches: tuple[int, ...], callers: tuple[int, ...]
) -> None:
    with pytest.raises(InputError, match="give numbers from 1"):
        SweepJob(bundle[0], fake_spec, batches, callers)
    with pytest.raises(InputError, match="cannot be"):
        Point(0, 1, 1, 1, 1, 1)
