"""Which version of ONNX a model is written in: the newest that its runtime reads, of those that this tool writes.

A model is stamped with an *opset* (what its operators mean) and an *IR version* (how the file is laid out). The
operators that `binas_deploy.graph` writes mean the same from opset 14, which brought HardSwish, to 20. Runtimes refuse
what is newer than they are, so older ones get an older stamp:

- ONNX Runtime: "ONNX opset support" of its compatibility page.
- TensorRT: "Supported ONNX Operators" of onnx-tensorrt: up to 17 in 8.6, up to 20 in 10.0.
- The IR version of an opset: ONNX, "Versioning"; an older one is read by all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from binas_deploy.errors import InputError

OLDEST_OPSET: Final = 14
NEWEST_OPSET: Final = 20
_IR: Final = {14: 7, 15: 8, 16: 8, 17: 8, 18: 8, 19: 9, 20: 9}
_Version = tuple[int, int]
_READS: Final[dict[str, tuple[tuple[_Version, int], ...]]] = {
    "onnxruntime": (
        ((1, 8), 14),
        ((1, 9), 15),
        ((1, 11), 16),
        ((1, 12), 17),
        ((1, 14), 18),
        ((1, 15), 19),
        ((1, 17), 20),
        ((1, 18), 21),
    ),
    "tensorrt": (((8, 6), 17), ((10, 0), 20), ((11, 0), 25)),
}
"""From which version on a runtime reads models up to which opset."""
_NEW_LAYOUT: Final = {"onnxruntime": (1, 18), "tensorrt": (10, 0)}
"""From which version on a runtime reads IR version 10."""


@dataclass(frozen=True)
class OnnxVersion:
    """``opset`` of the operators and ``ir`` of the file.

    Raises:
        InputError: an opset that networks cannot be written in.
    """

    opset: int = NEWEST_OPSET
    ir: int = 10

    def __post_init__(self) -> None:
        if not OLDEST_OPSET <= self.opset <= NEWEST_OPSET:
            raise InputError(f"ONNX opset {self.opset}: networks are written in {OLDEST_OPSET} to {NEWEST_OPSET}.")


NEWEST: Final = OnnxVersion()


def version_for(runtime: str, runtime_version: str) -> OnnxVersion:
    """What a runtime of that version reads; the newest where nothing is known of the runtime or its version.

    ``runtime`` and ``runtime_version`` are as device facts state them ('onnxruntime', '1.23').

    Raises:
        InputError: it is too old for any network of ours.
    """
    number = re.match(r"(\d{1,6})\.(\d{1,6})", runtime_version)
    rows = _READS.get(runtime, ())
    if number is None or not rows:
        return NEWEST
    found = (int(number[1]), int(number[2]))
    opsets = [opset for since, opset in rows if since <= found]
    if not opsets:
        oldest = ".".join(map(str, rows[0][0]))
        raise InputError(
            f"{runtime} {runtime_version} reads no ONNX opset from {OLDEST_OPSET} on, as far as is known, and networks "
            f"are written in no older one. Use {runtime} {oldest} or newer."
        )
    opset = min(opsets[-1], NEWEST_OPSET)
    return NEWEST if found >= _NEW_LAYOUT[runtime] else OnnxVersion(opset, _IR[opset])
