"""P and E cores, GPUs and NPUs, from trees of files as such machines have them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binas_deploy.adapters import host, intel
from binas_deploy.quality import noise_findings


@pytest.fixture(autouse=True)
def tree(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("_CORES", "_DRM", "_ACCEL", "_MODULES"):
        monkeypatch.setattr(intel, name, tmp_path / name)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def hybrid(tmp_path: Path, **kinds: str) -> None:
    for folder, cpus in kinds.items():
        write(tmp_path / "_CORES" / folder / "cpus", f"{cpus}\n")


def card(folder: Path, vendor: str, device: str, driver: str = "") -> None:
    write(folder / "device" / "vendor", f"{vendor}\n")
    write(folder / "device" / "device", f"{device}\n")
    if driver:
        target = folder.parents[1] / "drivers" / driver
        target.mkdir(parents=True, exist_ok=True)
        (folder / "device" / "driver").symlink_to(target)


def test_cores_of_one_kind_are_no_matter(tmp_path: Path) -> None:
    assert intel.core_context(()) == {}
    hybrid(tmp_path, cpu_core="0-7")
    assert intel.core_context(()) == {}


def test_a_hybrid_cpu(tmp_path: Path) -> None:
    hybrid(tmp_path, cpu_core="0-11", cpu_atom="12-19", cpu_lowpower="20,21")
    stated = {"p_cores": "0-11", "e_cores": "12-19", "lp_cores": "20-21"}
    assert intel.core_context(()) == {**stated, "mixed_cores": "P 0-11, E 12-19, LP 20-21"}
    assert intel.core_context({0, 1, 14}) == {**stated, "mixed_cores": "P 0-1, E 14"}
    assert intel.core_context({3, 4, 8}) == stated


def test_one_kind_that_is_switched_off(tmp_path: Path) -> None:
    hybrid(tmp_path, cpu_core="0-7", cpu_atom="")
    assert intel.core_context(()) == {}


def test_an_affinity_that_mixes_them_is_a_finding(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hybrid(tmp_path, cpu_core="0-3", cpu_atom="4-7")
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    calm = {"sentinel_trend": "1.0"}
    for allowed, affinity, mixed in ((range(8), "all", "P 0-3, E 4-7"), ({3, 4}, "3-4", "P 3, E 4")):
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid, cpus=allowed: set(cpus), raising=False)
        context = host.host_context()
        assert (host.affinity(), context["mixed_cores"]) == (affinity, mixed)
        found = noise_findings({**calm, **context}) or ()
        assert any(f"cores of different speed ({mixed}): confine it to one kind" in text for text in found)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3}, raising=False)
    assert noise_findings({**calm, "p_cores": host.host_context()["p_cores"]}) == ()


def test_gpus_and_npus_with_their_drivers(tmp_path: Path) -> None:
    drm, accel = tmp_path / "_DRM", tmp_path / "_ACCEL"
    card(drm / "card0", "0x8086", "0x7d55", "xe")
    card(drm / "card1", "0x10de", "0x2335", "nvidia")
    card(drm / "card2", "0x8086", "0x56a0")
    (drm / "card0-HDMI-A-1").mkdir()
    (drm / "renderD128").mkdir()
    card(accel / "accel0", "0x8086", "0x7d1d", "intel_vpu")
    write(tmp_path / "_MODULES" / "intel_vpu" / "version", "1.0.0\n")
    assert intel.accelerator_context() == {
        "intel_gpu": "8086:7d55 (xe); 8086:56a0",
        "intel_npu": "8086:7d1d (intel_vpu 1.0.0)",
    }


def test_neither() -> None:
    assert intel.accelerator_context() == {}


@given(st.sets(st.integers(0, 300)))
def test_lists_of_cpus_are_read_as_they_are_written(cpus: set[int]) -> None:
    assert intel.cpu_set(intel.cpu_ranges(cpus)) == cpus


def test_a_list_that_is_none_has_no_cpus() -> None:
    assert intel.cpu_set("") == intel.cpu_set("x-3,,-") == set()
