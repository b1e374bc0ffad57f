"""The loop of deploy, on the simulated device and with an export that needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from binas_deploy.accuracy import AccuracyModel
from binas_deploy.adapters.base import DeviceFacts
from binas_deploy.adapters.registry import ADAPTERS, Adapter
from binas_deploy.budget import Budget
from binas_deploy.bundle.manifest import Manifest
from binas_deploy.bundle.verification import Accuracy, AccuracyNotMeasured, Verdict, VerificationReport
from binas_deploy.cli.bundle_report import bundle_text, deployment_text
from binas_deploy.cli.verification_report import verification_text
from binas_deploy.devices import DeviceSpec
from binas_deploy.errors import DeviceError, InfeasibleBudgetError, InputError, MismatchError
from binas_deploy.problem import Status
from binas_deploy.progress import Advance
from binas_deploy.quantities import Quantity
from binas_deploy.search_result import SearchResult
from binas_deploy.space import SearchSpace
from binas_deploy.space_file import load_space
from binas_deploy.steps.deploy import deploy
from binas_deploy.steps.fresh import measured_networks
from binas_deploy.steps.profile import profile
from binas_deploy.steps.rounds import MOST_ROUNDS, Deployment
from binas_deploy.table import LatencyTable
from binas_deploy.testing import fake_device
from binas_deploy.testing.bundles import write_bundle
from binas_deploy.testing.fake_device import FakeDevice

pytestmark = pytest.mark.usefixtures("fake_adapter")
SPEEDS = ("CALL_NS", "NODE_NS", "NS_PER_MAC", "NS_PER_BYTE")


class Log:
    """A `Progress` that keeps the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    @contextmanager
    def task(self, label: str, total: int) -> Iterator[Advance]:
        yield lambda _: None

    def note(self, text: str) -> None:
        self.notes.append(text)


@dataclass
class Exporter:
    """Stands in for export: writes untrained networks, and remembers what it was given."""

    results: list[SearchResult] = field(default_factory=list)
    before: Callable[[], None] = lambda: None

    def __call__(
        self, result: SearchResult, *, table: LatencyTable, workspace: Path, output: Path | None, **_: Any
    ) -> Path:
        self.before()
        self.results.append(result)
        folder = output or workspace / "export" / f"{result.space.name}-{result.device}-{result.latency_budget.budget}"
        write_bundle(folder, result, table)
        return folder


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> Exporter:
    made = Exporter()
    monkeypatch.setattr("binas_deploy.steps.deploy.export", made)
    return made


@dataclass(frozen=True)
class Place:
    """A workspace with a table, and the calls of deploy in it."""

    space: SearchSpace
    spec: DeviceSpec
    table: LatencyTable
    workspace: Path
    accuracy: Path

    def budget(self, share: float) -> Budget:
        ends = [self.table.predict(arch).value for arch in (self.space.smallest(), self.space.largest())]
        return Budget(Quantity("time", round(ends[0] + share * (ends[1] - ends[0]))))

    def deploy(self, *budgets: Budget, **more: Any) -> Deployment:
        told: dict[str, Any] = {"data": "nowhere", "measure_accuracy": False, "shortlist": 0, **more}
        given = {"supernet": self.workspace / "supernet", "accuracy": self.accuracy, **told}
        return deploy(self.space, self.spec, budgets, workspace=self.workspace, **given)


@pytest.fixture
def place(tiny_space: SearchSpace, fake_spec: DeviceSpec, tiny_accuracy: AccuracyModel, tmp_path: Path) -> Place:
    workspace = tmp_path / "workspace"
    _, table = profile(tiny_space, fake_spec, workspace=workspace)
    tiny_accuracy.save(tmp_path / "accuracy.json")
    return Place(tiny_space, fake_spec, table, workspace, tmp_path / "accuracy.json")


def slow_down(monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
    for name in SPEEDS:
        monkeypatch.setattr(fake_device, name, factor * getattr(fake_device, name))


@pytest.fixture
def real(monkeypatch: pytest.MonkeyPatch, place: Place) -> Place:
    """The simulated device passes for a real one from now on; its table still says simulated."""
    facts = FakeDevice.facts
    monkeypatch.setattr(FakeDevice, "facts", lambda self: DeviceFacts(facts(self).identity, {}, simulated=False))
    (path,) = (place.workspace / "latency_tables").rglob("*.json")
    table = replace(LatencyTable.load(path), simulated=False)
    table.save(path)
    # A new process would know neither this device nor how fast the test makes it.
    monkeypatch.setattr("binas_deploy.steps.replicas.in_fresh_process", lambda function, *given: function(*given))
    return replace(place, table=table)


def test_the_first_network_is_taken_when_it_is_within_the_budget(real: Place, exporter: Exporter) -> None:
    budget = real.budget(0.5)
    done = real.deploy(budget)
    assert (done.exit_code, len(done.rounds), done.report.verdict) == (0, 1, Verdict.PASS)
    assert done.rounds[0].effective_ns == budget.limit
    assert done.rounds[0].verdict is Verdict.PASS
    assert done.rounds[0].measured_ns == done.report.latency.value_ns <= budget.limit
    assert done.bundle == real.workspace / "export" / f"tiny-fake-{budget.text}"
    assert VerificationReport.load(done.bundle / "verification.json") == done.report
    assert done.table.is_relative_to(real.workspace / "latency_tables")
    assert exporter.results[0].status is Status.OPTIMAL


def test_a_simulated_deployment_never_passes(place: Place, exporter: Exporter) -> None:
    done = place.deploy(place.budget(0.5))
    assert (done.exit_code, done.rounds[-1].verdict) == (4, Verdict.PASS)
    assert any("no clock measured it" in reason for reason in done.report.reasons)


def slower_once(exporter: Exporter, monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
    """The machine slows down after the table was carried over and before the first network is verified."""

    def before() -> None:
        if not exporter.results:
            slow_down(monkeypatch, factor)

    exporter.before = before


def test_a_table_that_is_there_is_carried_over_to_the_machine_as_it_is(
    real: Place, exporter: Exporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_down(monkeypatch, 1.15)
    done = real.deploy(real.budget(0.6))
    assert (done.exit_code, len(done.rounds)) == (0, 1)
    answer = exporter.results[0].latency_budget
    assert answer.predicted.value == pytest.approx(1.15 * answer.as_made.value, rel=0.01)
    assert "as the machine is now" in answer.predicted.method
    assert Manifest.load(done.bundle).predicted.latency == answer.as_made
    assert any("1.15 times as slow as when the table was made" in note for note in done.notes)


def test_a_table_made_just_now_needs_no_carrying_over(real: Place, exporter: Exporter) -> None:
    for path in (real.workspace / "latency_tables").rglob("*.json"):
        path.unlink()
    real.deploy(real.budget(0.5))
    answer = exporter.results[0].latency_budget
    assert answer.predicted == answer.as_made


def test_a_machine_that_slows_down_tightens_the_search(
    real: Place, exporter: Exporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    slower_once(exporter, monkeypatch, 1.15)
    log, budget = Log(), real.budget(0.6)
    done = real.deploy(budget, progress=log)
    assert done.exit_code == 0
    assert [row.verdict for row in done.rounds] == [Verdict.FAIL, Verdict.PASS]
    assert done.rounds[1].effective_ns < 0.997 * done.rounds[0].predicted_ns
    assert done.rounds[1].predicted_ns <= done.rounds[1].effective_ns
    assert done.rounds[1].measured_ns <= budget.limit
    assert [note.split(":")[0] for note in log.notes if note.startswith("round")] == ["round 1", "round 2"]


def test_the_bundle_keeps_the_budget_that_was_asked(
    real: Place, exporter: Exporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    slower_once(exporter, monkeypatch, 1.15)
    budget = real.budget(0.6)
    done = real.deploy(budget)
    first, second = exporter.results
    assert second.latency_budget.limit_ns == first.latency_budget.limit_ns == budget.limit
    assert Manifest.load(done.bundle).asked.limit_ns == done.report.latency.budget_ns == budget.limit
    assert second.architecture != first.architecture
    assert (second.status, second.bound) == (Status.FEASIBLE, first.bound)
    assert second.gap == pytest.approx(first.accuracy.value - second.accuracy.value)
    assert [path.name for path in (real.workspace / "export").iterdir()] == [done.bundle.name]


def test_a_machine_that_gets_faster_is_told(real: Place, exporter: Exporter, monkeypatch: pytest.MonkeyPatch) -> None:
    slow_down(monkeypatch, 1.2)
    slower_once(exporter, monkeypatch, 0.8)
    done = real.deploy(real.budget(0.9))
    assert "the machine is 1.2" in done.notes[-1]
    assert "times as fast as when the budget was searched for" in done.notes[-1]


def test_candidates_are_measured_and_the_best_that_fits_is_taken(
    real: Place, exporter: Exporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table is 4 % too slow for the machine as it is, which a list tells and a search alone does not."""
    monkeypatch.setattr("binas_deploy.steps.deploy.carry_over", lambda *_, **__: None)
    monkeypatch.setattr("binas_deploy.steps.shortlist.measured_in_fresh_process", measured_networks)
    slow_down(monkeypatch, 0.96)
    log, budget = Log(), real.budget(0.5)
    alone = real.deploy(budget).rounds[0]
    listed = real.deploy(budget, shortlist=12, progress=log)
    (taken,) = listed.rounds
    assert listed.exit_code == 0
    assert any("shortlist: " in note and " candidates, predicted " in note for note in log.notes)
    assert taken.accuracy > alone.accuracy
    assert alone.measured_ns < taken.measured_ns <= budget.limit
    assert taken.expected_ns == pytest.approx(taken.measured_ns, rel=0.01)
    result = exporter.results[-1]
    assert (result.status, result.bound, result.gap) == (Status.FEASIBLE, None, None)
    assert result.latency_budget.limit_ns == budget.limit


def test_a_list_that_is_too_slow_leads_to_a_lower_one(
    real: Place, exporter: Exporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("binas_deploy.steps.deploy.carry_over", lambda *_, **__: None)
    monkeypatch.setattr("binas_deploy.steps.shortlist.measured_in_fresh_process", measured_networks)
    slow_down(monkeypatch, 1.5)
    log, budget = Log(), real.budget(0.8)
    done = real.deploy(budget, shortlist=6, progress=log)
    assert (done.exit_code, len(done.rounds)) == (0, 1)
    assert sum(note.startswith("shortlist") for note in log.notes) > 1
    assert done.rounds[0].measured_ns <= budget.limit


def test_what_was_verified_joins_the_table(real: Place, exporter: Exporter) -> None:
    known = {anchor.arch for anchor in real.table.anchors}
    tried = (real.deploy(real.budget(share)) for share in np.linspace(0.2, 0.95, 16))
    done = next(done for done in tried if Manifest.load(done.bundle).architecture not in known)
    table, arch = LatencyTable.load(done.table), Manifest.load(done.bundle).architecture
    assert table.digests[1:] == (real.table.digest,)
    assert (table.anchors[-1].arch, table.anchors[-1].kind) == (arch, "searched")
    assert table.anchors[-1].location == pytest.approx(table.predict(arch).value, rel=0.02)
    assert table.runs[-1].host["origin"] == "verify"
    text = "the network joins the latency table, which rests on"
    assert text in deployment_text(done)
    budget = replace(real.budget(0.5), quantity=Quantity("time", done.report.latency.budget_ns))
    again = real.deploy(budget)
    assert len(LatencyTable.load(again.table).anchors) == len(table.anchors)
    assert text in deployment_text(again)


def test_the_error_rate_is_split_over_the_rounds(real: Place, exporter: Exporter) -> None:
    done = real.deploy(replace(real.budget(0.5), confidence=0.9))
    assert done.report.latency.shown.confidence == pytest.approx(1 - 0.1 / MOST_ROUNDS)


def test_it_gives_up_after_some_rounds(real: Place, exporter: Exporter, monkeypatch: pytest.MonkeyPatch) -> None:
    exporter.before = lambda: slow_down(monkeypatch, 1.12)  # slower each time: what was learnt is never enough
    done = real.deploy(real.budget(0.9))
    assert (done.exit_code, len(done.rounds), len(exporter.results)) == (1, MOST_ROUNDS, MOST_ROUNDS)
    assert {row.verdict for row in done.rounds} == {Verdict.FAIL}
    assert [row.effective_ns for row in done.rounds] == sorted((r.effective_ns for r in done.rounds), reverse=True)
    assert any(f"after {MOST_ROUNDS} rounds" in note for note in done.notes)


def test_an_infeasible_budget_ends_it_before_anything_is_exported(real: Place, exporter: Exporter) -> None:
    with pytest.raises(InfeasibleBudgetError, match="the least that a network of space 'tiny' is predicted to take"):
        real.deploy(Budget.parse("1us"))
    assert exporter.results == []
    assert not (real.workspace / "export").exists()


def test_when_nothing_smaller_is_left_the_last_report_stands(
    real: Place, exporter: Exporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    slower_once(exporter, monkeypatch, 1.3)
    log = Log()
    done = real.deploy(real.budget(0.05), progress=log)
    assert (done.exit_code, len(done.rounds)) == (1, 1)
    assert "which measuring calls for" in done.notes[0]
    assert done.notes[0] in log.notes


def test_a_budget_that_excludes_nothing_says_so(real: Place, exporter: Exporter) -> None:
    done = real.deploy(Budget.parse("1s"))
    assert done.exit_code == 0
    assert exporter.results[0].architecture == real.space.largest()
    assert any("it excludes nothing" in note for note in done.notes)


def test_broken_parity_is_not_searched_around(real: Place, exporter: Exporter, monkeypatch: pytest.MonkeyPatch) -> None:
    slower_once(exporter, monkeypatch, 1.2)
    monkeypatch.setattr("binas_deploy.steps.stored.outputs_of", lambda *_, **__: np.ones((3, 5), np.float32))
    done = real.deploy(real.budget(0.6))
    assert (done.exit_code, len(done.rounds), done.report.parity.verdict) == (1, 1, Verdict.FAIL)


def test_without_a_table_one_is_measured_and_then_used_again(
    place: Place, exporter: Exporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    (old,) = (place.workspace / "latency_tables").rglob("*.json")
    old.unlink()
    assert place.deploy(place.budget(0.5)).table == old
    assert old.exists()
    monkeypatch.setattr("binas_deploy.steps.deploy.profile", None)
    assert place.deploy(place.budget(0.5)).table == old


def test_a_table_can_be_given_and_must_fit(place: Place, exporter: Exporter, tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    place.table.save(other)
    assert place.deploy(place.budget(0.5), table=other).table == other
    with pytest.raises(MismatchError, match="threads"):
        place.deploy(place.budget(0.5), table=other, threads=2)
    with pytest.raises(InputError, match="no such file"):
        place.deploy(place.budget(0.5), table=tmp_path / "nowhere.json")
    assert len(exporter.results) == 1


def test_the_output_folder_can_be_given(place: Place, exporter: Exporter, tmp_path: Path) -> None:
    assert place.deploy(place.budget(0.5), output=tmp_path / "mine").bundle == tmp_path / "mine"


def test_accuracy_is_measured_once_the_latency_is_right(
    real: Place, exporter: Exporter, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (40, 3, 8, 8), dtype=np.uint8)
    labels, names = np.arange(40) % 5, np.array([f"class{index}" for index in range(5)])
    np.savez(
        tmp_path / "p.npz",
        train_images=images,
        train_labels=labels,
        test_images=images,
        test_labels=labels,
        classes=names,
    )
    slower_once(exporter, monkeypatch, 1.15)
    measured: list[object] = []
    save = VerificationReport.save

    def keep(report: VerificationReport, path: Path) -> None:
        measured.append(report.accuracy)
        save(report, path)

    monkeypatch.setattr(VerificationReport, "save", keep)
    done = real.deploy(real.budget(0.6), data=str(tmp_path / "p.npz"), measure_accuracy=True)
    assert [type(found) for found in measured] == [AccuracyNotMeasured, Accuracy]
    assert isinstance(done.report.accuracy, Accuracy)
    # The model promises far more than an untrained network holds.
    assert (done.report.accuracy.verdict, done.exit_code) == (Verdict.FAIL, 1)


def test_images_that_are_missing_make_it_partly_unmeasured(real: Place, exporter: Exporter) -> None:
    done = real.deploy(real.budget(0.5), measure_accuracy=True)
    assert (done.report.accuracy.verdict, done.exit_code) == (Verdict.NOT_MEASURED, 4)


def test_cifar10_is_fetched_before_anything_is_measured(
    place: Place, exporter: Exporter, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BINAS_DEPLOY_CACHE", str(tmp_path / "empty"))

    def fetch(**_: object) -> None:
        raise InputError("fetched")

    monkeypatch.setattr("binas_deploy.steps.deploy.fetch_cifar10", fetch)
    with pytest.raises(InputError, match="fetched"):
        place.deploy(place.budget(0.5), data="cifar10")
    assert exporter.results == []


def test_a_budget_for_another_device_is_refused(place: Place, exporter: Exporter) -> None:
    with pytest.raises(InputError, match=r"is for device 'tpu', the network is for 'fake'"):
        place.deploy(replace(place.budget(0.5), device="tpu"))
    assert place.deploy(replace(place.budget(0.5), device="fake")).rounds


def test_computed_budgets_hold_in_every_round(real: Place, exporter: Exporter, monkeypatch: pytest.MonkeyPatch) -> None:
    slower_once(exporter, monkeypatch, 1.15)
    free = real.deploy(real.budget(0.9)).rounds
    limit = real.space.macs(exporter.results[0].architecture) - 1
    exporter.results.clear()
    done = real.deploy(Budget(Quantity("count", limit), resource="macs"), real.budget(0.9), Budget.parse("memory=1MB"))
    assert done.exit_code == 0
    assert done.rounds[0].accuracy < free[0].accuracy
    assert len(exporter.results) == len(done.rounds)
    for result in exporter.results:
        assert [answer.resource for answer in result.computed] == ["macs", "memory"]
        assert real.space.macs(result.architecture) == result.computed[0].used <= limit
    notes = [f"{answer.resource}: {answer.text}" for answer in exporter.results[-1].computed]
    assert [note for note in done.notes if note in notes] == notes
    assert all(note in deployment_text(done) for note in notes)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["macs=8M"], "exactly one budget of latency is needed, such as 0.5ms; found none"),
        (["1ms", "fake=2ms"], "found 1ms, fake=2ms"),
        (["1ms", "macs=8M", "macs=9M"], "macs has 2 budgets"),
        ([], "at least one budget"),
    ],
)
def test_budgets_that_cannot_be_deployed_are_refused(place: Place, texts: list[str], message: str) -> None:
    fresh = replace(place, workspace=place.workspace / "fresh")
    with pytest.raises(InputError, match=message):
        fresh.deploy(*[Budget.parse(text) for text in texts])
    with pytest.raises(InputError, match="energy cannot be verified yet"):
        fresh.deploy(place.budget(0.5), Budget.parse("energy=5mJ"))
    assert not fresh.workspace.exists()


def test_bad_input_is_noticed_before_anything_is_made(place: Place, exporter: Exporter, tmp_path: Path) -> None:
    empty, budget = tmp_path / "fresh", place.budget(0.5)
    fresh = replace(place, workspace=empty)
    with pytest.raises(InputError, match="ships no accuracy model"):
        fresh.deploy(budget, accuracy=None)
    with pytest.raises(InputError, match="ships no supernet"):
        fresh.deploy(budget, supernet=None)
    with pytest.raises(InputError, match="no such file"):
        fresh.deploy(budget, accuracy=tmp_path / "nowhere.json")
    with pytest.raises(MismatchError, match="fitted for space 'tiny'"):
        replace(fresh, space=load_space("cifar10")).deploy(budget)
    with pytest.raises(InputError, match="threads = 0"):
        fresh.deploy(budget, threads=0)
    assert not empty.exists()


def test_an_absent_device_is_noticed_before_anything_is_made(
    place: Place, exporter: Exporter, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(ADAPTERS, "simulated", Adapter("nowhere:Device", "nowhere_at_all"))
    with pytest.raises(DeviceError, match="nowhere_at_all"):
        replace(place, workspace=tmp_path / "fresh").deploy(place.budget(0.5))
    assert not (tmp_path / "fresh").exists()


# How people see it


def test_the_texts_say_what_was_asked_found_and_decided(
    real: Place, exporter: Exporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    slower_once(exporter, monkeypatch, 1.15)
    done = real.deploy(real.budget(0.6))
    text = deployment_text(done)
    assert bundle_text(done.bundle) in text
    assert verification_text(done.report) in text
    lines = text.splitlines()
    assert lines[0].split()[:3] == ["round", "searched", "for"]
    assert lines[1].endswith("FAIL")
    assert lines[2].endswith("PASS")
    manifest = Manifest.load(done.bundle)
    assert f"median latency of at most {manifest.asked.budget} on fake (1 thread, fp32, batch 1, back-to-back)" in text
    assert " MMAC, space tiny" in text
    assert "          cn_r1_k1_s1_c16\n" in text  # one stage a line
    assert "measured median (" in text
    machine = next(line for line in lines if line.startswith("machine"))
    assert done.report.latency.machine is not None
    assert f"{done.report.latency.machine.scale:.3f} times the table's latencies and " in machine
    assert machine.endswith(f" %, 95 %), by {done.report.latency.machine.anchors} anchors")
    assert "accuracy  NOT MEASURED: it was not asked for" in text
    assert "verdict   PASS (exit code 0)" in text
    assert str(done.table) in text


def test_the_text_of_a_failure_says_why(place: Place, exporter: Exporter, monkeypatch: pytest.MonkeyPatch) -> None:
    slower_once(exporter, monkeypatch, 1.3)
    text = deployment_text(place.deploy(place.budget(0.05), measure_accuracy=True))
    assert "over the budget of" in text
    assert "simulated" in text
    assert "NOT MEASURED: the network is not shown to be within the budget" in text
    assert text.count("not shown to be within the budget") == 1
    assert "verdict   FAIL (exit code 1)" in text
