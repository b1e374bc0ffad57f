"""What is read of a Jetson, from file trees as boards have them."""

from __future__ import annotations

from pathlib import Path

import pytest

from binas_deploy.adapters.jetson import Jetson, PowerMode
from binas_deploy.errors import DeviceError, InputError

FILES = {
    "proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0",
    "proc/device-tree/compatible": "nvidia,p3768-0000+p3767-0005\0nvidia,p3767-0005\0nvidia,tegra234\0",
    "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64\n",
    "var/lib/dpkg/status": "Package: nvidia\nVersion: 9\n\nPackage: nvidia-jetpack\nStatus: install ok installed\n"
    "Architecture: arm64\nVersion: 6.2+b77\n\nPackage: zlib\nVersion: 1\n",
    "var/lib/nvpmodel/status": "pmode:0001 fmode:quiet\n",
    "etc/nvpmodel.conf": "# < POWER_MODEL ID=9 NAME=EXAMPLE >\n< POWER_MODEL ID=0 NAME=15W >\nCPU_ONLINE CORE_0 1\n"
    "< POWER_MODEL ID=1 NAME=7W >\n< PM_CONFIG DEFAULT=0 >\n",
    "sys/class/devfreq/17000000.gpu/min_freq": "306000000\n",
    "sys/class/devfreq/17000000.gpu/max_freq": "624750000\n",
    "sys/class/devfreq/17000000.gpu/cur_freq": "408000000\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_min_freq": "1510400\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq": "1510400\n",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "48500\n",
    "sys/class/thermal/cooling_device0/type": "pwm-fan\n",
    "sys/class/thermal/cooling_device0/cur_state": "3\n",
    "sys/class/thermal/cooling_device1/type": "gpu-throttle-alert\n",
    "sys/class/thermal/cooling_device1/cur_state": "0\n",
    "sys/devices/platform/cpu-throttle-alert/thermal_trip_event": "2\n",
    "sys/class/hwmon/hwmon3/oc3_event_cnt": "5\n",
    "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1/in1_label": "VDD_IN\n",
}


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@pytest.fixture
def board(tmp_path: Path) -> Jetson:
    for name, text in FILES.items():
        write(tmp_path, name, text)
    return Jetson(tmp_path)


def test_module_and_software_are_read(board: Jetson) -> None:
    assert board.present
    assert board.model == "NVIDIA Jetson Orin Nano Developer Kit (p3767-0005)"
    assert (board.l4t, board.jetpack) == ("36.4.3", "6.2+b77")


def test_elsewhere_there_is_none(tmp_path: Path) -> None:
    nothing = Jetson(tmp_path)
    assert not nothing.present
    assert (nothing.model, nothing.l4t, nothing.jetpack) == ("", "", "")
    assert (nothing.power_mode, nothing.power_modes, nothing.throttle_counts()) == (None, (), {})
    nothing.require_unthrottled({})


def test_the_power_mode_has_its_name(board: Jetson) -> None:
    assert board.power_mode == PowerMode(1, "7W")
    assert str(board.power_mode) == "1 (7W)"
    assert board.power_modes == (PowerMode(0, "15W"), PowerMode(1, "7W"))
    assert board.mode_called("15w") == board.mode_called("0") == PowerMode(0, "15W")


def test_an_unknown_power_mode_is_refused_naming_the_known(board: Jetson) -> None:
    with pytest.raises(InputError, match=r"power_mode = 'MAXN': this board has 0 .15W., 1 .7W."):
        board.mode_called("MAXN")


def test_advice_has_the_exact_commands(board: Jetson, tmp_path: Path) -> None:
    mode, clocks = board.advice("15W")
    assert mode == "power mode 0 (15W) is asked for, the board is in 1 (7W): sudo nvpmodel -m 0"
    assert clocks.startswith("clocks float (17000000.gpu 306 to 625 MHz; 1 in all)")
    assert clocks.endswith(": sudo jetson_clocks")
    write(tmp_path, "sys/class/devfreq/17000000.gpu/min_freq", "624750000\n")
    assert board.advice("1") == board.advice("") == ()
    assert board.context()["clocks"] == "locked"


def test_a_cpu_whose_clock_floats_is_named(board: Jetson, tmp_path: Path) -> None:
    write(tmp_path, "sys/devices/system/cpu/cpu0/cpufreq/scaling_min_freq", "729600\n")
    assert "cpu0 730 to 1510 MHz" in board.floating_clocks()


def test_context_says_how_it_was(board: Jetson) -> None:
    assert board.context() == {
        "l4t": "36.4.3",
        "jetpack": "6.2+b77",
        "clocks": "floating",
        "gpu_clock_mhz": "408",
        "temperatures_c": "cpu 48",
        "rails": "VDD_IN",
        "throttle_count": "7",
    }


def test_throttling_since_then_is_refused(board: Jetson, tmp_path: Path) -> None:
    before = board.throttle_counts()
    assert before == {"cpu-throttle-alert": 2, "oc3": 5}
    board.require_unthrottled(before)
    write(tmp_path, "sys/class/hwmon/hwmon3/oc3_event_cnt", "6\n")
    with pytest.raises(DeviceError, match=r"throttles .oc3., so this round is not recorded"):
        board.require_unthrottled(before)


def test_throttling_now_is_refused(board: Jetson, tmp_path: Path) -> None:
    assert board.throttling() == ()
    write(tmp_path, "sys/class/thermal/cooling_device1/cur_state", "1\n")
    assert board.throttling() == ("gpu-throttle-alert",)
    with pytest.raises(DeviceError, match=r"gpu-throttle-alert.*sudo nvpmodel -m N"):
        board.require_unthrottled(board.throttle_counts())
