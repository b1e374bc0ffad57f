"""Errors across a link: a fixed list of classes by name, and text. Nothing that a side sends is ever run."""

from __future__ import annotations

from typing import Final

from binas_deploy.errors import (
    BinasError,
    DeviceError,
    DocumentError,
    EnvironmentFault,
    InconclusiveError,
    InputError,
    MismatchError,
    MissingExtraError,
    NoOutputsError,
    NotMeasuredError,
)
from binas_deploy.remote.messages import Failed
from binas_deploy.remote.plain import plain

_CLASSES: Final[dict[str, type[BinasError]]] = {
    kind.__name__: kind
    for kind in (
        DeviceError,
        DocumentError,
        EnvironmentFault,
        InconclusiveError,
        InputError,
        MismatchError,
        MissingExtraError,
        NoOutputsError,
        NotMeasuredError,
    )
}


def failed(error: Exception) -> Failed:
    """The error as a message; one of no class in the list is the nearest that is, or a defect of the agent."""
    if isinstance(error, MemoryError):
        return Failed(error="DeviceError", message="out of memory.")
    if not isinstance(error, BinasError):
        defect = f"a defect of binas-deploy: {type(error).__name__}: {error}"
        return Failed(error="DeviceError", message=plain(defect))
    named = next((kind.__name__ for kind in type(error).__mro__ if kind.__name__ in _CLASSES), "DeviceError")
    return Failed(error=named, message=plain(str(error)))


def error_of(reply: Failed, host: str) -> BinasError:
    """The error that a reply tells of, with the host named. A class that is not in the list becomes a DeviceError."""
    kind = _CLASSES.get(reply.error, DeviceError)
    error = kind.__new__(kind)
    # Without the class's own __init__, which may compose the text anew.
    BinasError.__init__(error, f"{host}: {plain(reply.message)}")
    return error
