"""ONNX Runtime and the simulated device hold to the protocol."""

from __future__ import annotations

import pytest

from binas_deploy.adapters.base import Device, Precision
from binas_deploy.adapters.onnxruntime import OnnxRuntimeDevice
from binas_deploy.testing.device_suite import INT8_TOLERANCE, DeviceSuite
from binas_deploy.testing.fake_device import FakeDevice

pytest.importorskip("onnxruntime")


class TestOnnxRuntime(DeviceSuite):
    def make_device(self) -> Device:
        return OnnxRuntimeDevice(threads=1)


class TestOnnxRuntimeInt8(DeviceSuite):
    precision = Precision.INT8
    tolerance = INT8_TOLERANCE
    networks = 1  # quantising one of 224 px takes seconds

    def make_device(self) -> Device:
        return OnnxRuntimeDevice(threads=1, precision="int8")


class TestFakeDevice(DeviceSuite):
    def make_device(self) -> Device:
        return FakeDevice()

    def lose(self, device: Device) -> None:
        assert isinstance(device, FakeDevice)
        device.unplug()
