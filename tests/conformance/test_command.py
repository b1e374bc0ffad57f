"""A command device, by the example's script, sits the whole exam; a slow one, since each call is a process."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from binas_deploy.adapters.base import Device
from binas_deploy.adapters.command.device import CommandDevice
from binas_deploy.testing.device_suite import DeviceSuite

pytest.importorskip("onnxruntime")

SCRIPT = str(Path(__file__).parents[2] / "examples" / "command_device" / "time_model.py")


class TestCommand(DeviceSuite):
    networks = 1
    cycles = 10  # each starts a process, of half a second

    def make_device(self) -> Device:
        start = [sys.executable, SCRIPT, "--model", "{model}", "--threads", "{threads}"]
        return CommandDevice(
            1,
            command=[*start, "--warmup", "{warmup}", "--count", "{count}"],
            outputs=[*start, "--input", "{input}", "--output", "{output}"],
            unit="ns",
            device_model="the machine of the test",
            runtime="onnxruntime",
            runtime_version="1.31",
        )
