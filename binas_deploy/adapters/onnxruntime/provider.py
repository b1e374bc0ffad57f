"""Execution providers: what each has to be told so that it does what a device file says, and no more.

A provider has defaults of its own, some of which change the arithmetic: OpenVINO computes in bf16 where the CPU has it,
CUDA in TF32. So what a device file states (threads, precision) is always spelled out here, in the provider's own words,
unless the file's ``provider_options`` say otherwise; the identity has all of it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from binas_deploy.adapters.base import Precision
from binas_deploy.errors import InputError

CPU: Final = "CPUExecutionProvider"
CUDA: Final = "CUDAExecutionProvider"
TENSORRT: Final = "TensorrtExecutionProvider"
RTX: Final = "NvTensorRTRTXExecutionProvider"
OPENVINO: Final = "OpenVINOExecutionProvider"
NVIDIA: Final = (CUDA, TENSORRT, RTX)
_HALF: Final = (TENSORRT, OPENVINO)
"""Providers that run an fp32 model in fp16 when told to; the others run a model as it is."""
_OVERRIDE: Final = "NVIDIA_TF32_OVERRIDE"
"""NVIDIA's libraries leave TF32 off where this is 0, TensorRT among them, which has no option for it."""


@dataclass(frozen=True)
class Provider:
    """The provider ``name`` with its own ``options``, as text.

    ``library``: the plug-in that has it, '' where it is built in; ``hardware``: which of a plug-in's devices, such as
    'gpu' or 'gpu:1', '' for its first.
    """

    name: str
    options: Mapping[str, str]
    library: str = ""
    hardware: str = ""

    @property
    def index(self) -> int:
        """Which of several accelerators, as providers count them."""
        number = self.options.get("device_id") or self.hardware.partition(":")[2] or "0"
        return int(number) if number.isdigit() else 0

    @property
    def facts(self) -> dict[str, str]:
        """What a latency depends on: the options, and what the environment says to NVIDIA's libraries."""
        said = os.environ.get(_OVERRIDE, "") if self.name in NVIDIA else ""
        return {f"provider.{key}": value for key, value in self.options.items()} | ({_OVERRIDE: said} if said else {})

    @property
    def kind(self) -> str:
        """What it computes on: 'cpu', 'nvidia', 'gpu', 'npu', or '' where only ONNX Runtime knows."""
        if self.name in NVIDIA:
            return "nvidia"
        if self.name == OPENVINO:
            return _openvino_target(self.options, self.hardware).partition(".")[0].lower()
        return "cpu" if self.name == CPU else self.hardware.partition(":")[0]


def make_provider(
    name: str, given: Mapping[str, object], *, library: str, hardware: str, threads: int, precision: str
) -> Provider:
    """The provider with all that it is told: the defaults for ``threads`` and ``precision``, then what is ``given``.

    Raises:
        InputError: an option that is no text or number, a precision that the provider does not have, or a choice of
            hardware without a plug-in.
    """
    has = [Precision.FP32, *([Precision.FP16] if name in _HALF else []), *([Precision.INT8] if name == CPU else [])]
    if Precision(precision) not in has:
        raise InputError(
            f"precision '{precision}': ONNX Runtime's {name} runs {' and '.join(one.value for one in has)} only. "
            "Change 'precision' in the device's file, or --precision."
        )
    if hardware and not library:
        raise InputError(f"options.hardware = {hardware!r}: only the provider of a plug-in 'library' takes a choice.")
    if name == OPENVINO and library:
        hardware = hardware or "cpu"  # its settings are by device, so it has to be known which
    written = {key: _text(key, value) for key, value in given.items()}
    target = _openvino_target(written, hardware)
    told = _defaults(name, target, threads, half=precision == Precision.FP16.value)
    return Provider(name, {**told, **written}, library, hardware)


def _text(key: str, value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise InputError(
            f"options.provider_options.{key} = {value!r}: write it as text or a number, as the provider's own "
            'documentation has it, such as "1" or "true".'
        )
    return str(value)


def _defaults(name: str, target: str, threads: int, half: bool) -> dict[str, str]:
    """What a provider is told unless the device's file says otherwise."""
    if name == CUDA:
        return {"use_tf32": "0"}
    if name == TENSORRT:
        return {"trt_fp16_enable": str(int(half))}
    if name != OPENVINO:
        return {}
    settings = {"INFERENCE_PRECISION_HINT": "f16" if half else "f32", "PERFORMANCE_HINT": "LATENCY"}
    if target == "CPU":
        settings |= {"INFERENCE_NUM_THREADS": str(threads), "NUM_STREAMS": "1"}
    return {"load_config": json.dumps({target: settings}, sort_keys=True)}


def _openvino_target(given: Mapping[str, str], hardware: str) -> str:
    return given.get("device_type") or hardware.replace(":", ".").upper() or "CPU"
