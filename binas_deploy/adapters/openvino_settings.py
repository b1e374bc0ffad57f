"""What OpenVINO is told, and whether it keeps to it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from binas_deploy.adapters.base import Precision
from binas_deploy.errors import DeviceError, InputError

_TARGETS: Final = re.compile(r"best|CPU|GPU(\.\d+)?|NPU")
_HINTS: Final = ("LATENCY", "THROUGHPUT")
_ARITHMETICS: Final = {
    Precision.FP32: ("f32",),
    Precision.FP16: ("f16", "bf16"),
    Precision.INT8: ("f32", "f16", "bf16"),
}
"""In which numbers a device may compute, by the precision that its file states; the first is the default.

With int8 they are those of what is not quantised.
"""
_CAPABILITIES: Final = {"f32": "FP32", "f16": "FP16", "bf16": "BF16"}
_INT8: Final = "INT8"
_STREAMED: Final = ("CPU", "GPU")
_KEY_DIGITS: Final = 16


@dataclass(frozen=True)
class OpenVinoSettings:
    """``hint`` is 'LATENCY' or 'THROUGHPUT', ``streams`` the inferences at a time that a CPU or GPU is divided for.

    ``inference_precision`` is 'f32', 'f16' or 'bf16', '' for that of ``precision``: f32 for fp32 and int8 (where it is
    that of what is not quantised), f16 for fp16.

    Raises:
        InputError: no threads or streams, an unknown target or hint, or a precision that is not of this file's.
    """

    threads: int
    target: str = "CPU"
    hint: str = "LATENCY"
    streams: int = 1
    inference_precision: str = ""
    model_cache: bool = False
    precision: Precision = Precision.FP32

    def __post_init__(self) -> None:
        if self.threads < 1 or self.streams < 1:
            raise InputError(f"threads = {self.threads}, streams = {self.streams}: a device runs at least 1 of each.")
        if self.hint not in _HINTS:
            raise InputError(f"hint = {self.hint!r}: OpenVINO has {' and '.join(_HINTS)}.")
        if not _TARGETS.fullmatch(self.target):
            raise InputError(f"target = {self.target!r}: give CPU, GPU, GPU.1 (and so on), NPU, or best.")
        allowed = _ARITHMETICS[self.precision]
        if self.arithmetic not in allowed:
            stated = f'with precision = "{self.precision.value}" it is {" or ".join(allowed)}'
            raise InputError(f"inference_precision = {self.inference_precision!r}: {stated}.")

    @property
    def arithmetic(self) -> str:
        """In which numbers the target computes: 'f32', 'f16' or 'bf16'."""
        return self.inference_precision or _ARITHMETICS[self.precision][0]

    def facts(self) -> dict[str, object]:
        """What a latency depends on."""
        stated: dict[str, object] = {"hint": self.hint, "precision": self.arithmetic, "streams": self.streams}
        # A network from the cache was not seen to be slower for certain, nor for certain not to be.
        return stated | ({"model_cache": 1} if self.model_cache else {})

    def properties(self, target: str) -> dict[str, str]:
        """As OpenVINO takes them."""
        properties = {"PERFORMANCE_HINT": self.hint, "INFERENCE_PRECISION_HINT": self.arithmetic}
        if target.partition(".")[0] in _STREAMED:
            properties["NUM_STREAMS"] = str(self.streams)
        return properties | ({"INFERENCE_NUM_THREADS": str(self.threads)} if target == "CPU" else {})

    def cache_folder(self, cache: Path, target: str, made_by: Mapping[str, str]) -> Path:
        """Where compiled models are kept: another folder for whatever else may compile otherwise."""
        text = json.dumps({"target": target, **self.properties(target), **made_by}, sort_keys=True)
        return cache / "openvino" / hashlib.sha256(text.encode()).hexdigest()[:_KEY_DIGITS]

    def require_had(self, target: str, capabilities: Sequence[str]) -> None:
        """Refuse numbers that a target does not compute in.

        Raises:
            InputError: says which it has.
        """
        int8 = [_INT8] if self.precision is Precision.INT8 else []
        if not {_CAPABILITIES[self.arithmetic], *int8}.issubset(capabilities):
            has = ", ".join(name for name in (*_CAPABILITIES.values(), *int8) if name in capabilities)
            raise InputError(
                f"precision '{self.precision.value}' ({self.arithmetic}): OpenVINO's {target} here computes in "
                f"{has or 'none of ours'}. Change 'precision' in the device's file."
            )

    def require_kept(self, compiled: Any, target: str) -> None:
        """Refuse a compiled model that runs on something else, or in other numbers, than it was told.

        Raises:
            DeviceError: says what it does instead.
        """
        runs_on = [str(name) for name in compiled.get_property("EXECUTION_DEVICES")]
        if any(name.partition(".")[0] != target.partition(".")[0] for name in runs_on):
            raise DeviceError(f"target {target} asked, it would run on {', '.join(runs_on)}.")
        if "INFERENCE_PRECISION_HINT" not in compiled.get_property("SUPPORTED_PROPERTIES"):
            return
        if (numbers := compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()) != self.arithmetic:
            raise DeviceError(f"{self.arithmetic} asked, it would compute in {numbers}.")
