"""A remote device over a process on this machine: what crosses, what breaks, and what is done about it."""

from __future__ import annotations

import gc
import logging
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import pytest

from binas_deploy.adapters.base import DeviceFacts, Precision, Program
from binas_deploy.devices import DeviceSpec, SshSpec, TimingSpec, open_device
from binas_deploy.errors import BinasError, DeviceError, EnvironmentFault, LinkLostError
from binas_deploy.measure import Timing
from binas_deploy.measure_energy import EnergyTiming, measure_energy
from binas_deploy.remote import connection, link
from binas_deploy.remote.connection import Connection
from binas_deploy.remote.device import RemoteDevice
from binas_deploy.remote.frames import Frame, ProtocolError, encode
from binas_deploy.remote.link import Link
from binas_deploy.remote.messages import AskFacts, FactsReply
from binas_deploy.remote.ssh import SshTarget, Unreachable
from binas_deploy.space import SearchSpace
from binas_deploy.steps.energy import energy_sensor
from binas_deploy.steps.profile import profile
from binas_deploy.steps.subjects import network_key, network_model, open_subjects
from binas_deploy.testing.fake_device import FakeDevice
from binas_deploy.testing.networks import random_feed, random_network, small_space

AGENT = """
from binas_deploy.adapters import registry
registry.ADAPTERS["simulated"] = registry.Adapter("binas_deploy.testing.fake_device:FakeDevice", "binas_deploy")
import sys
sys.argv = ["binas-deploy", "agent"]
from binas_deploy.cli.main import main
main()
"""
GREETING = "import sys; out = sys.stdout.buffer; out.write(b'binas-deploy agent, protocol 1\\n'); out.flush(); "


@dataclass(frozen=True)
class Here:
    """A process on this machine in the place of ssh."""

    code: str = AGENT
    name: str = "board"
    label: str = "board (here)"

    def agent_command(self) -> list[str]:
        return [sys.executable, "-c", self.code]

    def fault(self, code: int | None, said: str, stray: str = "") -> BinasError:
        return SshTarget("board").fault(code, said, stray)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BINAS_DEPLOY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def others() -> set[psutil.Process]:
    """What earlier tests, of other files too, have left to end by itself."""
    return set(psutil.Process().children())


def agents() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if any(AGENT in word for word in _words(child))]


def _words(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:  # it has ended
        return []


def kill_agents() -> int:
    found = agents()
    for process in found:
        process.kill()
    return len(found)


def device() -> RemoteDevice:
    return RemoteDevice(Here(), "simulated", 1, {"noise": 0.0})


def test_a_remote_device_gives_what_the_device_there_gives(tmp_path: Path, cache: Path) -> None:
    space = small_space()
    model = random_network(space, space.smallest(), 1)
    feed, local, remote = random_feed(model, 1), FakeDevice(noise=0.0), device()
    with local.load(local.compile(model, precision=Precision.FP32, cache=tmp_path)) as here:
        outputs, samples = here.run(feed), here.sample(feed, count=5)
    program = remote.compile(model, precision=Precision.FP32, cache=tmp_path)
    with remote.load(program) as there:
        np.testing.assert_array_equal(there.run(feed)["output"], outputs["output"])
        np.testing.assert_array_equal(there.sample(feed, count=5), samples)
        visit = there.visit(feed, Timing(warmup_ms=0.0, samples_per_visit=4), None)
        assert visit.samples.tolist() == samples[:4].tolist()
        assert visit.wall_ns > 0
    facts = remote.facts()
    assert (dict(facts.identity), facts.simulated) == (dict(local.facts().identity), True)
    assert facts.context["transport"] == "ssh"
    machine, (process,) = remote.machine(), agents()
    assert machine.times().process == process.pid
    assert machine.available_memory() > 0
    assert [path.name for path in (cache / "models").iterdir()] == [f"{model.sha256}.onnx"]
    with pytest.raises(DeviceError, match="compiled by another device"), remote.load(Program("x", b"")):
        pass
    del remote, there, machine, program
    gc.collect()
    assert agents() == []


def test_what_was_loaded_is_loaded_again_after_the_link_broke(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    space = small_space()
    model = random_network(space, space.smallest(), 1)
    feed, remote = random_feed(model, 1), device()
    with remote.load(remote.compile(model, precision=Precision.FP32, cache=tmp_path)) as there:
        before = there.sample(feed, count=3)
        assert kill_agents() == 1
        np.testing.assert_array_equal(there.sample(feed, count=3), before)
        assert kill_agents() == 1
        with pytest.raises(LinkLostError, match="the link to board"):
            there.visit(feed, Timing(), None)
        assert there.visit(feed, Timing(), 3).samples.size == 3
        assert kill_agents() == 1
    assert "Connecting again" in caplog.text


def test_a_profile_goes_on_when_the_agent_is_killed_at_any_moment(
    tiny_space: SearchSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SshTarget, "agent_command", lambda self: Here().agent_command())
    rounds, samples = 100, 4
    timing = TimingSpec(
        warmup_ms=0.0, samples_per_visit=samples, min_rounds=rounds, max_rounds=rounds,
        target_interval_percent=0.001, networks=8,
    )  # fmt: skip
    spec = DeviceSpec(
        name="far", adapter="simulated", transport="ssh", ssh=SshSpec(host="board"), timing=timing
    )  # fmt: skip
    killed, done = 0, threading.Event()

    def lines() -> int:
        return sum(path.read_bytes().count(b"\n") for path in tmp_path.rglob("*.journal"))

    def kill() -> None:
        nonlocal killed
        while killed < 5 and not done.is_set():
            seen = lines()
            while lines() < seen + 3 and not done.wait(0.001):
                pass
            killed += kill_agents()

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        _, table = profile(tiny_space, spec, workspace=tmp_path)
    finally:
        done.set()
        thread.join()
    assert killed == 5
    assert {piece.total for piece in table.pieces.values()} == {rounds * samples}
    assert {anchor.measurement.total for anchor in table.anchors} == {rounds * samples}
    assert len(table.runs) > 1  # each process that measured is a run of its own; some died before, in scouting
    assert table.simulated


def with_rail(root: Path) -> str:
    """An agent on a board that takes 5 W, as the kernel shows it in ``root``."""
    folder = root / "bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3"
    folder.mkdir(parents=True)
    for name, text in {"in1_label": "VDD_IN", "in1_input": "5000", "curr1_input": "1000"}.items():
        (folder / name).write_text(f"{text}\n", encoding="utf-8")
    return f"""
from functools import partial
from pathlib import Path
from binas_deploy.remote import agent
agent.find_sensor = partial(agent.find_sensor, Path({str(root)!r}))
{AGENT}"""


def test_energy_is_read_where_the_network_runs(tiny_space: SearchSpace, tmp_path: Path) -> None:
    device = RemoteDevice(Here(with_rail(tmp_path / "sys")), "simulated", 1, {})
    spec = DeviceSpec(name="far", adapter="simulated", transport="ssh", ssh=SshSpec(host="board"))
    sensor = energy_sensor(spec, device)
    assert sensor.name == "INA3221 rail VDD_IN"
    assert sensor.least_seconds >= 0.5
    archs = {network_key(tiny_space, arch): arch for arch in (tiny_space.smallest(), tiny_space.largest())}
    models = {key: network_model(tiny_space, arch, 1) for key, arch in archs.items()}
    timing = EnergyTiming(seconds=0.001, least_calls=5)
    with open_subjects(device, models) as subjects:
        found = measure_energy(subjects, sensor, timing=timing, rng=np.random.default_rng(0))
    assert all(len(row) == timing.rounds and min(row) > 0 for row in found.values())


def test_energy_counted_over_a_link_that_broke_is_not_believed(tmp_path: Path) -> None:
    device = RemoteDevice(Here(with_rail(tmp_path / "sys")), "simulated", 1, {})
    with device.sensor() as sensor:
        assert sensor.joules() >= 0
        assert kill_agents()
        device.facts()  # connects again
        with pytest.raises(LinkLostError, match="the link broke while energy was counted"):
            sensor.joules()


def test_a_board_without_a_sensor_says_so(tmp_path: Path) -> None:
    spec = DeviceSpec(name="far", adapter="simulated", transport="ssh", ssh=SshSpec(host="board"))
    with pytest.raises(DeviceError, match=r"device 'far': energy is not measured: .*Provider 'simulated'"):
        energy_sensor(spec, RemoteDevice(Here(), "simulated", 1, {}))


def test_what_programs_were_made_with_comes_along(tmp_path: Path) -> None:
    keeping = """
from binas_deploy.testing.fake_device import FakeDevice
FakeDevice.artefacts = lambda self: {"timing.cache": bytes(range(256)), "log": b""}
"""
    device = RemoteDevice(Here(keeping + AGENT), "simulated", 1, {})
    assert device.artefacts() == {"timing.cache": bytes(range(256)), "log": b""}
    assert RemoteDevice(Here(), "simulated", 1, {}).artefacts() == {}


def test_a_file_that_would_lie_elsewhere_is_refused() -> None:
    hostile = """
from binas_deploy.testing.fake_device import FakeDevice
from binas_deploy.remote import messages
from typing import Any
class Loose(messages.Message):
    type: str = "artefacts"
    sizes: dict[str, Any]
from binas_deploy.remote import agent
agent.ArtefactsReply = Loose
FakeDevice.artefacts = lambda self: {"x/../../../evil": b"1"}
"""
    with pytest.raises(DeviceError, match="sizes"):
        RemoteDevice(Here(hostile + AGENT), "simulated", 1, {}).artefacts()


def test_opening_contacts_nobody() -> None:
    spec = DeviceSpec(name="far", adapter="nobody-knows", transport="ssh", ssh=SshSpec(host="nowhere.invalid"))
    assert isinstance(open_device(spec), RemoteDevice)


def sending(message: dict[str, object]) -> str:
    head = encode(Frame(message))
    return f"out.write({head!r})"


HOSTILE = {
    "text instead of frames": "out.write(b'HTTP/1.1 200 OK' * 9)",
    "too large": "out.write(b'\\xff' * 8)",
    "an unknown reply": sending({"type": "shell"}),
    "another reply": sending({"type": "done"}),
    "more fields": sending({"type": "welcome", "protocol": 1, "version": "", "x": 1}),
}


@pytest.mark.parametrize("code", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_agents_are_left(code: str, others: set[psutil.Process]) -> None:
    begun = Here(f"{GREETING}sys.stdin.buffer.read(9); {code}; out.flush(); sys.stdin.read()")
    with pytest.raises(ProtocolError, match=r"board \(here\) does not keep to the protocol"):
        Connection(begun)
    assert set(psutil.Process().children()) <= others


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (GREETING.replace("1\\n'", "1\\nmore'") + "sys.stdin.read()", "before it was asked"),
        (GREETING + "sys.stdin.buffer.read(9); out.write(bytes(5)); out.flush(); sys.stdin.read()", "no agent has"),
        ("print('binas-deploy agent, protocol 99')", "speaks protocol 99, this tool 1.*devices setup board"),
        ("print('Welcome to Board OS')", r"exit 0\) before an answer came.*printed 'Welcome to Board OS' instead"),
        ("print('x' * 100000)", "no agent has answered.*printed 'xxx"),
        ("import time; time.sleep(60)", "no agent has answered"),
        ("import sys; sys.exit('Traceback: no module')", r"exit 1\).*Traceback: no module"),
        ("import sys; sys.exit(127)", "there is no agent in .*devices setup board"),
    ],
    ids=["goes on", "stops halfway", "newer", "noise", "much noise", "silent", "fails", "absent"],
)
def test_what_does_not_greet_is_explained(
    code: str, message: str, monkeypatch: pytest.MonkeyPatch, others: set[psutil.Process]
) -> None:
    monkeypatch.setattr(connection, "_GREETING_SECONDS", 1.0)
    with pytest.raises(BinasError, match=message):
        Connection(Here(code))
    assert set(psutil.Process().children()) <= others


def test_noise_of_a_shell_before_the_greeting_is_skipped_and_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        found = RemoteDevice(
            Here(f"print('Last login: \\x1b[1mtoday\\x1b[0m', flush=True)\n{AGENT}"), "simulated", 1, {}
        )
        assert isinstance(found.facts(), DeviceFacts)
    assert "prints on stdout before the agent speaks" in caplog.text
    assert "Last login" in caplog.text
    assert "\x1b" not in caplog.text


def test_stray_prints_of_a_runtime_do_not_reach_the_frames() -> None:
    code = AGENT.replace("main()\n", "", 1).replace("from binas_deploy.cli.main import main", "") + (
        "\nfrom binas_deploy.testing import fake_device\n"
        "def facts(self, old=fake_device.FakeDevice.facts):\n    print('stray', flush=True)\n    return old(self)\n"
        "fake_device.FakeDevice.facts = facts\nfrom binas_deploy.cli.main import main\nmain()\n"
    )
    found = Connection(Here(code.replace("\nmain()\n", "\n", code.count("\nmain()\n") - 1)))
    from binas_deploy.remote.messages import Done, Open

    found.ask(Open(adapter="simulated", threads=1, options={}, precision="fp32"), Done)
    assert found.ask(AskFacts(), FactsReply)[0].simulated
    found.close()


@dataclass
class FakeSession:
    alive: bool = True
    closed: int = 0

    def close(self) -> None:
        self.alive = False
        self.closed += 1


@dataclass
class Breaking:
    """An action that loses the link the first ``times``."""

    times: int
    seen: list[FakeSession] = field(default_factory=list)

    def __call__(self, session: FakeSession) -> int:
        self.seen.append(session)
        if len(self.seen) <= self.times:
            raise LinkLostError("lost")
        return 7


def test_an_action_is_done_again_on_a_new_session() -> None:
    action = Breaking(2)
    assert Link(FakeSession).do(action) == 7
    assert len({id(session) for session in action.seen}) == 3
    assert [session.closed for session in action.seen] == [1, 1, 0]


@pytest.mark.parametrize(("again", "tries"), [(True, 3), (False, 1)])
def test_an_action_that_always_loses_the_link_ends(again: bool, tries: int) -> None:
    action = Breaking(99)
    with pytest.raises(LinkLostError):
        Link(FakeSession).do(action, again=again)
    assert len(action.seen) == tries


def beginning(failures: list[Exception]) -> Callable[[], FakeSession]:
    def begin() -> FakeSession:
        if failures:
            raise failures.pop(0)
        return FakeSession()

    return begin


def test_a_machine_that_was_lost_is_looked_for_ever_less_often() -> None:
    failures: list[Exception] = []
    waits: list[float] = []
    found = Link(beginning(failures), waits.append)
    found.do(lambda session: None)
    failures += [Unreachable("off")] * 7
    assert found.do(Breaking(1)) == 7
    assert waits == [1, 2, 4, 8, 16, 20, 20]


def test_a_machine_is_not_waited_for_at_first_nor_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    with pytest.raises(Unreachable):
        Link(beginning([Unreachable("off")]), waits.append).do(Breaking(0))
    assert waits == []
    monkeypatch.setattr(link, "RECONNECT_SECONDS", 0.5)
    failures: list[Exception] = []
    found = Link(beginning(failures), waits.append)
    found.do(lambda session: None)
    failures += [Unreachable("off")] * 9
    with pytest.raises(Unreachable):
        found.do(Breaking(1))


def test_a_fault_that_waiting_does_not_mend_ends_it_at_once() -> None:
    failures: list[Exception] = []
    waits: list[float] = []
    found = Link(beginning(failures), waits.append)
    found.do(lambda session: None)
    failures.append(EnvironmentFault("the host key changed"))
    with pytest.raises(EnvironmentFault):
        found.do(Breaking(1))
    assert waits == []


def test_what_only_a_lost_session_needs_is_not_done() -> None:
    found, action = Link(FakeSession), Breaking(1)
    first = found.do(lambda session: session)
    found.do_in(first, action)
    found.do_in(first, action)
    assert len(action.seen) == 1
