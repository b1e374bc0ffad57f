"""Remote devices over a real OpenSSH server on loopback."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from binas_deploy.adapters.base import Device
from binas_deploy.devices import DeviceSpec, SshSpec, TimingSpec, open_device
from binas_deploy.errors import EnvironmentFault
from binas_deploy.remote import wheel
from binas_deploy.remote.device import RemoteDevice
from binas_deploy.remote.setup import set_up
from binas_deploy.remote.ssh import SshTarget, Unreachable
from binas_deploy.space import SearchSpace
from binas_deploy.steps.profile import profile
from binas_deploy.testing.device_suite import DeviceSuite
from binas_deploy.testing.loopback_ssh import HOST, LoopbackSsh, loopback_ssh, missing_server

pytest.importorskip("onnxruntime")
WHY = missing_server()
pytestmark = pytest.mark.skipif(bool(WHY), reason=f"no ssh server: {WHY}")
ROOT = Path(__file__).resolve().parents[2]
ROUNDS, SAMPLES, CUTS = 60, 4, 10


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackSsh]:
    """Commands there see the packages of this interpreter but for this project, and pip gets nothing from elsewhere."""
    folder = tmp_path_factory.mktemp("ssh")
    environment = {
        "PYTHONPATH": str(_others(folder / "packages")),
        "BINAS_DEPLOY_CACHE": str(folder / "cache"),
        "PIP_NO_INDEX": "1",
        "OMP_NUM_THREADS": "1",
    }
    with loopback_ssh(folder, environment) as running, pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{running.bin}:{os.environ['PATH']}")
        agent = folder / "agent" / "bin"
        agent.mkdir(parents=True)
        (agent / "binas-deploy").write_text(
            f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\n"
            "from binas_deploy.cli.main import main\nmain()\n",
            encoding="utf-8",
        )
        (agent / "binas-deploy").chmod(0o755)
        yield running


def _others(folder: Path) -> Path:
    """Links to all packages of this interpreter, but for this project and pip's own."""
    folder.mkdir()
    seen = [*filter(None, os.environ.get("PYTHONPATH", "").split(":")), sysconfig.get_paths()["purelib"]]
    for path in (path for place in map(Path, seen) if place.resolve() != ROOT for path in place.iterdir()):
        ours = path.name.startswith(("binas", "_editable", "__", "pip", "setuptools")) or path.suffix == ".pth"
        if not ours and not (folder / path.name).exists():
            (folder / path.name).symlink_to(path)
    return folder


def target(server: LoopbackSsh) -> SshTarget:
    return SshTarget(HOST, agent=str(server.folder / "agent"), name="loop")


def spec(server: LoopbackSsh, name: str, **timing: Any) -> DeviceSpec:
    ssh = SshSpec(host=HOST, agent=str(server.folder / "agent"))
    return DeviceSpec(name=name, adapter="onnxruntime", transport="ssh", ssh=ssh, timing=TimingSpec(**timing))


@pytest.fixture(scope="module")
def connected(server: LoopbackSsh) -> RemoteDevice:
    return RemoteDevice(target(server), "onnxruntime", 1, {})


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder there for the agent; making its environment takes a while, so tests share it."""
    return tmp_path_factory.mktemp("there") / "agent"


def there(agent: Path) -> SshTarget:
    return SshTarget(HOST, python=sys.executable, agent=str(agent))


class TestOnnxRuntimeOverSsh(DeviceSuite):
    """The exam. One connection for all of it: a new one for each device would take a second more each time."""

    device: RemoteDevice

    @pytest.fixture(autouse=True)
    def _connected(self, connected: RemoteDevice) -> None:
        self.device = connected

    def make_device(self) -> Device:
        return self.device


def test_two_connections_find_the_same_device(server: LoopbackSsh) -> None:
    first, second = (open_device(spec(server, "loop")).facts() for _ in range(2))
    assert dict(first.identity) == dict(second.identity)
    assert not first.simulated
    assert first.context["transport"] == "ssh"


def fixed(networks: int) -> dict[str, Any]:
    return {
        "warmup_ms": 0.5, "samples_per_visit": SAMPLES, "min_rounds": ROUNDS, "max_rounds": ROUNDS,
        "target_interval_percent": 0.001, "networks": networks,
    }  # fmt: skip


def test_a_link_cut_ten_times_loses_and_repeats_nothing(
    server: LoopbackSsh, tiny_space: SearchSpace, tmp_path: Path
) -> None:
    cuts, done, chance = 0, threading.Event(), random.Random(7)
    journals: list[int] = []

    def lines() -> int:
        return sum(path.read_bytes().count(b"\n") for path in tmp_path.rglob("*.journal"))

    def cut() -> None:
        nonlocal cuts
        while cuts < CUTS and not done.is_set():
            # Not before it measures again, and then at any moment of the next rounds.
            seen, wanted = lines(), chance.randint(2, 4)
            while lines() < seen + wanted and not done.wait(0.002):
                pass
            time.sleep(chance.uniform(0, 0.05))
            journals.append(lines())
            cuts += server.cut() > 0

    thread = threading.Thread(target=cut)
    thread.start()
    try:
        _, table = profile(tiny_space, spec(server, "loop", **fixed(8)), workspace=tmp_path)
    finally:
        done.set()
        thread.join()
    assert cuts == CUTS
    assert journals == sorted(journals)
    measured = [*table.pieces.values(), *(anchor.measurement for anchor in table.anchors)]
    assert {measurement.total for measurement in measured} == {ROUNDS * SAMPLES}
    ids = [run.id for run in table.runs]
    assert ids == list(range(len(ids)))
    assert len(ids) >= 2 + CUTS // 2  # each process that measured is a run, two cuts may fall into one
    assert table.conditions.identity["runtime"] == "onnxruntime"


def test_several_devices_profile_at_the_same_time(server: LoopbackSsh, tiny_space_path: Path, tmp_path: Path) -> None:
    (tmp_path / "devices").mkdir()
    words = [f"{key} = {value}" for key, value in {**fixed(8), "min_rounds": 4, "max_rounds": 4}.items()]
    for name in ("one", "two"):
        (tmp_path / "devices" / f"{name}.toml").write_text(
            f'format = "binas-deploy/device"\nversion = 1\nname = "{name}"\nadapter = "onnxruntime"\n'
            f'transport = "ssh"\n[ssh]\nhost = "{HOST}"\nagent = "{server.folder}/agent"\n[timing]\n'
            + "\n".join(words),
            encoding="utf-8",
        )
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "binas_deploy", "profile", "--device", name, "--space", str(tiny_space_path), "-q"],
            cwd=tmp_path, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": _path()},
        )
        for name in ("one", "two")
    ]  # fmt: skip
    for process in running:
        _, said = process.communicate(timeout=200)
        assert process.returncode == 0, said
    assert len(list((tmp_path / "latency_tables").rglob("*.json"))) == 2


def test_a_host_key_that_is_not_known_is_refused_with_the_command_that_accepts_it(server: LoopbackSsh) -> None:
    known = server.known_hosts.read_text()
    server.known_hosts.write_text("", encoding="utf-8")
    try:
        with pytest.raises(EnvironmentFault, match=f"accept it with: ssh -o StrictHostKeyChecking=ask {HOST} true"):
            RemoteDevice(target(server), "onnxruntime", 1, {}).facts()
    finally:
        server.known_hosts.write_text(known, encoding="utf-8")


def test_what_cannot_be_reached_is_told(server: LoopbackSsh) -> None:
    with pytest.raises(Unreachable, match="Connection refused"):
        RemoteDevice(SshTarget(HOST, port=1), "onnxruntime", 1, {}).facts()
    with pytest.raises(EnvironmentFault, match=f"devices setup {HOST}"):
        RemoteDevice(SshTarget(HOST, agent=str(server.folder / "nowhere"), name=HOST), "onnxruntime", 1, {}).facts()


def test_setup_installs_once_and_says_what_is_there(server: LoopbackSsh, agent: Path) -> None:
    words = ["devices", "setup", HOST, "--python", sys.executable, "--agent", str(agent), "-q"]
    first = cli(*words)
    assert first.returncode == 0, first.stderr
    assert "installed, was not there" in first.stdout
    assert f'transport = "ssh"\n\n[ssh]\nhost = "{HOST}"' in first.stdout
    assert "onnxruntime " in first.stdout
    again = json.loads(cli(*words, "--json").stdout)
    assert again["before"] == again["agent"] == again["packages"]["binas-deploy"]
    assert again["identity"]["device_model"] in first.stdout


def test_setup_without_a_network_says_so_and_leaves_what_is_there(
    server: LoopbackSsh, agent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual, reached = set_up(there(agent), "onnxruntime", lambda text: None), there(agent)
    with monkeypatch.context() as patch:
        patch.setattr(wheel, "_fields", lambda: [("Requires-Dist", "needed-and-nowhere-to-be-had>=9")])
        with pytest.raises(EnvironmentFault, match="package index"):
            set_up(reached, "onnxruntime", lambda text: None)
    assert set_up(reached, "onnxruntime", lambda text: None).before == usual.version


def test_setup_says_what_python_is_missing(server: LoopbackSsh, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match="there is no python9"):
        set_up(SshTarget(HOST, python="python9", agent=str(tmp_path / "agent")), "onnxruntime", lambda text: None)
    assert list(tmp_path.iterdir()) == []


def cli(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "binas_deploy", *words], capture_output=True, text=True, check=False, timeout=200,
        env={**os.environ, "PYTHONPATH": _path()},
    )  # fmt: skip


def _path() -> str:
    return ":".join([str(ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(":"))])
