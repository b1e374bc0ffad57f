"""A device works when an inference ran on it; a process that dies or hangs takes nothing with it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from binas_deploy.adapters.registry import ADAPTERS, Adapter
from binas_deploy.devices import DeviceSpec, load_device_spec, parse_device_spec
from binas_deploy.steps import try_device as module
from binas_deploy.steps.try_device import trial, try_device

TEXT = """\
format = "binas-deploy/device"
version = 1
name = "mine"
adapter = "{}"
"""


def spec(adapter: str = "simulated", rest: str = "") -> DeviceSpec:
    return parse_device_spec(TEXT.format(adapter) + rest, Path("mine.toml"))


def test_the_cpu_works() -> None:
    pytest.importorskip("onnxruntime")
    found = try_device(load_device_spec("cpu"))
    assert found.works, found.said
    assert found.latency_ns > 0
    assert "onnxruntime 1." in found.said
    assert found.to_json()["works"] is True


def test_a_device_that_cannot_says_why() -> None:
    pytest.importorskip("onnxruntime")
    found = try_device(spec("onnxruntime", '[options]\nprovider = "NoSuchExecutionProvider"\n'))
    assert not found.works
    assert "'NoSuchExecutionProvider' asked, this build of ONNX Runtime has" in found.said


def test_what_is_simulated_is_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    target = "binas_deploy.testing.fake_device:FakeDevice"
    monkeypatch.setitem(ADAPTERS, "simulated", Adapter(target, "binas_deploy"))
    assert trial(spec()).said.startswith("recorded or simulated, not run: ")


def test_no_answer_in_time() -> None:
    found = try_device(load_device_spec("cpu"), limit_s=0.0)
    assert (found.works, found.said) == (False, "no answer within 0 s")


def test_a_process_that_dies(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(module, "_answer", os._exit)  # wants one argument: the process ends by that error
    found = try_device(load_device_spec("cpu"))
    assert (found.works, found.said) == (False, "its process died with exit code 1")
    assert "Error" in capfd.readouterr().err
