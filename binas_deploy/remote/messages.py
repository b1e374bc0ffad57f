"""The messages between a device's agent and those who ask it: one reply to each request. Fields are checked strictly.

`Hello` and `Welcome` keep their form in all protocols, so that any two versions can tell that they do not agree.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from binas_deploy.adapters.base import Option, PrecisionName
from binas_deploy.documents import shown
from binas_deploy.remote.frames import Frame, ProtocolError
from binas_deploy.remote.plain import PlainText
from binas_deploy.visit import Timing

_T = TypeVar("_T")

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Suffix = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,31}$")]
"""Of a file's name: no way out of a folder."""
_Number = Annotated[int, Field(ge=0, le=2**63 - 1)]
_Count = Annotated[int, Field(ge=1, le=1_000_000)]
_Shape = Annotated[list[Annotated[int, Field(ge=0, le=2**31)]], Field(max_length=8)]
_Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Message(BaseModel):
    """What all have in common."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    def frame(self, body: bytes = b"") -> Frame:
        """The message with the bytes that it speaks of."""
        return Frame(self.model_dump(), body)


class ArrayHead(Message):
    """One float32 array of a body, in which they follow one another."""

    name: Annotated[str, Field(max_length=200)]
    shape: _Shape


_Arrays = Annotated[list[ArrayHead], Field(max_length=64)]


class Hello(Message):
    """Who asks; the first message."""

    type: Literal["hello"] = "hello"
    protocol: int
    version: str


class Open(Message):
    """The device to work with."""

    type: Literal["open"] = "open"
    adapter: str
    threads: int
    options: dict[str, Option]
    precision: PrecisionName


class AskFacts(Message):
    """What the device says of itself."""

    type: Literal["facts"] = "facts"


class AskMachine(Message):
    """How the machine is now."""

    type: Literal["machine"] = "machine"


class AskArtefacts(Message):
    """What the device's programs were made with."""

    type: Literal["artefacts"] = "artefacts"


class AskSensor(Message):
    """The sensor of what the device uses, opened; one that was open is closed."""

    type: Literal["sensor"] = "sensor"


class AskJoules(Message):
    """What the sensor has counted."""

    type: Literal["joules"] = "joules"


class CloseSensor(Message):
    """Let go of the sensor."""

    type: Literal["close-sensor"] = "close-sensor"


class Compile(Message):
    """A model that the agent has in its cache, else it answers `Missing`."""

    type: Literal["compile"] = "compile"
    model: Sha256
    precision: PrecisionName
    input_shape: _Shape
    output_shape: _Shape


class GiveModel(Message):
    """A model to keep; it is the body."""

    type: Literal["give-model"] = "give-model"
    model: Sha256


class GiveFeed(Message):
    """Inputs to keep as long as the connection lasts, by the name that they will go by."""

    type: Literal["give-feed"] = "give-feed"
    feed: Sha256
    arrays: _Arrays


class Load(Message):
    """A compiled program."""

    type: Literal["load"] = "load"
    program: _Number


class Unload(Message):
    """What was loaded."""

    type: Literal["unload"] = "unload"
    executable: _Number


class Run(Message):
    """One call on the inputs in the body."""

    type: Literal["run"] = "run"
    executable: _Number
    arrays: _Arrays


class Sample(Message):
    """Timed calls on inputs given before."""

    type: Literal["sample"] = "sample"
    executable: _Number
    feed: Sha256
    count: _Count


class AskVisit(Message):
    """A visit as `take_visit` takes it; of the timing, what concerns one visit."""

    type: Literal["visit"] = "visit"
    executable: _Number
    feed: Sha256
    count: _Count | None
    warmup_ms: _Amount
    samples_per_visit: _Count
    visit_ms: _Amount
    period_ms: _Amount

    @classmethod
    def of(cls, executable: int, feed: str, count: int | None, timing: Timing) -> AskVisit:
        """That of a loaded network."""
        return cls(
            executable=executable,
            feed=feed,
            count=count,
            warmup_ms=timing.warmup_ms,
            samples_per_visit=timing.samples_per_visit,
            visit_ms=timing.visit_ms,
            period_ms=timing.period_ms,
        )

    def timing(self) -> Timing:
        """The inverse of `of`."""
        return Timing(
            warmup_ms=self.warmup_ms,
            samples_per_visit=self.samples_per_visit,
            visit_ms=self.visit_ms,
            period_ms=self.period_ms,
        )


class Welcome(Message):
    """Who answers; the reply to `Hello`."""

    type: Literal["welcome"] = "welcome"
    protocol: int
    version: PlainText


class Done(Message):
    """It was done, and there is nothing to say about it."""

    type: Literal["done"] = "done"


class FactsReply(Message):
    """`DeviceFacts`."""

    type: Literal["facts"] = "facts"
    identity: dict[PlainText, PlainText]
    context: dict[PlainText, PlainText]
    simulated: bool
    advice: Annotated[list[PlainText], Field(max_length=32)]


class MachineReply(Message):
    """`MachineTimes`, and what else a `Machine` tells."""

    type: Literal["machine"] = "machine"
    process: _Number
    wall: _Amount
    own: _Amount
    busy: _Amount | None
    timer_resolution_ns: _Number
    available_memory: _Number


class ArtefactsReply(Message):
    """Bytes of each artefact by suffix; they follow one another in the body."""

    type: Literal["artefacts"] = "artefacts"
    sizes: Annotated[dict[Suffix, _Number], Field(max_length=16)]


class SensorReply(Message):
    """`EnergySensor`."""

    type: Literal["sensor"] = "sensor"
    name: PlainText
    least_seconds: _Amount


class JoulesReply(Message):
    """Since some moment."""

    type: Literal["joules"] = "joules"
    joules: _Amount


class Missing(Message):
    """The model is not in the agent's cache: give it."""

    type: Literal["missing"] = "missing"


class Numbered(Message):
    """What was compiled or loaded goes by this number from now on."""

    type: Literal["numbered"] = "numbered"
    number: _Number


class Outputs(Message):
    """Outputs in the body."""

    type: Literal["outputs"] = "outputs"
    arrays: _Arrays


class Samples(Message):
    """Latencies in the body, int64 ns."""

    type: Literal["samples"] = "samples"


class VisitReply(Message):
    """A `Visit`, its samples in the body."""

    type: Literal["visit"] = "visit"
    wall_ns: _Number
    cpu_ns: _Number


class Failed(Message):
    """An error of one of the classes in `faults`."""

    type: Literal["failed"] = "failed"
    error: Annotated[str, Field(max_length=64)]
    message: Annotated[str, Field(max_length=8000)]


Request = (
    Hello
    | Open
    | AskFacts
    | AskMachine
    | AskArtefacts
    | AskSensor
    | AskJoules
    | CloseSensor
    | Compile
    | GiveModel
    | GiveFeed
    | Load
    | Unload
    | Run
    | Sample
    | AskVisit
)
Reply = (
    Welcome
    | Done
    | FactsReply
    | MachineReply
    | ArtefactsReply
    | SensorReply
    | JoulesReply
    | Missing
    | Numbered
    | Outputs
    | Samples
    | VisitReply
    | Failed
)
_REQUESTS: Final[TypeAdapter[Request]] = TypeAdapter(Annotated[Request, Field(discriminator="type")])
_REPLIES: Final[TypeAdapter[Reply]] = TypeAdapter(Annotated[Reply, Field(discriminator="type")])


def request_of(frame: Frame) -> Request:
    """The request in a frame. Raises ProtocolError where there is none."""
    return _checked(_REQUESTS, frame)


def reply_of(frame: Frame) -> Reply:
    """The reply in a frame. Raises ProtocolError where there is none."""
    return _checked(_REPLIES, frame)


def _checked(adapter: TypeAdapter[_T], frame: Frame) -> _T:
    try:
        return adapter.validate_python(dict(frame.head))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "type"
        raise ProtocolError(f"a malformed message: {where}: {first['msg']} ({shown(frame.head)}).") from error
