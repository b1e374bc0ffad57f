"""Whether a device works: a small network is run on it, in a process of its own.

That a package is installed, or lists a provider, says only how it was built. A driver that is missing or broken shows
when something runs, and may take the process with it or never answer: so it is another one, with a limit of time.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

from binas_deploy.adapters.base import Precision
from binas_deploy.devices import DeviceSpec, device_conditions, open_device
from binas_deploy.errors import BinasError
from binas_deploy.quantisers.for_timing import as_compiled
from binas_deploy.testing.networks import random_feed, random_network, small_space

LIMIT_S: Final = 300.0
"""Building an engine takes minutes on some boards, for a small network too."""
_CALLS: Final = 5


@dataclass(frozen=True)
class Trial:
    """``works``: an inference ran; ``said``: on what, or why not; ``seconds``: from opening the device to its answer.

    ``latency_ns``: the least of a few calls, 0 where none ran. It shows that something ran, and measures nothing.
    """

    works: bool
    said: str
    seconds: float
    latency_ns: int = 0

    def to_json(self) -> dict[str, Any]:
        """The document form."""
        return asdict(self)


def try_device(spec: DeviceSpec, limit_s: float = LIMIT_S) -> Trial:
    """Run a small network on the device, in a new process that gets at most ``limit_s`` seconds."""
    context, begin = multiprocessing.get_context("spawn"), time.monotonic()
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(spec, sending), daemon=True)
    process.start()
    sending.close()
    try:
        # A pipe that its only writer has left gives EOFError: the process died.
        if receiving.poll(limit_s):
            found: Trial = receiving.recv()
            return found
        return Trial(False, f"no answer within {limit_s:.0f} s", time.monotonic() - begin)
    except EOFError:
        process.join()
        return Trial(False, f"its process died with exit code {process.exitcode}", time.monotonic() - begin)
    finally:
        process.kill()
        process.join()
        receiving.close()


def _answer(spec: DeviceSpec, sending: Connection) -> None:
    sending.send(trial(spec))
    sending.close()


def trial(spec: DeviceSpec) -> Trial:
    """The same in this process."""
    begin = time.monotonic()
    try:
        said, latency_ns = _ran(spec)
    except BinasError as error:
        return Trial(False, str(error), time.monotonic() - begin)
    return Trial(True, said, time.monotonic() - begin, latency_ns)


def _ran(spec: DeviceSpec) -> tuple[str, int]:
    """(what it ran on, the least latency of a few calls in ns)."""
    space = small_space()
    model = random_network(space, space.largest(), 0, batch=spec.batch)
    device = open_device(spec)
    facts = device.facts()
    identity = device_conditions(spec, facts).identity
    feed = random_feed(model, 0)
    with tempfile.TemporaryDirectory() as cache:
        precision = Precision(spec.precision)
        given = as_compiled(device, model, precision, Path(cache))
        program = device.compile(given, precision=precision, cache=Path(cache))
        with device.load(program) as executable:
            latency_ns = int(executable.sample(feed, count=_CALLS).min())
    marked = "recorded or simulated, not run: " if facts.simulated else ""
    named = f"{identity['device_model']} by {identity['runtime']} {identity['runtime_version']}"
    return f"{marked}{named}, {identity['provider']}", latency_ns
