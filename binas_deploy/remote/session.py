"""A session with an agent: the device protocol in messages, on one connection."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from binas_deploy.adapters.base import Feed, Precision
from binas_deploy.model import OnnxModel
from binas_deploy.remote.arrays import packed, unpacked, unpacked_parts, unpacked_samples
from binas_deploy.remote.connection import Connection, Way
from binas_deploy.remote.frames import ProtocolError
from binas_deploy.remote.messages import (
    ArtefactsReply,
    AskArtefacts,
    AskFacts,
    AskJoules,
    AskMachine,
    AskSensor,
    AskVisit,
    CloseSensor,
    Compile,
    Done,
    FactsReply,
    GiveFeed,
    GiveModel,
    JoulesReply,
    Load,
    MachineReply,
    Missing,
    Numbered,
    Open,
    Outputs,
    Run,
    Sample,
    Samples,
    SensorReply,
    Unload,
    VisitReply,
)
from binas_deploy.visit import Timing, Visit


class AgentSession:
    """A connection on which a device is open, and what the agent has by which number."""

    def __init__(self, way: Way, opening: Open) -> None:
        self._connection = Connection(way)
        self._programs: dict[tuple[str, Precision], int] = {}
        self._feeds: set[str] = set()
        try:
            self._connection.ask(opening, Done)
        except BaseException:
            self.close()
            raise

    @property
    def alive(self) -> bool:
        """Whether it can still be used."""
        return self._connection.alive

    def close(self) -> None:
        """End it; the agent frees what it has loaded."""
        self._connection.close()

    def facts(self) -> FactsReply:
        """Of the device."""
        return self._connection.ask(AskFacts(), FactsReply)[0]

    def machine(self) -> MachineReply:
        """How it is now."""
        return self._connection.ask(AskMachine(), MachineReply)[0]

    def artefacts(self) -> Mapping[str, bytes]:
        """What its programs were made with, by suffix."""
        reply, body = self._connection.ask(AskArtefacts(), ArtefactsReply)
        return unpacked_parts(reply.sizes, body)

    def sensor(self) -> SensorReply:
        """The sensor of energy there, opened."""
        return self._connection.ask(AskSensor(), SensorReply)[0]

    def joules(self) -> float:
        """What that sensor has counted."""
        return self._connection.ask(AskJoules(), JoulesReply)[0].joules

    def close_sensor(self) -> None:
        """Let go of it."""
        self._connection.ask(CloseSensor(), Done)

    def program(self, model: OnnxModel, precision: Precision) -> int:
        """The number of a compiled model; it is sent where the agent does not have it."""
        key = (model.sha256, precision)
        if key not in self._programs:
            self._programs[key] = self._compiled(model, precision)
        return self._programs[key]

    def _compiled(self, model: OnnxModel, precision: Precision) -> int:
        asked = Compile(
            model=model.sha256,
            precision=precision.value,
            input_shape=list(model.input_shape),
            output_shape=list(model.output_shape),
        )
        reply, _ = self._connection.ask_any(asked)
        if isinstance(reply, Missing):
            self._connection.ask(GiveModel(model=model.sha256), Done, model.payload)
            reply, _ = self._connection.ask_any(asked)
        if not isinstance(reply, Numbered):
            raise ProtocolError(f"{self._connection.way.label} keeps no model that it is given.")
        return reply.number

    def load(self, model: OnnxModel, precision: Precision) -> int:
        """The number of a loaded network."""
        return self._connection.ask(Load(program=self.program(model, precision)), Numbered)[0].number

    def unload(self, executable: int) -> None:
        """Free it."""
        self._connection.ask(Unload(executable=executable), Done)

    def give(self, name: str, feed: Feed) -> None:
        """Inputs to be kept, where they are not there yet."""
        if name not in self._feeds:
            arrays, body = packed(feed)
            self._connection.ask(GiveFeed(feed=name, arrays=arrays), Done, body)
            self._feeds.add(name)

    def run(self, executable: int, feed: Feed) -> dict[str, NDArray[np.float32]]:
        """Outputs by name."""
        arrays, body = packed(feed)
        reply, found = self._connection.ask(Run(executable=executable, arrays=arrays), Outputs, body)
        return unpacked(reply.arrays, found)

    def sample(self, executable: int, feed: str, count: int) -> NDArray[np.int64]:
        """Latencies (count,) in ns."""
        _, found = self._connection.ask(Sample(executable=executable, feed=feed, count=count), Samples)
        return unpacked_samples(found, count)

    def visit(self, executable: int, feed: str, timing: Timing, count: int | None) -> Visit:
        """A visit taken there."""
        reply, found = self._connection.ask(AskVisit.of(executable, feed, count, timing), VisitReply)
        return Visit(unpacked_samples(found, count), reply.wall_ns, reply.cpu_ns)
