"""The agent over bytes in memory: what it answers, and that hostile requests do nothing."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from binas_deploy import __version__
from binas_deploy.adapters.registry import ADAPTERS, Adapter
from binas_deploy.errors import (
    BinasError,
    DeviceError,
    DocumentError,
    EnvironmentFault,
    InputError,
    LinkLostError,
    MissingExtraError,
)
from binas_deploy.model import OnnxModel
from binas_deploy.remote.agent import Agent, serve
from binas_deploy.remote.arrays import packed, unpacked, unpacked_samples
from binas_deploy.remote.faults import error_of, failed
from binas_deploy.remote.frames import PROTOCOL, Frame, ProtocolError, Stream, encode
from binas_deploy.remote.kept_models import KeptModels
from binas_deploy.remote.messages import (
    AskFacts,
    AskMachine,
    AskVisit,
    Compile,
    Done,
    Failed,
    GiveFeed,
    GiveModel,
    Hello,
    Load,
    Message,
    Missing,
    Numbered,
    Open,
    Outputs,
    Reply,
    Run,
    Sample,
    Samples,
    Unload,
    VisitReply,
    Welcome,
    reply_of,
)
from binas_deploy.testing.fake_device import FakeDevice
from binas_deploy.testing.networks import random_feed, random_network, small_space
from binas_deploy.visit import Timing

pytestmark = pytest.mark.usefixtures("fake_adapter")
HELLO = Hello(protocol=PROTOCOL, version=__version__).frame()
OPEN = Open(adapter="simulated", threads=2, options={"noise": 0.5}, precision="fp32").frame()
FEED = "f" * 64


@pytest.fixture(scope="module")
def model() -> OnnxModel:
    space = small_space()
    return random_network(space, space.smallest(), 1)


def compile_frame(model: OnnxModel, precision: Any = "fp32") -> Frame:
    sizes = list(model.input_shape), list(model.output_shape)
    return Compile(model=model.sha256, precision=precision, input_shape=sizes[0], output_shape=sizes[1]).frame()


def given(model: OnnxModel) -> list[Frame]:
    """What loads the model as number 1 and gives it inputs."""
    arrays, body = packed(random_feed(model, 1))
    return [
        HELLO,
        OPEN,
        GiveModel(model=model.sha256).frame(model.payload),
        compile_frame(model),
        Load(program=0).frame(),
        GiveFeed(feed=FEED, arrays=arrays).frame(body),
    ]


def converse(cache: Path, *frames: Frame, more: bytes = b"") -> tuple[list[tuple[Reply, bytes]], ProtocolError | None]:
    """What the agent replied to the frames, and what ended it."""
    source, sent, ended = io.BytesIO(b"".join(map(encode, frames)) + more), io.BytesIO(), None
    try:
        serve(Stream(source.read, sent.write), cache)
    except ProtocolError as error:
        ended = error
    sent.seek(0)
    stream = Stream(sent.read, sent.write)
    replies = []
    while (frame := stream.receive()) is not None:
        replies.append((reply_of(frame), frame.body))
    return replies, ended


def test_a_conversation(model: OnnxModel, tmp_path: Path) -> None:
    feed = random_feed(model, 1)
    arrays, body = packed(feed)
    timing = Timing(warmup_ms=0.0, samples_per_visit=5)
    replies, ended = converse(
        tmp_path,
        *given(model),
        Run(executable=1, arrays=arrays).frame(body),
        Sample(executable=1, feed=FEED, count=7).frame(),
        AskVisit.of(1, FEED, None, timing).frame(),
        AskVisit.of(1, FEED, 3, timing).frame(),
        Unload(executable=1).frame(),
        AskFacts().frame(),
        AskMachine().frame(),
    )
    assert ended is None
    kinds = [type(reply) for reply, _ in replies[:11]]
    assert kinds == [Welcome, Done, Done, Numbered, Numbered, Done, Outputs, Samples, VisitReply, VisitReply, Done]
    outputs, found = replies[6]
    assert isinstance(outputs, Outputs)
    device = FakeDevice()
    with device.load(device.compile(model, precision=_fp32(), cache=tmp_path)) as executable:
        expected = executable.run(feed)
    np.testing.assert_array_equal(unpacked(outputs.arrays, found)["output"], expected["output"])
    assert [unpacked_samples(replies[index][1], None).size for index in (7, 8, 9)] == [7, 5, 3]
    facts, machine = (reply.model_dump() for reply, _ in replies[11:])
    assert (facts["identity"]["threads"], facts["simulated"]) == ("2", True)
    assert facts["context"] == {"agent_version": __version__}
    assert machine["process"] == os.getpid()


def test_a_model_crosses_once_and_is_kept_by_its_hash(model: OnnxModel, tmp_path: Path) -> None:
    first, _ = converse(tmp_path, HELLO, OPEN, compile_frame(model), *given(model)[2:4])
    assert [type(reply) for reply, _ in first[2:]] == [Missing, Done, Numbered]
    again, _ = converse(tmp_path, HELLO, OPEN, compile_frame(model))
    assert isinstance(again[2][0], Numbered)
    (kept,) = (tmp_path / "models").iterdir()
    assert kept.read_bytes() == model.payload
    kept.write_bytes(model.payload[:-1])
    damaged, _ = converse(tmp_path, HELLO, OPEN, compile_frame(model))
    assert isinstance(damaged[2][0], Missing)
    assert not kept.exists()


def test_old_models_make_room(tmp_path: Path) -> None:
    kept, payloads = KeptModels(tmp_path, most_bytes=250), [bytes([number]) * 100 for number in range(4)]
    names = [hashlib.sha256(payload).hexdigest() for payload in payloads]
    for number, (name, payload) in enumerate(zip(names[:2], payloads[:2], strict=True)):
        kept.add(name, payload)
        os.utime(tmp_path / f"{name}.onnx", (number, number))
    assert kept.get(names[0]) == payloads[0]  # used just now
    kept.add(names[2], payloads[2])
    assert [kept.get(name) is not None for name in names] == [True, False, True, False]


HOSTILE = [
    Frame({"type": "shell", "command": "true"}),
    Frame({}),
    Frame({"type": 7}),
    Frame({"type": "facts", "more": 1}),
    Frame({"type": "open", "adapter": "simulated", "threads": "2", "precision": "fp32", "options": {}}),
    Frame({"type": "open", "adapter": "simulated", "threads": 2, "precision": "fp32", "options": {"a": [1]}}),
    Frame({"type": "load", "program": -1}),
    Frame({"type": "load", "program": True}),
    Frame({"type": "give-model", "model": "../../../etc/passwd"}, b"x"),
    Frame({"type": "give-model", "model": "0" * 64 + "\n"}, b"x"),
    Frame({"type": "sample", "executable": 1, "feed": FEED, "count": 10**9}),
    Frame({"type": "visit", "executable": 1, "feed": FEED, "count": 1, "warmup_ms": float("inf"),
           "samples_per_visit": 1, "visit_ms": 1.0, "period_ms": 0.0}),
    Frame({"type": "run", "executable": 1, "arrays": [{"name": "input", "shape": [2**31, 2**31, 2**31]}]}, b""),
    Frame({"type": "run", "executable": 1, "arrays": 2 * [{"name": "a", "shape": [1]}]}, bytes(8)),
    Frame({"type": "run", "executable": 1, "arrays": [{"name": "a", "shape": []}]}, b"abc"),
    GiveModel(model="0" * 64).frame(b"another model"),
    Load(program=99).frame(),
    Unload(executable=99).frame(),
    Sample(executable=1, feed="0" * 64, count=1).frame(),
    HELLO,
]  # fmt: skip


@pytest.mark.parametrize("frame", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_requests_end_it_and_do_nothing(frame: Frame, model: OnnxModel, tmp_path: Path) -> None:
    before = given(model)
    replies, ended = converse(tmp_path, *before, frame, GiveModel(model="1" * 64).frame(b"never reached"))
    assert ended is not None
    assert len(replies) == len(before) + 1
    last = replies[-1][0]
    assert isinstance(last, Failed)
    assert (last.error, len(last.message) < 600) == ("DeviceError", True)
    assert [path.name for path in (tmp_path / "models").iterdir()] == [f"{model.sha256}.onnx"]


@pytest.mark.parametrize("more", [b"\x00", b"\xff" * 8, b"ssh-2.0-client\r\n", encode(AskFacts().frame())[:-1]])
def test_bytes_that_are_no_frame_end_it(more: bytes, tmp_path: Path) -> None:
    replies, ended = converse(tmp_path, HELLO, OPEN, more=more)
    assert ended is not None
    assert [type(reply) for reply, _ in replies] == [Welcome, Done, Failed]


@pytest.mark.parametrize("first", [OPEN, Hello(protocol=PROTOCOL + 1, version="9").frame(), Frame({"type": "hello"})])
def test_nothing_is_done_for_who_does_not_greet_in_this_protocol(first: Frame, tmp_path: Path) -> None:
    replies, ended = converse(tmp_path, first, OPEN)
    assert ended is not None
    assert [type(reply) for reply, _ in replies] == [Failed]


def test_nothing_is_done_before_a_device_is_open(model: OnnxModel, tmp_path: Path) -> None:
    for frame in (AskFacts().frame(), compile_frame(model)):
        KeptModels(tmp_path / "models").add(model.sha256, model.payload)
        _, ended = converse(tmp_path, HELLO, frame)
        assert ended is not None
        assert "no device was opened" in str(ended)


def test_what_fails_is_told_and_the_conversation_goes_on(model: OnnxModel, tmp_path: Path) -> None:
    broken = OnnxModel(b"no model", (1,), (1,))
    replies, ended = converse(
        tmp_path,
        HELLO,
        Open(adapter="magic", threads=1, options={}, precision="fp32").frame(),
        OPEN,
        compile_frame(broken, "fp16"),
        GiveModel(model=broken.sha256).frame(broken.payload),
        compile_frame(broken, "fp16"),
        compile_frame(broken),
        Load(program=0).frame(),
        AskFacts().frame(),
    )
    assert ended is None
    told = [reply.error for reply, _ in replies if isinstance(reply, Failed)]
    assert told == ["InputError", "InputError", "DeviceError"]


def test_all_is_freed_at_the_end(model: OnnxModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    freed: list[int] = []

    class Counting(FakeDevice):
        @contextlib.contextmanager
        def load(self, program: Any) -> Iterator[Any]:
            with super().load(program) as executable:
                yield executable
            freed.append(1)
            raise DeviceError("fails at the end")

    monkeypatch.setattr("binas_deploy.testing.fake_device.FakeDevice", Counting)
    converse(tmp_path, *given(model), Load(program=0).frame(), Frame({"type": "nonsense"}))
    assert len(freed) == 2


def test_errors_keep_their_class_and_name_the_host() -> None:
    for error in (InputError("a"), DocumentError("b"), EnvironmentFault("c"), DeviceError("d")):
        again = error_of(failed(error), "orin")
        assert (type(again), str(again)) == (type(error), f"orin: {error}")
    extra = error_of(failed(MissingExtraError("onnxruntime", "cpu", "This device")), "orin")
    assert isinstance(extra, MissingExtraError)
    assert str(extra).startswith("orin: This device needs the package 'onnxruntime'")
    assert type(error_of(failed(LinkLostError("x")), "orin")) is DeviceError
    assert "defect of binas-deploy: KeyError" in failed(KeyError("x")).message
    assert failed(MemoryError()).message == "out of memory."


def test_a_class_that_is_not_in_the_list_is_never_looked_up() -> None:
    for name in ("SystemExit", "KeyboardInterrupt", "os.system", "BinasError", ""):
        error = error_of(Failed(error=name, message="x\x1b[2J\x07" + "y" * 5000), "orin")
        assert type(error) is DeviceError
        assert "\x1b" not in str(error)
        assert len(str(error)) < 2100
    assert issubclass(DeviceError, BinasError)


@pytest.mark.parametrize("body", [b"", b"1234567", np.array([5, 0]).tobytes(), np.array([-5]).tobytes()])
def test_samples_that_cannot_be_are_refused(body: bytes) -> None:
    with pytest.raises(ProtocolError, match="latencies expected"):
        unpacked_samples(body, None)
    with pytest.raises(ProtocolError, match="3 latencies expected"):
        unpacked_samples(np.array([5, 5]).tobytes(), 3)


def test_other_arrays_than_float32_do_not_cross() -> None:
    with pytest.raises(InputError, match="'input' is float64"):
        packed({"input": np.zeros(3)})  # type: ignore[dict-item]


def test_a_missing_package_is_told_by_its_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ADAPTERS, "absent", Adapter("nowhere.to:BeFound", "nowhere_at_all", "cpu"))
    replies, _ = converse(tmp_path, HELLO, Open(adapter="absent", threads=1, options={}, precision="fp32").frame())
    assert isinstance(replies[1][0], Failed)
    assert replies[1][0].error == "MissingExtraError"


def test_every_message_says_its_type() -> None:
    types = [kind.model_fields["type"].default for kind in Message.__subclasses__() if "type" in kind.model_fields]
    assert all(types)


def _fp32() -> Any:
    from binas_deploy.adapters.base import Precision

    return Precision.FP32


def test_closing_twice_is_harmless(tmp_path: Path) -> None:
    agent = Agent(tmp_path)
    agent.close()
    agent.close()
