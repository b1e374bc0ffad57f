"""OpenVINO holds to the protocol."""

from __future__ import annotations

import pytest

from binas_deploy.adapters.base import Device
from binas_deploy.adapters.openvino import OpenVinoDevice
from binas_deploy.errors import DeviceError, InputError
from binas_deploy.testing.device_suite import DeviceSuite

pytest.importorskip("openvino")


class TestOpenVino(DeviceSuite):
    def make_device(self) -> Device:
        return OpenVinoDevice(threads=1)


def test_settings_that_make_no_sense_are_refused() -> None:
    for wrong in ({"threads": 0}, {"threads": 1, "streams": 0}, {"threads": 1, "hint": "FAST"}):
        with pytest.raises(InputError):
            OpenVinoDevice(**wrong)


def test_a_target_that_is_not_there_is_refused_naming_what_is() -> None:
    with pytest.raises(DeviceError, match=r"no device 'NPU' here .there: .*CPU"):
        OpenVinoDevice(threads=1, target="NPU").facts()
