"""The agent: it serves the device protocol over a pair of byte streams, on the machine that networks run on.

One request at a time, in one thread. It opens no port: whoever started it holds its other ends. All that it loaded is
freed when the stream ends.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from binas_deploy import __version__
from binas_deploy.adapters.base import Device, Executable, Feed, KeepsArtefacts, Precision, Program
from binas_deploy.adapters.registry import make_device
from binas_deploy.energy import EnergySensor, find_sensor
from binas_deploy.errors import InputError
from binas_deploy.model import OnnxModel
from binas_deploy.quality import ThisMachine
from binas_deploy.remote.arrays import packed, packed_samples, unpacked
from binas_deploy.remote.faults import failed
from binas_deploy.remote.frames import PROTOCOL, Frame, ProtocolError, Stream
from binas_deploy.remote.kept_models import KeptModels
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
    Hello,
    JoulesReply,
    Load,
    MachineReply,
    Missing,
    Numbered,
    Open,
    Outputs,
    Request,
    Run,
    Sample,
    Samples,
    SensorReply,
    Unload,
    VisitReply,
    Welcome,
    request_of,
)
from binas_deploy.visit import checked_samples, take_visit

GREETING: Final = b"binas-deploy agent, protocol %d\n"
"""Said before any frame, so that what a login shell prints before it can be told apart."""


def serve(stream: Stream, cache: Path) -> None:
    """Answer requests until the stream ends. Models and what adapters keep are in ``cache``.

    Raises:
        ProtocolError: what came is no request. The other side is told, and nothing was done about it.
        OSError: the stream broke.
    """
    agent = Agent(cache)
    try:
        _agree(stream)
        while (frame := stream.receive()) is not None:
            _send(stream, _answered(agent, frame))
    except ProtocolError as error:
        with contextlib.suppress(OSError):
            stream.send(failed(error).frame())
        raise
    finally:
        agent.close()


def _agree(stream: Stream) -> None:
    """Nothing is answered before both sides are known to speak the same protocol."""
    frame = stream.receive()
    if frame is None:
        return
    hello = request_of(frame)
    if not isinstance(hello, Hello) or hello.protocol != PROTOCOL:
        found = f"protocol {hello.protocol}" if isinstance(hello, Hello) else f"'{hello.type}'"
        raise ProtocolError(f"the agent speaks protocol {PROTOCOL} and was greeted with {found}.")
    stream.send(Welcome(protocol=PROTOCOL, version=__version__).frame())


def _answered(agent: Agent, frame: Frame) -> Frame:
    request = request_of(frame)
    try:
        return agent.answer(request, frame.body)
    except ProtocolError:
        raise
    except Exception as error:  # noqa: BLE001  whatever it is, the other side has to know
        return failed(error).frame()


def _send(stream: Stream, reply: Frame) -> None:
    try:
        stream.send(reply)
    except InputError as error:  # it is too large; nothing of it was sent
        stream.send(failed(error).frame())


@dataclass
class _Loaded:
    executable: Executable
    stack: contextlib.ExitStack


class Agent:
    """What one connection has opened, compiled and loaded, by number."""

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._models = KeptModels(cache / "models")
        self._opened: Device | None = None
        self._programs: list[Program] = []
        self._loaded: dict[int, _Loaded] = {}
        self._loads = 0
        self._feeds: dict[str, Feed] = {}
        self._machine = ThisMachine()
        self._sensor: EnergySensor | None = None

    def close(self) -> None:
        """Free everything."""
        while self._loaded:
            _, loaded = self._loaded.popitem()
            with contextlib.suppress(Exception):  # the next one is to be freed whatever this one does
                loaded.stack.close()
        self._close_sensor()

    def answer(self, request: Request, body: bytes) -> Frame:
        """The reply to a request.

        Raises:
            ProtocolError: it makes no sense here.
            BinasError: it failed.
        """
        match request:
            case Open():
                self._opened = make_device(request.adapter, request.threads, request.options, request.precision)
                return Done().frame()
            case AskFacts():
                return self._facts()
            case AskMachine():
                return self._machine_now()
            case AskArtefacts():
                return self._artefacts()
            case AskSensor():
                return self._open_sensor()
            case AskJoules():
                return JoulesReply(joules=self._open().joules()).frame()
            case CloseSensor():
                self._close_sensor()
                return Done().frame()
            case Compile():
                return self._compile(request)
            case GiveModel():
                self._models.add(request.model, body)
                return Done().frame()
            case GiveFeed():
                self._feeds[request.feed] = unpacked(request.arrays, body)
                return Done().frame()
            case Load():
                return self._load(request)
            case Unload():
                self._of(request.executable)
                self._loaded.pop(request.executable).stack.close()
                return Done().frame()
            case Run():
                arrays, outputs = packed(self._of(request.executable).run(unpacked(request.arrays, body)))
                return Outputs(arrays=arrays).frame(outputs)
            case Sample():
                return self._sample(request)
            case AskVisit():
                return self._visit(request)
            case Hello():
                raise ProtocolError("a second greeting.")

    def _device(self) -> Device:
        if self._opened is None:
            raise ProtocolError("no device was opened.")
        return self._opened

    def _of(self, number: int) -> Executable:
        if number not in self._loaded:
            raise ProtocolError(f"nothing is loaded under the number {number}.")
        return self._loaded[number].executable

    def _feed(self, name: str) -> Feed:
        if name not in self._feeds:
            raise ProtocolError(f"no inputs {name[:12]} were given.")
        return self._feeds[name]

    def _facts(self) -> Frame:
        facts = self._device().facts()
        context = {**facts.context, "agent_version": __version__}
        return FactsReply(
            identity=dict(facts.identity), context=context, simulated=facts.simulated, advice=list(facts.advice)
        ).frame()

    def _machine_now(self) -> Frame:
        now = self._machine.times()
        return MachineReply(
            process=now.process,
            wall=now.wall,
            own=now.own,
            busy=now.busy,
            timer_resolution_ns=self._machine.timer_resolution_ns(),
            available_memory=self._machine.available_memory(),
        ).frame()

    def _artefacts(self) -> Frame:
        device = self._device()
        found = device.artefacts() if isinstance(device, KeepsArtefacts) else {}
        sizes = {suffix: len(content) for suffix, content in found.items()}
        return ArtefactsReply(sizes=sizes).frame(b"".join(found.values()))

    def _open_sensor(self) -> Frame:
        self._close_sensor()
        identity = self._device().facts().identity
        sensor = find_sensor(provider=identity.get("provider", ""), model=identity.get("device_model", ""))
        sensor.__enter__()  # it stays open from one request to the next; `_close_sensor` leaves it
        self._sensor = sensor
        return SensorReply(name=sensor.name, least_seconds=sensor.least_seconds).frame()

    def _open(self) -> EnergySensor:
        if self._sensor is None:
            raise ProtocolError("no sensor is open.")
        return self._sensor

    def _close_sensor(self) -> None:
        if self._sensor is not None:
            sensor, self._sensor = self._sensor, None
            sensor.__exit__(None, None, None)

    def _compile(self, request: Compile) -> Frame:
        payload = self._models.get(request.model)
        if payload is None:
            return Missing().frame()
        model = OnnxModel(payload, tuple(request.input_shape), tuple(request.output_shape))
        cache = self._cache / "compiled"
        self._programs.append(self._device().compile(model, precision=Precision(request.precision), cache=cache))
        return Numbered(number=len(self._programs) - 1).frame()

    def _load(self, request: Load) -> Frame:
        if request.program >= len(self._programs):
            raise ProtocolError(f"no program has the number {request.program}.")
        with contextlib.ExitStack() as stack:
            executable = stack.enter_context(self._device().load(self._programs[request.program]))
            self._loads += 1
            self._loaded[self._loads] = _Loaded(executable, stack.pop_all())
        return Numbered(number=self._loads).frame()

    def _sample(self, request: Sample) -> Frame:
        feed, executable = self._feed(request.feed), self._of(request.executable)
        samples = checked_samples(executable, feed, request.count, f"network {request.executable}")
        return Samples().frame(packed_samples(samples))

    def _visit(self, request: AskVisit) -> Frame:
        feed, executable = self._feed(request.feed), self._of(request.executable)
        visit = take_visit(executable, feed, request.timing(), request.count, f"network {request.executable}")
        return VisitReply(wall_ns=visit.wall_ns, cpu_ns=visit.cpu_ns).frame(packed_samples(visit.samples))
