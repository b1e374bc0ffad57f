"""OpenVINO's own form of a network, IR: a text of its layers (``model.xml``) and their weights (``model.bin``).

As a program's payload both are one: `MAGIC`, the length of the text in 8 bytes (little-endian), the text, the weights.
"""

from __future__ import annotations

import io
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from binas_deploy.errors import DeviceError

MAGIC: Final = b"binas-deploy openvino ir 1\n"
TEXT_NAME: Final = "model.xml"
WEIGHTS_NAME: Final = "model.bin"
_LENGTH_BYTES: Final = 8


def packed(text: bytes, weights: bytes) -> bytes:
    """Text and weights as one payload."""
    return MAGIC + len(text).to_bytes(_LENGTH_BYTES, "little") + text + weights


def unpacked(payload: bytes) -> tuple[bytes, bytes]:
    """The inverse of `packed`: text and weights.

    Raises:
        DeviceError: the payload is cut short.
    """
    begin = len(MAGIC) + _LENGTH_BYTES
    end = begin + int.from_bytes(payload[len(MAGIC) : begin], "little")
    if len(payload) < begin or len(payload) < end:
        raise DeviceError("this OpenVINO IR is cut short. Export the network again.")
    return payload[begin:end], payload[end:]


def read(core: Any, payload: bytes) -> Any:
    """OpenVINO's model of a payload: packed IR, or an ONNX model as it is.

    Raises:
        DeviceError: packed IR that is cut short.
        Exception: OpenVINO's own: it cannot read it.
    """
    if payload.startswith(MAGIC):
        return core.read_model(*unpacked(payload))
    return core.read_model(io.BytesIO(payload))


def converted(package: Any, payload: bytes) -> tuple[bytes, bytes]:
    """An ONNX model as IR: text and weights, these as they are (OpenVINO would round them to fp16 unless told not to).

    Raises:
        Exception: OpenVINO's own: it cannot read or write it.
    """
    model = package.Core().read_model(io.BytesIO(payload))
    with TemporaryDirectory(prefix="binas-deploy-") as folder:
        path = Path(folder, TEXT_NAME)
        package.save_model(model, str(path), compress_to_fp16=False)
        return path.read_bytes(), path.with_name(WEIGHTS_NAME).read_bytes()
