"""NNCF, for what runs by OpenVINO: its quantiser of ONNX networks, which puts Q/DQ where OpenVINO's kernels fuse them.

Activations are symmetric (its preset 'performance'): as accurate here as asymmetric ones, and quicker by a sixth, since
oneDNN then has no zero points to make up for. NNCF corrects biases by what quantising shifts, and gives the weights of
layers that would overflow without VNNI a bit less by itself.
"""

from __future__ import annotations

import logging
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import onnx

from binas_deploy.adapters.runtime import Runtime
from binas_deploy.model import INPUT_NAME, OnnxModel
from binas_deploy.quantised import operators_text, serialised, with_any_batch
from binas_deploy.quantisers.base import Images, checked_images
from binas_deploy.quantisers.running import RUNTIME as ONNX_RUNTIME

RUNTIME: Final = Runtime(
    name="NNCF", package="nncf", distributions=("nncf",), extra="int8", purpose="Quantising networks for OpenVINO"
)
_NO_TELEMETRY: Final = "NNCF_CI"
"""NNCF sends usage data to its makers unless this is set when it is imported."""
_LOGGER: Final = "nncf"
_ONE_AT_A_TIME: Final = threading.Lock()
"""What it prints goes to a console of the whole process, which is silenced meanwhile."""


class NncfQuantiser:
    """Calibration and bias correction by NNCF's defaults."""

    def version(self) -> str:
        """Of NNCF.

        Raises:
            MissingExtraError: it is not installed.
        """
        return RUNTIME.version()

    def quantise(self, model: OnnxModel, images: Images, *, timing_only: bool = False) -> OnnxModel:
        """As `Quantiser.quantise` says; ``timing_only`` leaves out bias correction.

        Raises:
            InputError: no images, or they do not fit the network.
            MissingExtraError, DeviceError: NNCF or ONNX Runtime, which it runs networks by, is not installed or fails.
        """
        given = checked_images(model, images)
        ONNX_RUNTIME.version()
        what = f"cannot quantise this network ({operators_text(model)})"
        with _ONE_AT_A_TIME, _imported() as package, RUNTIME.translated(what):
            made = _made(package, with_one(onnx.load_model_from_string(model.payload)), given, timing_only)
            return serialised(_shaped(made, model), model)


def with_one(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy for one input at a time, as calibration gives them."""
    result = with_any_batch(model)
    _set_batch(result, 1)
    return result


def _set_batch(model: onnx.ModelProto, batch: int) -> None:
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = batch


def _made(package: Any, model: onnx.ModelProto, images: Images, timing_only: bool) -> onnx.ModelProto:
    given = package.Dataset([{INPUT_NAME: image[None]} for image in images])
    made: onnx.ModelProto = package.quantize(
        model,
        given,
        preset=package.QuantizationPreset.PERFORMANCE,
        target_device=package.TargetDevice.CPU,
        subset_size=len(images),
        fast_bias_correction=True,
        advanced_parameters=package.AdvancedQuantizationParameters(disable_bias_correction=timing_only),
    )
    return made


def _shaped(made: onnx.ModelProto, like: OnnxModel) -> onnx.ModelProto:
    _set_batch(made, like.input_shape[0])
    del made.graph.value_info[:]
    return made


@contextmanager
def _imported() -> Iterator[Any]:
    """The package; within, it neither prints nor warns, and it never sends anything.

    Raises:
        MissingExtraError: it is not installed.
    """
    os.environ[_NO_TELEMETRY] = os.environ.get(_NO_TELEMETRY) or "1"
    from rich import get_console

    console, loggers = get_console(), logging.getLoggerClass()
    before, console.quiet = console.quiet, True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            package = RUNTIME.imported()
            logging.getLogger(_LOGGER).setLevel(logging.CRITICAL)  # its own way reaches other handlers too
            yield package
    finally:
        console.quiet = before
        logging.setLoggerClass(loggers)  # importing it sets one of its own, for everybody
