"""The exam of this adapter: OMP_NUM_THREADS=1 python -m pytest."""

from __future__ import annotations

from reference_device import ReferenceDevice

from binas_deploy.adapters.base import Device
from binas_deploy.testing import DeviceSuite


class TestReferenceDevice(DeviceSuite):
    def make_device(self) -> Device:
        return ReferenceDevice(threads=1)
