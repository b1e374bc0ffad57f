"""What every adapter of a foreign runtime gets from `Runtime`."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from binas_deploy.adapters import host, runtime
from binas_deploy.adapters.base import Precision, Program
from binas_deploy.adapters.onnxruntime import OnnxRuntimeDevice
from binas_deploy.adapters.openvino import OpenVinoDevice
from binas_deploy.adapters.runtime import Runtime, brief
from binas_deploy.errors import DeviceError, InputError, MissingExtraError

SWIFT = Runtime("Swift", "swift", ("swift", "swift-gpu"), "fast", "Running networks swiftly")


def installed(monkeypatch: pytest.MonkeyPatch, **versions: str) -> None:
    monkeypatch.setattr(runtime, "_installed_version", lambda name: versions.get(name.replace("-", "_"), ""))


def test_one_distribution_tells_the_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib, "import_module", lambda name: pytest.fail("imported"))
    installed(monkeypatch, swift_gpu="2.0.1")
    assert SWIFT.version() == "2.0.1"


@pytest.mark.parametrize("found", [{}, {"swift": "1.0", "swift_gpu": "2.0.1"}])
def test_else_the_package_does(monkeypatch: pytest.MonkeyPatch, found: dict[str, str]) -> None:
    monkeypatch.setattr(importlib, "import_module", lambda name: SimpleNamespace(__version__=f"3 of {name}"))
    installed(monkeypatch, **found)
    assert SWIFT.version() == "3 of swift"


def test_a_distribution_that_is_not_there_has_no_version() -> None:
    assert runtime._installed_version("binas-deploy-no-such-thing") == ""
    assert runtime._installed_version("numpy")


def test_absent_is_a_missing_extra() -> None:
    absent = Runtime("Absent", "binas_deploy_no_such_thing", ("binas-deploy-no-such-thing",), "extra", "Something")
    for asked in (absent.imported, absent.version):
        with pytest.raises(MissingExtraError, match=r"^Something needs .*'binas-deploy\[extra\]'") as error:
            asked()
        assert isinstance(error.value.__cause__, ModuleNotFoundError)


def test_broken_is_the_device_s_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> Any:
        raise ImportError("DLL load\n failed")

    monkeypatch.setattr(importlib, "import_module", broken)
    with pytest.raises(DeviceError, match=r"^Swift is installed and cannot be imported: DLL load failed$"):
        SWIFT.imported()


@pytest.mark.parametrize("name", ["feathers", "swift.wings"])
def test_installed_without_what_it_needs_is_not_absent(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def lacking(package: str) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(importlib, "import_module", lacking)
    with pytest.raises(DeviceError, match=rf"^Swift is installed and cannot be imported: No module named '{name}'$"):
        SWIFT.imported()


def test_the_build_that_is_loaded_tells_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, swift="9.9.9")
    loaded = ModuleType("swift")
    monkeypatch.setattr(loaded, "__version__", "2025.1.0-18503-releases/2025/1", raising=False)
    monkeypatch.setitem(sys.modules, "swift", loaded)
    assert SWIFT.version() == "2025.1.0"


def test_facts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "affinity", lambda: "0-3")
    monkeypatch.setattr(host, "host_context", lambda: {"os": "Some 1"})
    options = {"mode": "fast", "io": 1}
    facts = SWIFT.facts("2.0.1", device_model="A CPU", provider="CPU", options=options, threads=2)
    assert facts.identity == {
        "device_model": "A CPU",
        "runtime": "swift",
        "runtime_version": "2.0",
        "provider": "CPU",
        "provider_options": "io=1;mode=fast",
        "threads": "2",
        "affinity": "0-3",
    }
    assert facts.context == {"runtime_version_full": "2.0.1", "os": "Some 1"}


def test_options_that_tables_are_kept_under(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are part of a table's identity: another text would make every stored table foreign."""
    monkeypatch.setattr(Runtime, "version", lambda self: "2025.1.0")
    assert OnnxRuntimeDevice(1).facts().identity["provider_options"] == (
        "allow_spinning=0;execution=sequential;graph_optimization=all;inter_op=1;io=bound"
    )
    openvino = OpenVinoDevice(1, hint="THROUGHPUT", streams=2).facts().identity
    assert openvino["provider_options"] == "hint=THROUGHPUT;precision=f32;streams=2"
    assert (openvino["runtime"], openvino["runtime_version"], openvino["provider"]) == ("openvino", "2025.1", "CPU")


def test_only_fp32() -> None:
    SWIFT.require_fp32(Precision.FP32)
    with pytest.raises(InputError, match=r"^precision 'int8': the swift adapter runs fp32 only\. Set precision"):
        SWIFT.require_fp32(Precision.INT8)


def test_failures_are_told_in_one_line_and_chained() -> None:
    cases = (
        (SWIFT.loading(Program("0123456789abcdef", b"")), "Swift cannot load model 0123456789ab: no such op"),
        (SWIFT.running(), "Swift failed while running: no such op"),
        (SWIFT.translated("cannot sing"), "Swift cannot sing: no such op"),
    )
    for context, message in cases:
        with pytest.raises(DeviceError) as error, context:
            raise ValueError("no such\n    op")
        assert str(error.value) == message
        assert isinstance(error.value.__cause__, ValueError)


def test_interruptions_are_not_failures() -> None:
    with pytest.raises(KeyboardInterrupt), SWIFT.running():
        raise KeyboardInterrupt


def test_long_messages_are_cut() -> None:
    assert brief(ValueError("x" * 300)) == "x" * 300
    assert brief(ValueError("x" * 301)) == "x" * 300 + "..."
