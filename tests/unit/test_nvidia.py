"""Which GPU a number means, from what nvidia-smi prints."""

from __future__ import annotations

import pytest

from binas_deploy.adapters import nvidia
from binas_deploy.errors import DeviceError

ONE = "0, GPU-aa, NVIDIA H200, 9.0, 143771 MiB, 570.1, Disabled"
EQUAL = f"{ONE}\n1, GPU-bb, NVIDIA H200, 9.0, 143771 MiB, 570.1, Disabled"
MIXED = f"{ONE}\n1, GPU-bb, NVIDIA T4, 7.5, 15360 MiB, 570.1, [N/A]"


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"):
        monkeypatch.delenv(name, raising=False)


def shows(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(nvidia, "output_of", lambda *command: text)


def test_one(monkeypatch: pytest.MonkeyPatch) -> None:
    shows(monkeypatch, ONE)
    assert nvidia.gpu(0).model == "NVIDIA H200 (compute capability 9.0, 143771 MiB)"
    with pytest.raises(DeviceError, match=r"NVIDIA GPU 1 asked, nvidia-smi shows 1\. Look at: nvidia-smi -L"):
        nvidia.gpu(1)


def test_a_part_of_one_is_not_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    shows(monkeypatch, ONE.replace("Disabled", "Enabled"))
    assert nvidia.gpu(0).model.endswith("143771 MiB, partitioned)")


def test_none(monkeypatch: pytest.MonkeyPatch) -> None:
    shows(monkeypatch, "")
    with pytest.raises(DeviceError, match="nvidia-smi shows 0"):
        nvidia.gpu(0)


def test_of_equal_ones_any_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    shows(monkeypatch, EQUAL)
    assert nvidia.gpu(1).uuid == "GPU-bb"


def test_of_different_ones_the_order_has_to_be_known(monkeypatch: pytest.MonkeyPatch) -> None:
    shows(monkeypatch, MIXED)
    with pytest.raises(DeviceError, match="set CUDA_DEVICE_ORDER=PCI_BUS_ID"):
        nvidia.gpu(0)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-b,GPU-a")
    assert [nvidia.gpu(number).name for number in (0, 1)] == ["NVIDIA T4", "NVIDIA H200"]
    with pytest.raises(DeviceError, match="CUDA_VISIBLE_DEVICES names 2"):
        nvidia.gpu(2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    assert nvidia.gpu(0).name == "NVIDIA T4"
