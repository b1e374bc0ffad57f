"""Profiling on a simulated device: continuing after kills, locks, journals, and what the table holds."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from binas_deploy.adapters.base import Program
from binas_deploy.adapters.registry import ADAPTERS, Adapter
from binas_deploy.columns import Columns
from binas_deploy.devices import DeviceSpec, TimingSpec, device_conditions, open_device
from binas_deploy.errors import (
    DeviceError,
    DocumentError,
    EnvironmentFault,
    InputError,
    MismatchError,
    NotMeasuredError,
)
from binas_deploy.measure import Timing, measure
from binas_deploy.progress import SILENT, Advance, Progress
from binas_deploy.quality import Quality
from binas_deploy.space import SearchSpace
from binas_deploy.space_file import load_space
from binas_deploy.steps import journal as journals
from binas_deploy.steps import profile as profiling
from binas_deploy.steps import subjects
from binas_deploy.steps.journal import Journal, JournalHeader, open_journal
from binas_deploy.steps.networks import (
    SCOUTS,
    Network,
    further_networks,
    informative_networks,
    middle_network,
    scouting_networks,
    searched_networks,
)
from binas_deploy.steps.profile import profile
from binas_deploy.steps.subjects import anchor_models, anchor_subjects
from binas_deploy.steps.tables import find_table, matching_table, table_lock, tables_of
from binas_deploy.table import LatencyTable, measured_pieces
from binas_deploy.testing.fake_device import FakeDevice, FakeExecutable

ROUNDS = 6
SPEC = DeviceSpec(
    name="fake",
    adapter="simulated",
    timing=TimingSpec(warmup_ms=0.0, samples_per_visit=8, min_rounds=ROUNDS, max_rounds=ROUNDS, networks=24),
)
SCOUTING = ".scouting.journal"


@pytest.fixture(autouse=True)
def simulated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ADAPTERS, "simulated", Adapter("binas_deploy.testing.fake_device:FakeDevice", "binas_deploy"))


class Log:
    """A `Progress` that keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.tasks: list[tuple[str, int, list[int]]] = []

    @contextmanager
    def task(self, label: str, total: int) -> Iterator[Advance]:
        steps: list[int] = []
        self.tasks.append((label, total, steps))
        yield steps.append

    def note(self, text: str) -> None:
        self.notes.append(text)


def run(space: SearchSpace, workspace: Path, progress: Progress = SILENT, **more: object) -> tuple[Path, LatencyTable]:
    return profile(space, SPEC, workspace=workspace, progress=progress, **more)  # type: ignore[arg-type]


def kill_after(
    monkeypatch: pytest.MonkeyPatch, rounds: int, error: BaseException | None = None, *, scouting: bool = False
) -> None:
    """The next profile dies once ``rounds`` of its rounds are in the journal, of its first part if ``scouting``."""
    add_round, count = Journal.add_round, 0

    def add_then_die(self: Journal, samples: dict[str, np.ndarray[tuple[int], np.dtype[np.int64]]]) -> None:
        nonlocal count
        add_round(self, samples)
        count += self.path.name.endswith(SCOUTING) == scouting
        if count == rounds:
            raise error or KeyboardInterrupt

    monkeypatch.setattr(Journal, "add_round", add_then_die)


def journal_of(workspace: Path) -> Path:
    (path,) = (workspace / "latency_tables/fake/tiny").glob("*.json.journal")
    return path


def killed(space: SearchSpace, workspace: Path, rounds: int) -> Path:
    """A workspace in which a profile was interrupted after some rounds."""
    with pytest.MonkeyPatch.context() as patch:
        kill_after(patch, rounds)
        with pytest.raises(KeyboardInterrupt):
            run(space, workspace)
    return journal_of(workspace)


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_table_holds_every_piece_and_the_anchors(tiny_space: SearchSpace, tmp_path: Path) -> None:
    path, table = run(tiny_space, tmp_path)
    assert path.parent == tmp_path / "latency_tables" / "fake" / "tiny"
    assert set(table.pieces) == {piece.key for piece in measured_pieces(tiny_space)}
    assert len(table.anchors) == SPEC.timing.networks > SCOUTS
    assert {anchor.kind for anchor in table.anchors} == {"smallest", "largest", "designed", "random", "searched"}
    assert all(len(measurement) == 8 * ROUNDS for measurement in table.pieces.values())
    assert (table.device, table.simulated, len(table.runs)) == ("fake", True, 1)
    assert table.runs[0].host["stopped_by"] in {"rounds", "target"}
    assert LatencyTable.load(path).digest == table.digest
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]  # neither journal nor lock remain


def test_it_predicts_the_simulated_latencies(tiny_space: SearchSpace, tmp_path: Path) -> None:
    _, table = run(tiny_space, tmp_path)
    device, rng = FakeDevice(noise=0.0), np.random.default_rng(5)
    for _ in range(5):
        arch = tiny_space.sample(rng)
        model = subjects.network_model(tiny_space, arch, 1)
        with subjects.open_subjects(device, {"it": model}) as (subject,), subject.open() as executable:
            latency = executable.sample(subject.feed, count=1)[0]
        assert table.predict(arch).value == pytest.approx(latency, rel=0.05)


def test_a_valid_table_is_returned_as_it_is(tiny_space: SearchSpace, tmp_path: Path) -> None:
    path, first = run(tiny_space, tmp_path)
    before = path.read_bytes()
    assert run(tiny_space, tmp_path, seed=9)[1].digest == first.digest
    assert path.read_bytes() == before
    with pytest.MonkeyPatch.context() as patch:
        kill_after(patch, 1)
        with pytest.raises(KeyboardInterrupt):
            run(tiny_space, tmp_path, force=True)
    assert path.read_bytes() == before  # replaced only when the new one is complete


def test_threads_make_another_table(tiny_space: SearchSpace, tmp_path: Path) -> None:
    one, _ = run(tiny_space, tmp_path)
    two, table = run(tiny_space, tmp_path, threads=2)
    assert "-t1-" in one.name
    assert "-t2-" in two.name
    assert table.conditions.identity["threads"] == "2"


def test_a_killed_run_is_continued_and_no_round_is_repeated(tiny_space: SearchSpace, tmp_path: Path) -> None:
    killed(tiny_space, tmp_path, 4)
    log = Log()
    _, table = run(tiny_space, tmp_path, log)
    assert log.notes[0] == "continuing: 4 rounds are already measured."
    assert [run.id for run in table.runs] == [0, 1]
    for measurement in table.pieces.values():
        assert measurement.runs.tolist() == [0] * 32 + [1] * 16


def test_the_journal_holds_each_round_with_its_run(tiny_space: SearchSpace, tmp_path: Path) -> None:
    journal = killed(tiny_space, tmp_path, 2)
    killed(tiny_space, tmp_path, 1)
    header, *rest = lines(journal)
    assert header["format"] == "binas-deploy/profile-journal"
    assert header["space"] == tiny_space.fingerprint
    assert [next(iter(line)) for line in rest] == ["run", "round", "round", "run", "round"]
    assert [line["round"]["run"] for line in rest if "round" in line] == [0, 0, 1]  # type: ignore[index]


def test_a_kill_after_the_last_round_measures_nothing_more(tiny_space: SearchSpace, tmp_path: Path) -> None:
    killed(tiny_space, tmp_path, ROUNDS)
    with pytest.MonkeyPatch.context() as patch:
        kill_after(patch, 1)  # it would be noticed
        _, table = run(tiny_space, tmp_path)
    assert all((measurement.runs == 0).all() for measurement in table.pieces.values())


def test_a_kill_while_the_table_is_written_loses_nothing(
    tiny_space: SearchSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: object, target: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(EnvironmentFault, match="no space left"):
            run(tiny_space, tmp_path)
    assert not list(tmp_path.rglob("*.json"))
    assert len(journals.open_journal(journal_of(tmp_path), header_of(journal_of(tmp_path)))[0].rounds) == ROUNDS


def test_a_kill_while_scouting_is_continued_too(tiny_space: SearchSpace, tmp_path: Path) -> None:
    usual = run(tiny_space, tmp_path / "usual")[1]
    with pytest.MonkeyPatch.context() as patch:
        kill_after(patch, 2, scouting=True)
        with pytest.raises(KeyboardInterrupt):
            run(tiny_space, tmp_path)
    (scouting,) = tmp_path.rglob(f"*{SCOUTING}")
    assert [next(iter(line)) for line in lines(scouting)[1:]] == ["run", "round", "round"]
    log = Log()
    _, table = run(tiny_space, tmp_path, log)
    assert log.notes[0] == "continuing: 2 rounds are already measured."
    assert table.pieces.keys() == usual.pieces.keys()
    assert [anchor.kind for anchor in table.anchors] == [anchor.kind for anchor in usual.anchors]


def test_scouting_that_ran_out_of_time_is_not_taken_up_again(tiny_space: SearchSpace, tmp_path: Path) -> None:
    spec = SPEC.with_cadence("every 0.2ms")
    rounds = spec.timing.model_copy(update={"min_rounds": 3, "max_rounds": 7})
    hasty = spec.model_copy(update={"timing": rounds.model_copy(update={"max_seconds": 1e-6})})
    with pytest.MonkeyPatch.context() as patch:
        kill_after(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            profile(tiny_space, hasty, workspace=tmp_path)
    (scouting,) = tmp_path.rglob(f"*{SCOUTING}")
    assert [next(iter(line)) for line in lines(scouting)[1:]] == ["run", "round", "round", "round", "end"]
    assert lines(scouting)[-1] == {"end": {"stopped_by": "seconds"}}
    begun, log = header_of(journal_of(tmp_path)).subjects, Log()
    with pytest.MonkeyPatch.context() as patch:
        kill_after(patch, 1, scouting=True)  # it would be noticed
        _, table = profile(tiny_space, spec.model_copy(update={"timing": rounds}), workspace=tmp_path, progress=log)
    assert log.notes[0] == "continuing: 2 rounds are already measured."
    assert [subjects.network_key(tiny_space, anchor.arch) for anchor in table.anchors] == begun
    assert not list(tmp_path.rglob("*.aside-*"))
    assert [run.host.get("stopped_by") for run in table.runs][1] == "seconds"


def test_in_a_rhythm_the_pieces_are_back_to_back_and_the_networks_are_not(
    tiny_space: SearchSpace, tmp_path: Path
) -> None:
    spec = SPEC.with_cadence("every 0.2ms")
    path, table = profile(tiny_space, spec, workspace=tmp_path)
    usual, other = run(tiny_space, tmp_path)
    assert path != usual  # another identity
    assert table.conditions.identity["cadence"] == "every 0.2ms"
    assert [run.id for run in table.runs] == [0, 1]
    assert {int(run) for piece in table.pieces.values() for run in piece.runs} == {0}
    assert {int(run) for anchor in table.anchors for run in anchor.measurement.runs} == {1}
    with pytest.raises(MismatchError, match=r"cadence: table every 0\.2ms, asked back-to-back"):
        table.conditions.require_same_identity(other.conditions)
    assert not list(path.parent.glob("*.journal"))


def test_slow_networks_are_fewer_but_never_too_few(tiny_space: SearchSpace, tmp_path: Path) -> None:
    timing = TimingSpec(min_rounds=2, max_rounds=2, max_seconds=1e-6, networks=40)
    spec = SPEC.model_copy(update={"timing": timing})
    _, table = profile(tiny_space, spec, workspace=tmp_path)
    assert len(table.anchors) == profiling.LEAST_NETWORKS


def header_of(journal: Path) -> JournalHeader:
    return JournalHeader.model_validate(lines(journal)[0])


@pytest.mark.parametrize("cut", [1, 10, 500])
def test_a_line_cut_short_by_a_kill_is_ignored(tiny_space: SearchSpace, tmp_path: Path, cut: int) -> None:
    journal = killed(tiny_space, tmp_path, 3)
    journal.write_bytes(journal.read_bytes()[:-cut])
    log = Log()
    _, table = run(tiny_space, tmp_path, log)
    assert log.notes[0] == "continuing: 2 rounds are already measured."
    assert next(iter(table.pieces.values())).runs.tolist() == [0] * 16 + [1] * 32


def test_the_cut_line_is_removed_before_more_is_written(tiny_space: SearchSpace, tmp_path: Path) -> None:
    journal = killed(tiny_space, tmp_path, 3)
    journal.write_bytes(journal.read_bytes()[:-7])
    killed(tiny_space, tmp_path, 1)
    assert [next(iter(line)) for line in lines(journal)[1:]] == ["run", "round", "round", "run", "round"]


@pytest.mark.parametrize(
    "line",
    [
        b"\xff\xfe\n",
        b"[]\n",
        b"{}\n",
        b'{"run": {"id": 7, "started": "2026-11-22T09:30:00+00:00", "host": {}}}\n',
        b'{"run": {"id": 1, "started": "yesterday", "host": {}}}\n',
        b'{"round": {"run": 0, "samples": {"a": [1], "other": [1]}}}\n',
        b'{"round": {"run": 0, "samples": {"a": [0], "b": [1]}}}\n',
        b'{"round": {"run": 5, "samples": {"a": [1], "b": [1]}}}\n',
        b'{"round": {"run": 0, "samples": {"a": [1.5], "b": [1]}}}\n',
        b'{"round": {"run": 0, "samples": {}}}\n',
        b'{"round": {"run": 0, "samples": {"a": [1]}}}\n',
        b'{"round": {"run": 0, "samples": {"a": [], "b": [1]}}}\n',
        b'{"end": {"stopped_by": "boredom"}}\n',
    ],
)
def test_whatever_stands_after_a_damaged_line_is_dropped(tmp_path: Path, line: bytes) -> None:
    path, header = tmp_path / "journal", JournalHeader(conditions={}, space="s", seed=0, subjects=["a", "b"])
    written, _ = open_journal(path, header)
    written.start_run("2026-11-22T09:30:00+00:00", {"load": "low"})
    written.add_round({"a": np.array([3, 4]), "b": np.array([5])})
    good = path.read_bytes()
    path.write_bytes(good + line + b'{"round": {"run": 0, "samples": {"a": [5], "b": [6]}}}\n')
    found, aside = open_journal(path, header)
    assert aside is None
    assert [samples["a"].tolist() for samples in found.rounds] == [[3, 4]]
    assert (found.round_runs, found.runs) == ([0], written.runs)
    assert path.read_bytes() == good


@pytest.mark.parametrize("change", ["conditions", "space", "seed", "subjects", "version", "text"])
def test_a_journal_of_something_else_is_set_aside(tiny_space: SearchSpace, tmp_path: Path, change: str) -> None:
    journal = killed(tiny_space, tmp_path, 3)
    header, *rest = journal.read_text(encoding="utf-8").splitlines(keepends=True)
    values = {"conditions": {"device": "other"}, "space": "0" * 64, "seed": 5, "subjects": ["a"], "version": 2}
    other = "not a journal" if change == "text" else json.dumps({**json.loads(header), change: values[change]})
    journal.write_text("".join([other + "\n", *rest]), encoding="utf-8")
    before, log = journal.read_bytes(), Log()
    _, table = run(tiny_space, tmp_path, log)
    aside = journal.with_name(journal.name + ".aside-1")
    assert aside.read_bytes() == before
    assert str(aside) in log.notes[0]
    assert [run.id for run in table.runs] == [0]


def test_setting_aside_overwrites_nothing(tiny_space: SearchSpace, tmp_path: Path) -> None:
    for _ in range(2):
        journal = killed(tiny_space, tmp_path, 1)
        journal.write_text("not a journal\n", encoding="utf-8")
    run(tiny_space, tmp_path)
    assert sorted(path.name[-8:] for path in journal.parent.glob("*.aside-*")) == [".aside-1", ".aside-2"]


def test_an_empty_journal_is_a_fresh_start(tiny_space: SearchSpace, tmp_path: Path) -> None:
    killed(tiny_space, tmp_path, 1).write_bytes(b"")
    log = Log()
    run(tiny_space, tmp_path, log)
    assert not [note for note in log.notes if "continuing" in note or "journal" in note]


def test_a_failing_device_leaves_the_journal(
    tiny_space: SearchSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill_after(monkeypatch, 2, DeviceError("the device went away"))
    with pytest.raises(DeviceError, match="went away"):
        run(tiny_space, tmp_path)
    assert len(lines(journal_of(tmp_path))) == 4


def test_a_second_run_is_refused_at_once_and_the_first_goes_on(tiny_space: SearchSpace, tmp_path: Path) -> None:
    path, _ = run(tiny_space, tmp_path)
    path.unlink()
    with table_lock(path), pytest.raises(EnvironmentFault, match=f"another run is writing {path}"):
        run(tiny_space, tmp_path)
    run(tiny_space, tmp_path)


def test_another_process_holds_the_lock_too(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from binas_deploy.steps.tables import table_lock\n"
        "with table_lock(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    path = tmp_path / "table.json"
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(EnvironmentFault, match="another run is writing"), table_lock(path):
            pass
        holder.kill()
        holder.wait()
    with table_lock(path):  # a lock dies with its holder
        pass


def test_a_finished_table_is_returned_while_another_run_measures_again(tiny_space: SearchSpace, tmp_path: Path) -> None:
    path, table = run(tiny_space, tmp_path)
    with table_lock(path):
        assert run(tiny_space, tmp_path)[1].digest == table.digest


def test_no_permission_to_write(tiny_space: SearchSpace, tmp_path: Path) -> None:
    (tmp_path / "latency_tables").write_text("a file where a folder is needed", encoding="utf-8")
    with pytest.raises(EnvironmentFault, match="cannot write"):
        run(tiny_space, tmp_path)


def test_a_full_disk_while_journaling(tiny_space: SearchSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(EnvironmentFault, match=r"journal: no space left"):
            run(tiny_space, tmp_path)
    run(tiny_space, tmp_path)


def test_a_table_of_another_space_is_not_overwritten(tiny_space: SearchSpace, tmp_path: Path) -> None:
    path, _ = run(tiny_space, tmp_path)
    before = path.read_bytes()
    file = tmp_path / "changed.toml"
    file.write_text(tiny_space.source.replace("channels = 12", "channels = 16"), encoding="utf-8")
    other = load_space(file)
    with pytest.raises(MismatchError, match=r"measured for space 'tiny' .* --force"):
        run(other, tmp_path)
    assert path.read_bytes() == before
    assert run(other, tmp_path, force=True)[1].space == other


def test_a_damaged_table_is_not_overwritten(tiny_space: SearchSpace, tmp_path: Path) -> None:
    path, _ = run(tiny_space, tmp_path)
    path.write_bytes(path.read_bytes()[:-100])
    before = path.read_bytes()
    with pytest.raises(DocumentError, match=r"truncated or damaged.* --force"):
        run(tiny_space, tmp_path)
    assert path.read_bytes() == before
    run(tiny_space, tmp_path, force=True)
    LatencyTable.load(path)


def test_progress_reaches_its_total(tiny_space: SearchSpace, tmp_path: Path) -> None:
    log = Log()
    run(tiny_space, tmp_path, log)
    assert [label.split()[0] for label, _, _ in log.tasks] == ["compiling", "scouting", "compiling", "measuring"]
    for _, total, steps in log.tasks:
        assert sum(steps) == total
        assert min(steps) >= 0


def test_a_noisy_run_says_so_and_what_to_do(
    tiny_space: SearchSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = {
        "interval_percent": "11.0",
        "contention_cpus": "1.5",
        "sentinel_trend": "1.32",
        "timer_resolution_ns": "50",
        "least_ns": "1000",
        "throttle_count": "3",
        "throttle_count_end": "5",
    }
    monkeypatch.setattr(Quality, "summary", lambda self: summary)
    log = Log()
    run(tiny_space, tmp_path, log)
    (note,) = (note for note in log.notes if "noisy" in note)
    for part in ("±11 % only", "1.5 CPUs busy", "+32 %", "CPU throttled", "steps of 50 ns are coarse", "--force"):
        assert part in note


def test_scouts_are_different_networks_and_the_seed_draws_the_random_ones(tiny_space: SearchSpace) -> None:
    first, again, other = (scouting_networks(tiny_space, seed) for seed in (0, 0, 1))
    assert first == again != other
    archs = [network.arch for network in first]
    assert len(set(archs)) == SCOUTS
    assert archs[:2] == [tiny_space.smallest(), tiny_space.largest()]
    macs = sorted(map(tiny_space.macs, archs))
    assert tiny_space.macs(middle_network(tiny_space, first)) == macs[SCOUTS // 2]


def test_a_space_of_few_networks_gives_few(tiny_space: SearchSpace) -> None:
    stages = tuple(
        replace(stage, options=tuple(row[:1] for row in stage.options), depths=stage.depths[-1:])
        for stage in tiny_space.stages
    )
    assert len(scouting_networks(replace(tiny_space, stages=stages), 0)) == 1


def test_further_networks_are_new_and_of_both_kinds(tiny_space: SearchSpace, tmp_path: Path) -> None:
    cost = run(tiny_space, tmp_path)[1].cost_form()
    taken = [network.arch for network in scouting_networks(tiny_space, 0)]
    found, again = (further_networks(tiny_space, cost, None, taken=taken, count=30, seed=5) for _ in range(2))
    assert found == again
    kinds = [network.kind for network in found]
    assert len(found) == 30
    assert min(kinds.count("random"), kinds.count("searched")) >= 5
    assert not {network.arch for network in found} & set(taken)
    assert len({network.arch for network in found}) == 30


def test_informative_networks_tell_more_than_those_drawn_first(tiny_space: SearchSpace, tmp_path: Path) -> None:
    table = run(tiny_space, tmp_path)[1]
    taken = [anchor.arch for anchor in table.anchors]
    drawn = further_networks(tiny_space, table.cost_form(), None, taken=taken, count=60, seed=5)
    measured, pool = drawn[:10], drawn[10:]
    found = informative_networks(table, measured, pool, lambda latency: 1.0, 8)
    assert {network.kind for network in found} == {"designed"}
    assert len({network.arch for network in found} & {network.arch for network in pool}) == 8

    def left(chosen: Sequence[Network]) -> float:
        known = table.uncertainty([network.arch for network in (*measured, *chosen)])
        rows = known.rows(Columns(tiny_space).design([network.arch for network in drawn]))
        return float(np.mean(np.einsum("ij,jk,ik->i", rows, known.covariance, rows)))

    assert left(found) < left(pool[:8])
    assert informative_networks(table, measured, pool, lambda latency: 1.0, 0) == ()


def test_searched_networks_are_undominated(tiny_space: SearchSpace, tmp_path: Path) -> None:
    cost = run(tiny_space, tmp_path)[1].cost_form()
    depths = tuple(stage.depths for stage in tiny_space.stages)
    prices = {arch: cost.of(arch, depths) for arch in tiny_space.networks()}
    found = itertools.islice(searched_networks(tiny_space, cost, None, np.random.default_rng(0)), 20)
    share = [np.mean([price <= prices[arch] for price in prices.values()]) for arch in found]
    assert min(share) < 0.3
    assert max(share) > 0.7


def test_anchors_can_be_measured_again_byte_for_byte(tiny_space: SearchSpace, tmp_path: Path) -> None:
    path, table = run(tiny_space, tmp_path)
    models = anchor_models(LatencyTable.load(path))
    assert len(models) == len(table.anchors)
    anchor = table.anchors[3]
    key = subjects.network_key(tiny_space, anchor.arch)
    assert models[key].sha256 == subjects.network_model(tiny_space, anchor.arch, 1).sha256
    with anchor_subjects(table, FakeDevice()) as found:
        timing = Timing(0.0, 8, min_rounds=3, max_rounds=3)
        again = measure(found, timing=timing, rng=np.random.default_rng(0), sentinel=found[0].key)
    assert np.median(again.samples(key)) == pytest.approx(anchor.measurement.median, rel=0.02)


@pytest.mark.parametrize(("available", "expected"), [(10**9, 1), (1000, 3)])
def test_models_are_loaded_for_each_visit_where_memory_is_short(
    tiny_space: SearchSpace, monkeypatch: pytest.MonkeyPatch, available: int, expected: int
) -> None:
    loads: list[Program] = []

    class Counting(FakeDevice):
        @contextmanager
        def load(self, program: Program) -> Iterator[FakeExecutable]:
            loads.append(program)
            with super().load(program) as executable:
                yield executable

    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=available))
    model = subjects.network_model(tiny_space, tiny_space.smallest(), 1)
    with subjects.open_subjects(Counting(), {"it": model}) as (subject,):
        for _ in range(3):
            with subject.open() as executable:
                executable.sample(subject.feed, count=1)
    assert len(loads) == expected


def test_finding_a_table(tiny_space: SearchSpace, tmp_path: Path) -> None:
    with pytest.raises(NotMeasuredError, match=r"Run: binas-deploy profile --device fake --space tiny --threads 1"):
        find_table(tiny_space, SPEC, workspace=tmp_path)
    path, table = run(tiny_space, tmp_path)
    found, loaded = find_table(tiny_space, SPEC, workspace=tmp_path)
    assert (found, loaded.digest) == (path, table.digest)
    conditions = device_conditions(SPEC, open_device(SPEC).facts())
    assert matching_table(tmp_path, SPEC, tiny_space, conditions) == path
    with pytest.raises(NotMeasuredError, match="--threads 2"):
        find_table(tiny_space, SPEC, workspace=tmp_path, threads=2)


def test_a_table_under_other_conditions_is_named_with_the_difference(tiny_space: SearchSpace, tmp_path: Path) -> None:
    run(tiny_space, tmp_path)
    spec = SPEC.model_copy(update={"options": {"noise": 0.02}})
    with pytest.raises(NotMeasuredError, match=r"provider_options: table noise=0\.01;seed=0, asked noise=0\.02;seed=0"):
        find_table(tiny_space, spec, workspace=tmp_path)


def test_a_device_that_is_not_at_hand_answers_from_its_only_table(tiny_space: SearchSpace, tmp_path: Path) -> None:
    path, _ = run(tiny_space, tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ADAPTERS, "simulated", Adapter("nowhere:Device", "nowhere_at_all", "cpu"))
        assert find_table(tiny_space, SPEC, workspace=tmp_path)[0] == path
        with pytest.raises(NotMeasuredError, match=r"Here it cannot be: .*pip install"):
            find_table(tiny_space, SPEC, workspace=tmp_path, threads=2)
    profile(tiny_space, SPEC.model_copy(update={"options": {"seed": 1}}), workspace=tmp_path)
    assert len(tables_of(tmp_path, SPEC, tiny_space)) == 2
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ADAPTERS, "simulated", Adapter("nowhere:Device", "nowhere_at_all", "cpu"))
        with pytest.raises(InputError, match="has 2 tables: choose one"):
            find_table(tiny_space, SPEC, workspace=tmp_path)
