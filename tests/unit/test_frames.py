"""Frames cross as they are, and hostile bytes do nothing but end the conversation."""

from __future__ import annotations

import contextlib
import io
import struct
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from binas_deploy.errors import InputError
from binas_deploy.remote.frames import (
    MAX_BODY,
    MAX_HEAD,
    Frame,
    ProtocolError,
    Stream,
    TruncatedError,
    decode,
    encode,
)

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
    | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
HEADS = st.dictionaries(st.text(max_size=12), VALUES, max_size=6)


def reading(data: bytes, at_most: int = 2**30) -> Stream:
    """A stream whose reads give no more than ``at_most`` bytes at once."""
    source = io.BytesIO(data)
    return Stream(lambda count: source.read(min(count, at_most)), lambda data: None)


@given(frames=st.lists(st.builds(Frame, HEADS, st.binary(max_size=300)), max_size=4), at_most=st.integers(1, 40))
def test_frames_arrive_as_they_were_sent(frames: list[Frame], at_most: int) -> None:
    stream = reading(b"".join(map(encode, frames)), at_most)
    assert [stream.receive() for _ in frames] == frames
    assert stream.receive() is None


@given(data=st.binary(max_size=200))
def test_any_bytes_are_frames_an_end_or_refused(data: bytes) -> None:
    stream = reading(data)
    with contextlib.suppress(ProtocolError):
        while stream.receive() is not None:
            pass


@given(head=st.binary(max_size=100))
def test_any_head_is_a_map_or_refused(head: bytes) -> None:
    try:
        found = decode(head)
    except ProtocolError:
        return
    assert all(isinstance(key, str) for key in found)


def test_a_frame_cut_anywhere_is_told() -> None:
    whole = encode(Frame({"type": "x"}, b"body"))
    assert reading(b"").receive() is None
    for length in range(1, len(whole)):
        with pytest.raises(TruncatedError, match="ended within a frame"):
            reading(whole[:length]).receive()


@pytest.mark.parametrize("lengths", [(MAX_HEAD + 1, 0), (0, MAX_BODY + 1), (2**32 - 1, 2**32 - 1)])
def test_nothing_is_read_of_what_is_announced_too_large(lengths: tuple[int, int]) -> None:
    source = io.BytesIO(struct.pack(">II", *lengths) + bytes(100))
    with pytest.raises(ProtocolError, match="announced"):
        Stream(source.read, lambda data: None).receive()
    assert source.tell() == 8


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\xc1",
        b"GET / HTTP/1.1\r\n",
        msgpack.packb([1, 2]),
        msgpack.packb({1: 2}),
        msgpack.packb({b"type": 2}),
        msgpack.packb({"a": 1}) + b"\x00",
        msgpack.packb({"a": msgpack.ExtType(5, b"x")}),
        msgpack.packb({"a": msgpack.Timestamp(1)}),
        b"\x81\xa1a" + b"\x91" * 60_000 + b"\xc0",
        b"\xdf\xff\xff\xff\xff",
        b"\xdd\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xffx",
        b"\x81\xa1a\xa2\xff\xfe",
    ],
    ids=[
        "nothing", "reserved", "text", "list", "number as key", "bytes as key", "more after it", "extension",
        "timestamp", "deep", "endless map", "endless list", "endless text", "no utf-8",
    ],
)  # fmt: skip
def test_heads_that_are_no_message_are_refused(head: bytes) -> None:
    with pytest.raises(ProtocolError, match="a message"):
        reading(struct.pack(">II", len(head), 0) + head).receive()


@pytest.mark.parametrize("frame", [Frame({"a": "x" * MAX_HEAD}), Frame({}, bytes(MAX_BODY + 1))], ids=["head", "body"])
def test_what_the_other_side_would_refuse_is_not_sent(frame: Frame) -> None:
    sent: list[Any] = []
    with pytest.raises(InputError, match="sent at once"):
        Stream(lambda count: b"", sent.append).send(frame)
    assert sent == []
