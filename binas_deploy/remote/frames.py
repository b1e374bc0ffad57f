"""Frames: how messages cross a pair of byte streams. What comes is read as if the other side were hostile.

A frame is two lengths (unsigned 32-bit, big-endian), then that many bytes of head and of body. The head is one msgpack
map, the message; the body is bytes that the message speaks of, such as a model or samples. A head is small, so that no
frame can unfold into much more than it is; a body is never unfolded.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgpack

from binas_deploy.errors import DeviceError, InputError

PROTOCOL: Final = 1
"""Of frames and messages; the two sides must agree."""
MAX_HEAD: Final = 2**16
MAX_BODY: Final = 2**28
_LENGTHS: Final = struct.Struct(">II")
_CHUNK: Final = 2**20
_MALFORMED: Final = (ValueError, TypeError, RecursionError, msgpack.exceptions.UnpackException)


class ProtocolError(DeviceError):
    """What the other side sent is no message of this protocol; nothing was done about it."""


class TruncatedError(ProtocolError):
    """The stream ended within a frame."""


@dataclass(frozen=True)
class Frame:
    """A message as a map, and the bytes that it speaks of."""

    head: Mapping[str, Any]
    body: bytes = b""


class Stream:
    """Frames over two functions: ``read(n)`` gives 1 to n bytes, none at the end; ``write`` takes all it is given."""

    def __init__(self, read: Callable[[int], bytes], write: Callable[[bytes], object]) -> None:
        self._read = read
        self._write = write

    def send(self, frame: Frame) -> None:
        """Write one frame.

        Raises:
            InputError: it is too large for the other side to accept.
            OSError: the stream is closed.
        """
        self._write(encode(frame))

    def receive(self) -> Frame | None:
        """The next frame; None where the stream ends between two.

        Raises:
            TruncatedError: it ends within one.
            ProtocolError: what comes is none.
            OSError: the stream broke.
        """
        begun = self._read(_LENGTHS.size)
        if not begun:
            return None
        head, body = _LENGTHS.unpack(begun + self._exactly(_LENGTHS.size - len(begun)))
        if head > MAX_HEAD or body > MAX_BODY:
            raise ProtocolError(
                f"a frame of {head} and {body} bytes was announced; at most {MAX_HEAD} and {MAX_BODY} are accepted."
            )
        return Frame(decode(self._exactly(head)), self._exactly(body))

    def _exactly(self, count: int) -> bytes:
        found = bytearray()  # grows with what comes: an announced length takes no memory
        while len(found) < count:
            piece = self._read(min(_CHUNK, count - len(found)))
            if not piece:
                raise TruncatedError(f"the stream ended within a frame, {len(found)} bytes into a part of {count}.")
            found += piece
        return bytes(found)


def encode(frame: Frame) -> bytes:
    """The bytes of a frame.

    Raises:
        InputError: the head or the body is too large.
    """
    head = msgpack.packb(frame.head, use_bin_type=True)
    if len(head) > MAX_HEAD or len(frame.body) > MAX_BODY:
        raise InputError(
            f"{len(head)} and {len(frame.body)} bytes are to be sent at once; the other side accepts {MAX_HEAD} and "
            f"{MAX_BODY}. Use a smaller network or batch."
        )
    return b"".join((_LENGTHS.pack(len(head), len(frame.body)), head, frame.body))


def decode(head: bytes) -> dict[str, Any]:
    """The map that a head holds.

    Raises:
        ProtocolError: it holds something else.
    """
    try:
        found = msgpack.unpackb(head, raw=False, strict_map_key=True, max_ext_len=0)
    except _MALFORMED as error:
        raise ProtocolError(f"a message that is not msgpack: {type(error).__name__}.") from error
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise ProtocolError(f"a message is a map with text as keys, found {type(found).__name__}.")
    return found
