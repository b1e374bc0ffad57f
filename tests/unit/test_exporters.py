"""Formats: each as files, and those files as the program that its device loads, with nothing built again."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import load_model_from_string
from onnx.reference import ReferenceEvaluator

from binas_deploy.adapters import openvino_ir, registry
from binas_deploy.adapters.base import Device, Executable, Precision, Program
from binas_deploy.adapters.onnxruntime.device import OnnxRuntimeDevice
from binas_deploy.adapters.openvino import OpenVinoDevice
from binas_deploy.adapters.tensorrt.device import TensorRtDevice
from binas_deploy.adapters.torch.device import TorchDevice
from binas_deploy.adapters.tvm.device import TvmDevice
from binas_deploy.bundle.files import MODEL_NAME, most_bytes
from binas_deploy.conditions import IDENTITY_KEYS, Conditions
from binas_deploy.devices import device_conditions, load_device_spec
from binas_deploy.errors import DeviceError, InputError, MismatchError, MissingExtraError
from binas_deploy.exporters.base import Exporter
from binas_deploy.exporters.onnx import OnnxExporter
from binas_deploy.exporters.registry import EXPORTERS, exporter_of, find_exporter, format_names, require_runtime
from binas_deploy.model import OUTPUT_NAME, OnnxModel
from binas_deploy.steps.formats import Making, formats_to_make, own_exporter, write_formats
from binas_deploy.testing.networks import random_feed, random_network, small_space
from tests.unit.stand_in_gpu import stand_in

Made = Callable[..., dict[str, bytes]]
RUNTIMES: dict[str, tuple[str, Callable[[], Device]]] = {
    "onnx": ("onnxruntime", partial(OnnxRuntimeDevice, 1)),
    "openvino": ("openvino", partial(OpenVinoDevice, 1)),
    "torch": ("torch", partial(TorchDevice, 1)),
    "tvm": ("tvm", partial(TvmDevice, 1)),
}


@pytest.fixture
def model() -> OnnxModel:
    space = small_space()
    return random_network(space, space.largest(), 1, batch=2)


def made(exporter: Exporter, model: OnnxModel, device: Callable[[], Device], cache: Path) -> dict[str, bytes]:
    return exporter.files(model, device, precision=Precision.FP32, cache=cache)


@contextmanager
def loaded(device: Device, program: Program) -> Iterator[Executable]:
    with device.load(program) as executable:
        yield executable


@pytest.mark.parametrize("name", RUNTIMES)
def test_a_program_of_files_gives_the_network_s_outputs(
    name: str, model: OnnxModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package, device = RUNTIMES[name]
    pytest.importorskip(package)
    exporter, feed = find_exporter(name), random_feed(model, 1)
    files = made(exporter, model, device, tmp_path)
    program, opened = exporter.program(model.sha256, files), device()
    evaluator: Any = ReferenceEvaluator(load_model_from_string(model.payload))
    (expected,) = evaluator.run(None, dict(feed))

    def refuse(*_: Any, **__: Any) -> Program:
        raise AssertionError("nothing is compiled to load what was exported")

    monkeypatch.setattr(type(opened), "compile", refuse)
    with loaded(opened, program) as executable:
        found = executable.run(feed)[OUTPUT_NAME]
        assert (executable.sample(feed, count=3) > 0).all()
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()
    assert all(0 < len(payload) <= most_bytes(file) for file, payload in files.items())
    assert exporter.program(model.sha256, dict(reversed(files.items()))) == program
    assert program.sha256 == exporter.program(model.sha256, files).sha256


def test_tensorrt_s_engine_and_timing_cache_are_those_of_its_adapter(
    model: OnnxModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch)
    exporter, device = find_exporter("tensorrt"), TensorRtDevice(1)
    files = made(exporter, model, lambda: device, tmp_path)
    assert sorted(files) == ["model.engine", "timing.cache"]
    compiled = device.compile(model, precision=Precision.FP32, cache=tmp_path)
    assert exporter.program(model.sha256, files) == compiled
    assert files["timing.cache"] == device.artefacts()["timing-cache"]
    with device.load(exporter.program(model.sha256, files)) as executable:
        assert executable.run(random_feed(model, 1))[OUTPUT_NAME].shape == model.output_shape


def test_a_library_to_be_linked_elsewhere_has_its_own_name(model: OnnxModel, tmp_path: Path) -> None:
    import tarfile

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("network.o"))

    class Board:
        def compile(self, model: OnnxModel, **_: Any) -> Program:
            return Program(model.sha256, buffer.getvalue())

    board: Any = Board()
    exporter = find_exporter("tvm")
    files = made(exporter, model, lambda: board, tmp_path)
    assert list(files) == ["model.tar"]
    assert exporter.program(model.sha256, files).payload == buffer.getvalue()


@pytest.mark.parametrize("name", EXPORTERS)
def test_a_missing_file_is_named(name: str) -> None:
    with pytest.raises(InputError, match=rf"format '{name}': needs the file model.* found readme"):
        find_exporter(name).program("0" * 64, {"readme": b""})


def test_names_adapters_and_devices_fit_together() -> None:
    assert format_names() == ["onnx", "openvino", "tensorrt", "torch", "tvm"]
    for name, exporter in EXPORTERS.items():
        assert exporter.name == name
        assert load_device_spec(exporter.device).adapter in exporter.adapters
        assert all(exporter_of(adapter) is exporter for adapter in exporter.adapters)
    assert exporter_of("command") is exporter_of("replay") is None
    assert own_exporter(None) is None
    remote = load_device_spec("cpu").model_copy(update={"ssh": object()})
    assert own_exporter(remote) is None  # the machine there compiles


def test_an_unknown_format_is_refused_with_those_there_are() -> None:
    with pytest.raises(InputError, match=r"unknown format 'coreml'\. Known: onnx, openvino, tensorrt, torch, tvm"):
        find_exporter("coreml")


def test_a_missing_runtime_is_refused_with_its_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(registry, "_installed", lambda _: False)
    for name, extra in (("openvino", "openvino"), ("tvm", "tvm"), ("torch", "torch")):
        with pytest.raises(MissingExtraError, match=rf"The format '{name}' needs .*binas-deploy\[{extra}\]"):
            require_runtime(find_exporter(name))
        with pytest.raises(MissingExtraError, match=extra):
            formats_to_make([name], load_device_spec("cpu"), precision="fp32", workspace=tmp_path)
    with pytest.raises(DeviceError, match="JetPack"):
        require_runtime(find_exporter("tensorrt"))
    require_runtime(find_exporter("onnx"))


@pytest.mark.parametrize(
    ("asked", "device", "expected"),
    [
        (None, "cpu", ["onnx"]),
        (None, "torch", ["onnx", "torch"]),
        (None, None, ["onnx"]),
        ([], "torch", ["onnx"]),
        (["torch", "onnx", "torch"], "cpu", ["onnx", "torch"]),
    ],
)
def test_onnx_is_always_there(asked: list[str] | None, device: str | None, expected: list[str], tmp_path: Path) -> None:
    pytest.importorskip("torch")
    own = load_device_spec(device) if device else None
    makings = formats_to_make(asked, own, precision="fp32", workspace=tmp_path)
    assert [making.exporter.name for making in makings] == expected
    assert [making.own for making in makings] == [making.spec.name == device for making in makings]


def test_another_package_s_format_may_not_write_elsewhere(model: OnnxModel, tmp_path: Path) -> None:
    class Rogue(OnnxExporter):
        def files(self, model: OnnxModel, *_: Any, **__: Any) -> dict[str, bytes]:
            return {MODEL_NAME: model.payload, "../x.onnx": b"x"}

    making = Making(Rogue(), load_device_spec("cpu"), own=False)
    conditions = Conditions(dict.fromkeys(IDENTITY_KEYS, "any"), {})
    with pytest.raises(InputError, match="is no name of a bundle's file"):
        write_formats([making], model, tmp_path / "bundle", conditions=conditions)
    assert list(tmp_path.iterdir()) == []


def test_machine_code_says_which_machine_and_is_not_made_for_another_table(model: OnnxModel, tmp_path: Path) -> None:
    class Compiled(OnnxExporter):
        portable = False  # type: ignore[misc]

    spec = load_device_spec("cpu")
    facts = device_conditions(spec, OnnxRuntimeDevice(1).facts())
    made = write_formats([Making(Compiled(), spec, own=True)], model, tmp_path, conditions=facts)
    assert made["onnx"].device_model == facts.identity["device_model"]
    elsewhere = Conditions({**facts.identity, "device_model": "another"}, {})
    with pytest.raises(MismatchError, match="device_model"):
        write_formats([Making(Compiled(), spec, own=True)], model, tmp_path, conditions=elsewhere)


# OpenVINO


def test_text_and_weights_are_told_apart() -> None:
    payload = openvino_ir.packed(b"<net/>", b"\x00weights")
    assert openvino_ir.unpacked(payload) == (b"<net/>", b"\x00weights")
    for cut in (payload[: len(openvino_ir.MAGIC)], payload[: len(openvino_ir.MAGIC) + 10]):
        with pytest.raises(DeviceError, match="cut short"):
            openvino_ir.unpacked(cut)


def test_weights_stay_as_they_are(model: OnnxModel, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    files = made(find_exporter("openvino"), model, partial(OpenVinoDevice, 1), tmp_path)
    assert b'element_type="f32"' in files["model.xml"]
    assert b'element_type="f16"' not in files["model.xml"]
    weights = load_model_from_string(model.payload).graph.initializer[0].raw_data
    assert weights in files["model.bin"]


def test_ir_that_is_none_is_the_device_s_error(model: OnnxModel) -> None:
    pytest.importorskip("openvino")
    with (
        pytest.raises(DeviceError, match="cannot load model"),
        OpenVinoDevice(1).load(Program(model.sha256, openvino_ir.packed(b"<net>", b""))),
    ):
        pass


# torch


@pytest.fixture(scope="module")
def archive() -> bytes:
    """A torch.export program."""
    pytest.importorskip("torch")
    from binas_deploy.adapters.torch.exported import exported

    space = small_space()
    return exported(random_network(space, space.smallest(), 1).payload, Precision.FP32)


def changed(archive: bytes, change: Callable[[str, bytes], bytes | None], more: dict[str, bytes]) -> bytes:
    found = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as source, zipfile.ZipFile(found, "w") as target:
        for name in source.namelist():
            payload = change(name, source.read(name))
            if payload is not None:
                target.writestr(name, payload)
        for name, payload in more.items():
            target.writestr(f"archive/{name}", payload)
    return found.getvalue()


class Trap:
    """Unpickling it fails the test."""

    def __reduce__(self) -> tuple[Any, ...]:
        return pytest.fail, ("unpickled",)


def same(_: str, payload: bytes) -> bytes:
    return payload


def pickled_weights(name: str, payload: bytes) -> bytes:
    return payload.replace(b'"use_pickle": false', b'"use_pickle": true') if "weights_config" in name else payload


def pickled_constant(name: str, payload: bytes) -> bytes:
    row = b'{"config": {"x": {"path_name": "opaque_obj_0", "use_pickle": false}}}'
    return row if "constants_config" in name else payload


def pickled_inputs(name: str, payload: bytes) -> bytes:
    return pickle.dumps(Trap()) if "sample_inputs" in name else payload


TRAP = pickle.dumps(Trap())


@pytest.mark.parametrize(
    ("change", "more", "message"),
    [
        (pickled_weights, {}, "pickled tensors"),
        (pickled_constant, {"data/constants/opaque_obj_0": TRAP}, "pickled tensors or objects"),
        (pickled_inputs, {}, "pickled objects"),
        (same, {"data/weights/model.pt": TRAP}, "pickled objects"),
        (same, {"data/aotinductor/model/x.so": b"machine code"}, "holds 'data/aotinductor"),
        (same, {"extra/x.json": b"{}"}, "holds 'extra/x.json'"),
    ],
)
def test_an_archive_that_executes_anything_is_refused_unread(
    archive: bytes, change: Callable[[str, bytes], bytes | None], more: dict[str, bytes], message: str
) -> None:
    payload = changed(archive, change, more)
    with pytest.raises(DeviceError, match=message), TorchDevice(1).load(Program("0" * 64, payload)):
        pass


def test_an_archive_that_is_cut_short_is_refused(archive: bytes) -> None:
    with (
        pytest.raises(DeviceError, match=r"no torch\.export program"),
        TorchDevice(1).load(Program("0" * 64, archive[:-100])),
    ):
        pass


def test_a_half_precision_program_is_half_throughout(model: OnnxModel) -> None:
    torch = pytest.importorskip("torch")
    from binas_deploy.adapters.torch.exported import exported, opened

    rebuilt, numbers = opened(exported(model.payload, Precision.FP16))
    assert numbers is torch.float16
    assert {weight.dtype for weight in rebuilt.module.parameters()} == {torch.float16}
    with pytest.raises(InputError, match="fp32 or fp16"):
        find_exporter("torch").files(model, partial(TorchDevice, 1), precision=Precision.INT8, cache=Path())


def test_the_same_network_is_the_same_archive(archive: bytes) -> None:
    from binas_deploy.adapters.torch.exported import exported

    space = small_space()
    assert exported(random_network(space, space.smallest(), 1).payload, Precision.FP32) == archive
