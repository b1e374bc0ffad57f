"""A board by TVM's RPC tracker: tracker and server as their users start them, on loopback."""

from __future__ import annotations

import gc
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from binas_deploy.adapters.base import Precision, Program
from binas_deploy.adapters.tvm.device import TvmDevice
from binas_deploy.errors import DeviceError
from binas_deploy.model import OUTPUT_NAME
from binas_deploy.testing.networks import random_feed, random_network, small_space

tvm: Any = pytest.importorskip("tvm")
pytest.importorskip("tornado")
KEY = "loopback"
SECONDS = 60


def device(tracker: str, key: str = KEY, linker: str = "") -> TvmDevice:
    target = f"llvm -mcpu={tvm.target.codegen.llvm_get_system_cpu()}"
    return TvmDevice(1, target=target, tracker=tracker, key=key, linker=linker)


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    address = f"127.0.0.1:{port}"
    folder = tmp_path_factory.mktemp("rpc")
    started = [
        start(folder, "tracker", "--host", "127.0.0.1", "--port", str(port), "--port-end", str(port + 1)),
        start(folder, "server", "--host", "127.0.0.1", "--tracker", address, "--key", KEY),
    ]
    try:
        wait_for(address)
        yield address
    finally:
        gc.collect()
        for process in started:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def start(folder: Path, part: str, *arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", f"tvm.exec.rpc_{part}", *arguments]
    with (folder / part).open("wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, cwd=folder)


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def wait_for(address: str) -> None:
    end = time.monotonic() + SECONDS
    while not registered(address):
        assert time.monotonic() < end, "the server did not register in time"
        time.sleep(0.3)


def registered(address: str) -> bool:
    try:
        device(address).facts()
    except DeviceError:
        return False
    return True


@pytest.mark.parametrize("linker", ["", "g++"])
def test_there_and_back(tracker: str, linker: str, tmp_path: Path) -> None:
    """Linked by the server, and here."""
    space, remote = small_space(), device(tracker, linker=linker)
    model = random_network(space, space.smallest(), 1)
    feed = random_feed(model, 1)
    (given,) = ReferenceEvaluator(onnx.load_model_from_string(model.payload)).run(None, dict(feed))
    expected = np.asarray(given)
    program = remote.compile(model, precision=Precision.FP32, cache=tmp_path)
    with remote.load(program) as executable:
        found = executable.run(feed)[OUTPUT_NAME]
        samples = executable.sample(feed, count=5)
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()
    assert samples.shape == (5,)
    assert (samples > 0).all()


def test_facts_tell_the_board(tracker: str) -> None:
    first, second = (device(tracker) for _ in range(2))  # a server serves one session: both share it
    identity = first.facts().identity
    assert identity == second.facts().identity
    assert identity["device_model"] == f"{KEY} ({tvm.target.codegen.llvm_get_system_cpu()})"
    assert f"rpc={KEY}" in identity["provider_options"]


def test_what_is_no_program_is_refused(tracker: str) -> None:
    with pytest.raises(DeviceError, match="TVM cannot load model"), device(tracker).load(Program("0" * 64, b"no")):
        pass


def test_no_such_board_and_no_tracker(tracker: str) -> None:
    with pytest.raises(DeviceError, match=f"no server of key 'other' .there: {KEY}"):
        device(tracker, key="other").facts()
    with pytest.raises(DeviceError, match=r"no RPC tracker answers at 127\.0\.0\.1:"):
        device(f"127.0.0.1:{free_port()}").facts()
