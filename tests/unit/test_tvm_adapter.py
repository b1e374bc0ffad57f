"""What the TVM adapter decides without TVM: targets as text, options, and what it says where the package is absent."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from binas_deploy.adapters import runtime
from binas_deploy.adapters.base import Precision, Program
from binas_deploy.adapters.runtime import Runtime
from binas_deploy.adapters.tvm import device, tuning
from binas_deploy.adapters.tvm.device import TvmDevice
from binas_deploy.adapters.tvm.target import TargetText
from binas_deploy.errors import DeviceError, InputError, MissingExtraError
from binas_deploy.testing.networks import random_network, small_space

BOARD = {"target": "llvm -mcpu=cortex-a72", "tracker": "localhost:9190", "key": "rpi4"}


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("llvm", "llvm"),
        ("llvm -mtriple=aarch64-linux-gnu -mcpu=cortex-a72", "llvm -mcpu=cortex-a72 -mtriple=aarch64-linux-gnu"),
        ("cuda --arch=sm_87", "cuda -arch=sm_87"),
        ("raspberry-pi/4b-aarch64", "raspberry-pi/4b-aarch64"),
    ],
)
def test_targets_are_words(text: str, same: str) -> None:
    assert str(TargetText.parse(text)) == same
    assert TargetText.parse(same) == TargetText.parse(text)


@pytest.mark.parametrize("text", ["", " ", "-mcpu=x", "llvm mcpu=x", "llvm -mcpu", "llvm -=x"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"^target = .*-mcpu=cortex-a72"):
        TargetText.parse(text)


def test_the_host_s_cpu_is_named_only_where_it_is_meant() -> None:
    codegen = SimpleNamespace(llvm_get_system_cpu=lambda: "rocketlake")
    tvm = SimpleNamespace(target=SimpleNamespace(codegen=codegen))
    assert str(TargetText.parse("llvm").resolved(tvm, 2)) == "llvm -mcpu=rocketlake -num-cores=2"
    assert str(TargetText.parse("llvm -mcpu=skylake").resolved(tvm, 1)) == "llvm -mcpu=skylake -num-cores=1"
    assert str(TargetText.parse("cuda").resolved(tvm, 1)) == "cuda"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threads": 0}, "at least 1 thread"),
        ({"threads": 1, "trials": -1}, "0 or more trials"),
        ({"threads": 1, "target": "mcpu=x y"}, "found 'y'"),
        ({"threads": 1, "tracker": "localhost:9190"}, "a board needs both"),
        ({"threads": 1, "key": "rpi4"}, "a board needs both"),
        ({"threads": 1, **BOARD, "tracker": "localhost"}, "write host:port"),
        ({"threads": 1, **BOARD, "target": "llvm"}, "name the board's CPU"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TvmDevice(**options)


def test_other_precisions_are_refused(tmp_path: Path) -> None:
    space = small_space()
    with pytest.raises(InputError, match="fp32 only"):
        TvmDevice(1).compile(random_network(space, space.smallest(), 0), precision=Precision.FP16, cache=tmp_path)


def test_no_package_is_a_missing_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def absent(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.delitem(sys.modules, "tvm", raising=False)
    monkeypatch.setattr(runtime, "_installed_version", lambda name: "")
    monkeypatch.setattr(importlib, "import_module", absent)
    space, absent_device = small_space(), TvmDevice(1)
    with pytest.raises(MissingExtraError, match=r"pip install 'binas-deploy\[tvm\]'"):
        absent_device.facts()
    with pytest.raises(MissingExtraError):
        absent_device.compile(random_network(space, space.smallest(), 0), precision=Precision.FP32, cache=tmp_path)
    with pytest.raises(MissingExtraError), absent_device.load(Program("0" * 64, b"")):
        pass


def test_what_is_tuned_with_is_stated(monkeypatch: pytest.MonkeyPatch) -> None:
    named = SimpleNamespace(target=SimpleNamespace(codegen=SimpleNamespace(llvm_get_system_cpu=lambda: "znver4")))
    monkeypatch.setattr(tuning, "cost_model", lambda: "random")
    monkeypatch.setenv("TVM_BIND_THREADS", "1")
    untuned, tuned = (TvmDevice(1, trials=trials)._options(named) for trials in (0, 64))
    assert untuned["trials"] == 0
    assert "tuner" not in untuned
    assert (tuned["trials"], tuned["tuner"], tuned["bind"]) == (64, "random-0", "1")


def test_threads_are_not_tied_to_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Runtime, "imported", lambda self: None)
    monkeypatch.delenv("TVM_BIND_THREADS", raising=False)
    device._imported()
    assert os.environ["TVM_BIND_THREADS"] == "0"


def test_a_base_library_that_crashes_a_tuning_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    builds = {"apache-tvm": "0.27.0.post1", "apache-tvm-ffi": "0.1.15.post2"}
    monkeypatch.setattr(importlib.metadata, "version", lambda name: builds[name])
    with pytest.raises(DeviceError, match=r"pip install 'apache-tvm-ffi==0\.1\.14\.\*'"):
        tuning._require_fitting_base()
    builds["apache-tvm-ffi"] = "0.1.14.post1"
    tuning._require_fitting_base()


def test_a_variable_is_set_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BINAS_TEST", raising=False)
    for before in (None, "7"):
        if before:
            monkeypatch.setenv("BINAS_TEST", before)
        with tuning._environment("BINAS_TEST", "2"):
            assert os.environ["BINAS_TEST"] == "2"
        assert os.environ.get("BINAS_TEST") == before
