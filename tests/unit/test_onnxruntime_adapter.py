"""The ONNX Runtime adapter's borders: what it refuses and how it says so."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from binas_deploy.adapters import host, runtime
from binas_deploy.adapters.base import Precision
from binas_deploy.adapters.onnxruntime import OnnxRuntimeDevice
from binas_deploy.adapters.runtime import Runtime
from binas_deploy.errors import DeviceError, InputError, MissingExtraError
from binas_deploy.model import OnnxModel
from binas_deploy.testing.networks import random_feed, random_network, small_space


@pytest.fixture(scope="module")
def model() -> OnnxModel:
    space = small_space()
    return random_network(space, space.smallest(), 0)


def test_facts_read_without_importing_the_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    monkeypatch.setattr(runtime, "_installed_version", lambda name: "1.31.1" if name == "onnxruntime" else "")
    monkeypatch.setattr(Runtime, "imported", lambda self: pytest.fail("imported"))
    facts = OnnxRuntimeDevice(1).facts()
    assert facts.identity["runtime_version"] == "1.31"
    assert facts.context["runtime_version_full"] == "1.31.1"
    assert "allow_spinning=0" in facts.identity["provider_options"]
    assert "allow_spinning=1" in OnnxRuntimeDevice(1, allow_spinning=True).facts().identity["provider_options"]
    assert not facts.simulated


def test_two_builds_side_by_side_are_told_by_the_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    monkeypatch.setattr(runtime, "_installed_version", lambda name: "9.9.9")
    monkeypatch.setattr(Runtime, "imported", lambda self: SimpleNamespace(__version__="1.23.2"))
    assert OnnxRuntimeDevice(1).facts().identity["runtime_version"] == "1.23"


def test_no_runtime_is_a_missing_extra(monkeypatch: pytest.MonkeyPatch, model: OnnxModel, tmp_path: Path) -> None:
    def absent(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    monkeypatch.setattr(importlib, "import_module", absent)
    monkeypatch.setattr(runtime, "_installed_version", lambda name: "")
    device = OnnxRuntimeDevice(1)
    with pytest.raises(MissingExtraError, match=r"pip install 'binas-deploy\[cpu\]'"):
        device.facts()
    program = device.compile(model, precision=Precision.FP32, cache=tmp_path)
    with pytest.raises(MissingExtraError), device.load(program):
        pass


def test_threads_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="at least 1"):
        OnnxRuntimeDevice(0)
    monkeypatch.setattr(host, "usable_cpus", lambda: 2)
    with pytest.raises(InputError, match="3 threads asked, this process may use 2 CPUs"):
        OnnxRuntimeDevice(3).facts()


def test_other_precisions_are_refused(model: OnnxModel, tmp_path: Path) -> None:
    for precision in (Precision.FP16, Precision.INT8):
        with pytest.raises(InputError, match=f"precision '{precision.value}': .* fp32 only"):
            OnnxRuntimeDevice(1).compile(model, precision=precision, cache=tmp_path)


def test_a_provider_that_this_build_lacks_is_refused(model: OnnxModel, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    device = OnnxRuntimeDevice(1, provider="NoSuchExecutionProvider")
    program = device.compile(model, precision=Precision.FP32, cache=tmp_path)
    with (
        pytest.raises(DeviceError, match=r"'NoSuchExecutionProvider' asked, this build of ONNX Runtime has .*CPU"),
        device.load(program),
    ):
        pass


def test_wrong_inputs_are_the_device_s_error_and_one_line(model: OnnxModel, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    device = OnnxRuntimeDevice(1)
    with device.load(device.compile(model, precision=Precision.FP32, cache=tmp_path)) as executable:
        wrong = {"input": np.zeros((1, 3, 5, 5), np.float32)}
        for feed in (wrong, {"other": np.zeros((1,), np.float32)}):
            with pytest.raises(DeviceError, match="failed while running") as run_error:
                executable.run(feed)
            assert "\n" not in str(run_error.value)
            assert run_error.value.__cause__ is not None
            with pytest.raises(DeviceError, match="failed while running"):
                executable.sample(feed, count=1)


def test_sampling_uses_the_values_given(model: OnnxModel, tmp_path: Path) -> None:
    """A feed that is bound stays bound, and another one takes its place."""
    pytest.importorskip("onnxruntime")
    device = OnnxRuntimeDevice(1)
    with device.load(device.compile(model, precision=Precision.FP32, cache=tmp_path)) as executable:
        for seed in (1, 1, 2):
            assert executable.sample(random_feed(model, seed), count=3).shape == (3,)


def test_a_closed_executable_is_no_use(model: OnnxModel, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    device = OnnxRuntimeDevice(1)
    with device.load(device.compile(model, precision=Precision.FP32, cache=tmp_path)) as executable:
        pass
    with pytest.raises(DeviceError):
        executable.run(random_feed(model, 0))
