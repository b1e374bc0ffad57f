"""ONNX Runtime's own quantiser, for what runs by ONNX Runtime.

What its CPU kernels run fast on x86 is unsigned activations and signed weights, U8S8: for S8S8 and U8U8 whole networks
took 2.5 and 1.5 times as long on a machine with VNNI. So activations have a zero point and weights are symmetric, by
output channel. Without VNNI products of U8S8 are added in 16 bits and may overflow: weights then get 7 bits.
Ranges are found by `running` and not by the quantiser's own calibration: that one takes all images at their word,
prints, and keeps every activation of every image in memory.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import onnx
from onnx import ModelProto, shape_inference

from binas_deploy.adapters.host import adds_in_16_bits
from binas_deploy.model import OnnxModel
from binas_deploy.quantised import operators_text, serialised
from binas_deploy.quantisers.base import Images, checked_images
from binas_deploy.quantisers.running import RUNTIME, activation_ranges

_OPERATORS: Final = ("Conv", "Gemm", "Add", "Relu", "Clip", "Flatten")
"""Others between them, such as pooling, are run in int8 by the runtime where both sides are."""
_OPTIONS: Final = {
    "QDQKeepRemovableActivations": True,  # so that every node can be brought back to float
    "OpTypesToExcludeOutputQuantization": ["Gemm"],  # its kernel gives floats, and these are the network's outputs
}


class OnnxRuntimeQuantiser:
    """``narrow``: 7 bits for weights; by default where this machine's CPU needs it."""

    def __init__(self, *, narrow: bool | None = None) -> None:
        self._narrow = adds_in_16_bits() if narrow is None else narrow

    def version(self) -> str:
        """Of ONNX Runtime, and how wide its weights are.

        Raises:
            MissingExtraError: it is not installed.
        """
        return f"{RUNTIME.version()}, weights of {7 if self._narrow else 8} bits"

    def quantise(self, model: OnnxModel, images: Images, *, timing_only: bool = False) -> OnnxModel:
        """As `Quantiser.quantise` says.

        Raises:
            InputError: no images, or they do not fit the network.
            MissingExtraError, DeviceError: ONNX Runtime is not installed, or fails.
        """
        given = checked_images(model, images)
        RUNTIME.imported()
        what = f"cannot quantise this network ({operators_text(model)})"
        with RUNTIME.translated(what):
            whole = shape_inference.infer_shapes(onnx.load_model_from_string(model.payload))
        ranges = activation_ranges(whole, given)
        with RUNTIME.translated(what), _quiet():
            made = self._made(whole, ranges)
        return serialised(_tidy(made, whole), model)

    def _made(self, model: ModelProto, ranges: dict[str, tuple[np.float32, np.float32]]) -> ModelProto:
        # Where they are defined: the package itself of 1.23 does not pass on all of them.
        from onnxruntime.quantization import calibrate
        from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
        from onnxruntime.quantization.quant_utils import QuantType

        found = {name: calibrate.TensorData(lowest=low, highest=high) for name, (low, high) in ranges.items()}
        quantizer = QDQQuantizer(
            model,
            per_channel=True,
            reduce_range=self._narrow,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QUInt8,
            tensors_range=calibrate.TensorsData(calibrate.CalibrationMethod.MinMax, found),
            nodes_to_quantize=[],
            nodes_to_exclude=[],
            op_types_to_quantize=list(_OPERATORS),
            extra_options=dict(_OPTIONS),
        )
        quantizer.quantize_model()
        quantizer.model.topological_sort()  # what it adds stands at the end
        made: ModelProto = quantizer.model.model
        return made


def _tidy(made: ModelProto, original: ModelProto) -> ModelProto:
    """Named as ours, without the quantiser's version: the bytes change when the network does."""
    made.producer_name, made.producer_version = original.producer_name, ""
    del made.graph.value_info[:]
    del made.metadata_props[:]
    made.metadata_props.extend(original.metadata_props)
    return made


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the quantiser tells the root logger."""

    def other(record: Any) -> bool:
        return "onnxruntime" not in record.pathname

    root = logging.getLogger()
    root.addFilter(other)
    try:
        yield
    finally:
        root.removeFilter(other)
