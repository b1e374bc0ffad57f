"""torch holds to the protocol: eager in full; torch.compile, which takes seconds a network, with one small network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import psutil
import pytest

from binas_deploy.adapters.base import Device, Precision
from binas_deploy.adapters.onnxruntime import OnnxRuntimeDevice
from binas_deploy.adapters.torch.device import TorchDevice
from binas_deploy.block import Head
from binas_deploy.graph import build_piece, random_weights, weight_shapes
from binas_deploy.model import OUTPUT_NAME, OnnxModel
from binas_deploy.testing.device_suite import TOLERANCE, DeviceSuite
from binas_deploy.testing.networks import random_feed, random_network, small_space

torch = pytest.importorskip("torch")
CYCLES = 2


class TestTorch(DeviceSuite):
    def make_device(self) -> Device:
        return TorchDevice(threads=1)


class TestTorchChannelsLast(DeviceSuite):
    def make_device(self) -> Device:
        return TorchDevice(threads=1, channels_last=True)


def compiled() -> TorchDevice:
    return TorchDevice(threads=1, execution="compile")


def head(features: int) -> OnnxModel:
    """The least that compiles: a pool and a matrix product."""
    piece = Head(c_in=features, resolution=4, hidden=0, classes=3, activation=small_space().head.activation)
    return build_piece(piece, random_weights(weight_shapes(piece), np.random.default_rng(features)))


def output(device: Device, model: OnnxModel, cache: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    with device.load(device.compile(model, precision=Precision.FP32, cache=cache)) as executable:
        assert (executable.sample(random_feed(model, 1), count=3) > 0).all()
        first, second = (executable.run(random_feed(model, 1))[OUTPUT_NAME] for _ in range(2))
        assert np.array_equal(first, second)
        return first


def test_a_compiled_network_is_right(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    model = random_network(small_space(), small_space().largest(), 1)
    expected = output(OnnxRuntimeDevice(1), model, tmp_path)
    found = output(compiled(), model, tmp_path)
    assert np.abs(found - expected).max() <= TOLERANCE * np.abs(expected).max()


def test_compiled_networks_do_not_share_torch_s_limit_of_recompilations(tmp_path: Path) -> None:
    """torch keeps 8 programs of one piece of code and then gives up; a profile has some hundred open."""
    device, models = compiled(), [head(4), head(8)]
    programs = [device.compile(model, precision=Precision.FP32, cache=tmp_path) for model in models]
    with (
        torch._dynamo.config.patch(recompile_limit=1),
        device.load(programs[0]) as first,
        device.load(programs[1]) as second,
    ):
        for _ in range(2):
            for model, executable in zip(models, (first, second), strict=True):
                assert executable.run(random_feed(model, 1))[OUTPUT_NAME].shape == (1, 3)


def test_closing_one_compiled_network_leaves_the_others_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device, resets, reset = compiled(), [], torch.compiler.reset

    def counted() -> None:
        resets.append(1)
        reset()

    monkeypatch.setattr(torch.compiler, "reset", counted)
    programs = [device.compile(head(size), precision=Precision.FP32, cache=tmp_path) for size in (4, 8)]
    with device.load(programs[0]) as first:
        with device.load(programs[1]):
            pass
        assert not resets
        first.run(random_feed(head(4), 1))
    assert resets == [1]


def test_compiling_leaves_no_processes_and_threads(tmp_path: Path) -> None:
    model, process = head(4), psutil.Process()
    output(compiled(), model, tmp_path)
    threads, files, children = process.num_threads(), process.num_fds(), set(process.children(recursive=True))
    for _ in range(CYCLES):
        output(compiled(), model, tmp_path)
    assert (process.num_threads() <= threads, process.num_fds() <= files) == (True, True)
    assert set(process.children(recursive=True)) <= children
