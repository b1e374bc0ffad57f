"""Reads CIFAR-10's published Python batches without unpickling: nothing in the file is ever called.

A batch is a dictionary of plain text, small integers and one uint8 array of shape (images, 3072). Its opcodes are
listed with `pickletools`, which executes none of them: the integers after the key 'labels' are the labels, the one
string as long as the array is the array. Anything else in the file is passed over.
"""

from __future__ import annotations

import pickletools
from typing import Final

import numpy as np

from binas_deploy.data.base import Split
from binas_deploy.errors import DocumentError

_INTEGERS: Final = frozenset({"BININT", "BININT1", "BININT2", "INT", "LONG1"})
_PIXELS: Final = 3 * 32 * 32


def read_python_batch(payload: bytes, count: int, name: str) -> Split:
    """The ``count`` images and labels of one batch; ``name`` is named in errors.

    Raises:
        DocumentError: not such a batch.
    """
    try:
        pixels, labels, by_column = _scan(payload, count * _PIXELS)
        rows = np.frombuffer(pixels, np.uint8).reshape((count, _PIXELS), order="F" if by_column else "C")
        return Split(rows.reshape(count, 3, 32, 32).copy(), np.array(labels, np.int64).reshape(count))
    except (ValueError, OverflowError, IndexError) as error:
        raise DocumentError(f"{name}: not a CIFAR-10 batch of {count} images ({error}).") from error


def _scan(payload: bytes, length: int) -> tuple[bytes, list[int], bool]:
    key, pixels, by_column = "", b"", False
    labels: list[int] = []
    for opcode, argument, _ in pickletools.genops(payload):
        if isinstance(argument, (str, bytes)) and len(argument) == length:
            pixels = argument.encode("latin-1") if isinstance(argument, str) else argument
        elif isinstance(argument, str):
            key = argument
        elif opcode.name in _INTEGERS and key == "labels" and argument is not None:
            labels.append(argument)
        elif not pixels and opcode.name in ("NEWTRUE", "NEWFALSE"):  # the flag before the bytes: Fortran order or not
            by_column = opcode.name == "NEWTRUE"
    return pixels, labels, by_column
