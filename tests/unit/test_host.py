"""What is read of the machine, from files as other machines have them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from binas_deploy.adapters import host

ARM = "processor\t: 0\nBogoMIPS\t: 108.00\nCPU implementer\t: 0x41\nCPU part\t: 0xd0b\n"
INTEL = "processor\t: 0\nmodel name\t: Some CPU @ 2.00GHz\ncpu MHz\t\t: 2400.000\n"


@pytest.fixture(autouse=True)
def linux(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("_CPUINFO", "_CPU_FOLDER", "_THERMAL", "_CGROUP_LIMIT", "_BOARD"):
        monkeypatch.setattr(host, name, tmp_path / name)


def test_a_cpu_with_a_name(tmp_path: Path) -> None:
    (tmp_path / "_CPUINFO").write_text(INTEL, encoding="utf-8")
    assert host.cpu_model() == "Some CPU @ 2.00GHz"
    assert host.host_context()["clock_mhz"] == "2400.000"


def test_cpus_of_one_name_are_told_apart_by_their_numbers(tmp_path: Path) -> None:
    text = "cpu family\t: 6\nmodel\t\t: 143\nmodel name\t: Some Processor\nstepping\t: 8\n"
    (tmp_path / "_CPUINFO").write_text(text, encoding="utf-8")
    assert host.cpu_model() == "Some Processor (6-143-8)"


def test_an_arm_board_is_told_by_board_and_part(tmp_path: Path) -> None:
    (tmp_path / "_CPUINFO").write_text(ARM, encoding="utf-8")
    (tmp_path / "_BOARD").write_bytes(b"Raspberry Pi 4 Model B Rev 1.4\0")
    assert host.cpu_model() == "Raspberry Pi 4 Model B Rev 1.4, part 0xd0b"


def test_throttling_of_all_cores_is_counted(tmp_path: Path) -> None:
    assert "throttle_count" not in host.host_context()
    for core, count in (("cpu0", "3\n"), ("cpu1", "4\n"), ("cpu2", "")):
        folder = tmp_path / "_CPU_FOLDER" / core / "thermal_throttle"
        folder.mkdir(parents=True)
        (folder / "core_throttle_count").write_text(count, encoding="utf-8")
    assert host.host_context()["throttle_count"] == "7"


def test_nothing_readable_still_gives_a_text() -> None:
    assert host.cpu_model()
    assert all(host.host_context().values())


def test_macs_are_asked_by_sysctl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(host, "output_of", lambda *command: "Apple M2" if command[0] == "sysctl" else "")
    assert host.cpu_model() == "Apple M2"
    assert host.affinity() == "all"


def test_a_program_that_is_absent_or_fails_says_nothing() -> None:
    assert host.output_of("no-such-program-anywhere") == ""
    assert host.output_of(sys.executable, "-c", "raise SystemExit(1)") == ""
    assert host.output_of(sys.executable, "-c", "print('x')") == "x"


@pytest.mark.parametrize(
    ("allowed", "text"), [({0, 1, 2, 3}, "all"), ({0}, "0"), ({0, 1, 3}, "0-1,3"), ({2, 3}, "2-3")]
)
def test_affinity(monkeypatch: pytest.MonkeyPatch, allowed: set[int], text: str) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: allowed, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    assert host.affinity() == text
    assert host.usable_cpus() == len(allowed)


def test_clock_governor_and_temperature_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "_CPU_FOLDER" / "cpu0" / "cpufreq"
    folder.mkdir(parents=True)
    (folder / "scaling_governor").write_text("performance\n", encoding="utf-8")
    (folder / "scaling_cur_freq").write_text("2100000\n", encoding="utf-8")
    (tmp_path / "_THERMAL").write_text("48500\n", encoding="utf-8")
    found = host.host_context()
    assert (found["governor"], found["clock_mhz"], found["temperature_c"]) == ("performance", "2100", "48")
