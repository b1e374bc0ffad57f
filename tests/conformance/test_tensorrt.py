"""TensorRT and TensorRT for RTX hold to the protocol, wherever they and a GPU are."""

from __future__ import annotations

import pytest

from binas_deploy.adapters.base import Device, Precision
from binas_deploy.adapters.tensorrt.device import TensorRtDevice, TensorRtRtxDevice
from binas_deploy.testing.device_suite import DeviceSuite


class TestTensorRt(DeviceSuite):
    precisions = (Precision.FP16,)

    def make_device(self) -> Device:
        pytest.importorskip("tensorrt")
        pytest.importorskip("cuda.bindings.runtime")
        return TensorRtDevice(threads=1)


class TestTensorRtRtx(DeviceSuite):
    precisions = (Precision.FP16,)

    def make_device(self) -> Device:
        pytest.importorskip("tensorrt_rtx")
        pytest.importorskip("cuda.bindings.runtime")
        return TensorRtRtxDevice(threads=1)
