"""A device on another machine: the device protocol over a link to the agent there.

What the agent has compiled and loaded is lost with the connection; it is made again when it is next needed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from binas_deploy.adapters.base import DeviceFacts, Feed, Option, Precision, PrecisionName, Program
from binas_deploy.adapters.registry import quantiser_of
from binas_deploy.errors import DeviceError
from binas_deploy.model import OnnxModel
from binas_deploy.quality import MachineTimes
from binas_deploy.remote.connection import Way
from binas_deploy.remote.link import Link
from binas_deploy.remote.messages import Open
from binas_deploy.remote.sensor import RemoteSensor
from binas_deploy.remote.session import AgentSession
from binas_deploy.visit import Timing, Visit


@dataclass(frozen=True)
class RemoteProgram(Program):
    """A model that an agent has compiled, with what it takes to compile it again."""

    model: OnnxModel = field(kw_only=True, repr=False)
    precision: Precision = field(kw_only=True)


class RemoteDevice:
    """The device of an adapter on the machine that ``way`` leads to. Nothing is contacted before it is asked something.

    The link ends when this object and all that came of it are gone, or with the process.
    """

    def __init__(
        self, way: Way, adapter: str, threads: int, options: Mapping[str, Option], precision: PrecisionName = "fp32"
    ) -> None:
        opening = Open(adapter=adapter, threads=threads, options=dict(options), precision=precision)
        self._label = way.label
        self._adapter = adapter
        self._link: Link[AgentSession] = Link(lambda: AgentSession(way, opening))

    @property
    def quantiser(self) -> str:
        """What the adapter says, here: networks are quantised before they are sent."""
        return quantiser_of(self._adapter)

    def facts(self) -> DeviceFacts:
        """What the device there says of itself.

        Raises:
            DeviceError, EnvironmentFault: it cannot be reached, or its runtime is absent.
        """
        found = self._link.do(AgentSession.facts)
        return DeviceFacts(found.identity, {**found.context, "transport": "ssh"}, found.simulated, tuple(found.advice))

    def machine(self) -> RemoteMachine:
        """The machine there, for whoever would look at this one."""
        return RemoteMachine(self._link)

    def artefacts(self) -> Mapping[str, bytes]:
        """Files to keep beside a table, such as a timing cache; none where the device there has none."""
        return self._link.do(AgentSession.artefacts)

    def sensor(self) -> RemoteSensor:
        """The sensor there of what the device uses.

        Raises:
            DeviceError, EnvironmentFault: there is none, or it cannot be read, and why.
        """
        return RemoteSensor(self._link)

    def compile(self, model: OnnxModel, *, precision: Precision, cache: Path) -> RemoteProgram:
        """Compile there; what is kept of it is kept there, and not in ``cache``.

        Raises:
            DeviceError: the device cannot take the model, or the link broke again and again.
            InputError: a precision that the adapter does not have.
        """
        self._link.do(lambda session: session.program(model, precision))
        return RemoteProgram(model.sha256, model.payload, model=model, precision=precision)

    @contextmanager
    def load(self, program: Program) -> Iterator[RemoteExecutable]:
        """Load there.

        Raises:
            DeviceError: the program is of another device, or cannot be loaded.
        """
        if not isinstance(program, RemoteProgram):
            raise DeviceError(f"{self._label}: a program that was compiled by another device cannot be loaded here.")
        executable = RemoteExecutable(self._link, program)
        try:
            yield executable
        finally:
            executable.close()


class RemoteExecutable:
    """A network that an agent has loaded."""

    def __init__(self, link: Link[AgentSession], program: RemoteProgram) -> None:
        self._link = link
        self._program = program
        self._at: tuple[AgentSession, int] | None = None
        self._named: tuple[Feed, str] | None = None
        self._link.do(self._number)

    def close(self) -> None:
        """Let the agent free it."""
        if self._at is not None:
            session, number = self._at
            self._at = None
            self._link.do_in(session, lambda present: present.unload(number))

    def run(self, feed: Feed) -> dict[str, NDArray[np.float32]]:
        """Outputs by name."""
        return self._link.do(lambda session: session.run(self._number(session), feed))

    def sample(self, feed: Feed, *, count: int) -> NDArray[np.int64]:
        """Latency of each of ``count`` back-to-back calls in ns, shape (count,), timed there."""
        return self._link.do(lambda session: session.sample(self._number(session), self._kept(session, feed), count))

    def visit(self, feed: Feed, timing: Timing, count: int | None) -> Visit:
        """A visit taken there, by the same code as here.

        Raises:
            LinkLostError: the link broke. The samples around are of another moment then, so it is not taken again.
            DeviceError: the device failed.
        """

        def visited(session: AgentSession) -> Visit:
            return session.visit(self._number(session), self._kept(session, feed), timing, count)

        return self._link.do(visited, again=False)

    def _number(self, session: AgentSession) -> int:
        if self._at is None or self._at[0] is not session:
            self._at = (session, session.load(self._program.model, self._program.precision))
        return self._at[1]

    def _kept(self, session: AgentSession, feed: Feed) -> str:
        if self._named is None or self._named[0] is not feed:
            self._named = (feed, _name_of(feed))
        session.give(self._named[1], feed)
        return self._named[1]


class RemoteMachine:
    """The machine at the other end of a link."""

    def __init__(self, link: Link[AgentSession]) -> None:
        self._link = link

    def times(self) -> MachineTimes:
        """Now."""
        now = self._link.do(AgentSession.machine)
        return MachineTimes(now.process, now.wall, now.own, now.busy)

    def timer_resolution_ns(self) -> int:
        """The steps of the clock that times calls there."""
        return self._link.do(AgentSession.machine).timer_resolution_ns

    def available_memory(self) -> int:
        """Bytes that programs there may still take."""
        return self._link.do(AgentSession.machine).available_memory


def _name_of(feed: Feed) -> str:
    hasher = hashlib.sha256()
    for name, array in feed.items():
        hasher.update(f"{name} {array.dtype} {array.shape} ".encode())
        hasher.update(np.ascontiguousarray(array).tobytes())
    return hasher.hexdigest()
