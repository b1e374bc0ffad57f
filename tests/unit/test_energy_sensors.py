"""Energy sensors on a folder that looks like sysfs. Its files move when a test says so; no clock is looked at."""

from __future__ import annotations

import itertools
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from binas_deploy.energy import find_sensor
from binas_deploy.energy.rails import Rail, rail
from binas_deploy.energy.rapl import rapl
from binas_deploy.errors import DeviceError, EnvironmentFault

RANGE = 262_143_328_850


@dataclass(frozen=True)
class Sysfs:
    """What the kernel shows of sensors."""

    root: Path

    def write(self, path: str, value: object) -> Path:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(f"{value}\n", encoding="utf-8")
        return target

    def zone(self, zone: str, name: str, microjoules: int) -> None:
        self.write(f"class/powercap/{zone}/name", name)
        self.write(f"class/powercap/{zone}/max_energy_range_uj", RANGE)
        self.counter(zone, microjoules)

    def counter(self, zone: str, microjoules: int) -> Path:
        return self.write(f"class/powercap/{zone}/energy_uj", microjoules)

    def rail(self, channel: int, label: str, millivolts: int, milliamperes: int, chip: str = "1-0040") -> Path:
        folder = f"bus/i2c/drivers/ina3221/{chip}/hwmon/hwmon1"
        self.write(f"{folder}/in{channel}_label", label)
        self.write(f"{folder}/in{channel}_input", millivolts)
        return self.write(f"{folder}/curr{channel}_input", milliamperes)


@pytest.fixture
def sysfs(tmp_path: Path) -> Sysfs:
    return Sysfs(tmp_path)


@pytest.fixture
def packages(sysfs: Sysfs) -> Sysfs:
    """Two CPU packages, and domains that hold them or lie in them."""
    (sysfs.root / "class/powercap/intel-rapl").mkdir(parents=True)
    sysfs.zone("intel-rapl:0", "package-0", 5_000_000)
    sysfs.zone("intel-rapl:0:0", "core", 1_000_000)
    sysfs.zone("intel-rapl:0:1", "dram", 1_000_000)
    sysfs.zone("intel-rapl:1", "package-1", 7_000_000)
    sysfs.zone("intel-rapl:2", "psys", 99_000_000)
    return sysfs


# CPU packages


def test_packages_are_summed_and_parts_of_them_are_not(packages: Sysfs) -> None:
    sensor = find_sensor(packages.root, provider="CPUExecutionProvider")
    assert sensor.name == "RAPL package-0, package-1"
    with sensor:
        begin = sensor.joules()
        packages.counter("intel-rapl:0", 6_500_000)
        packages.counter("intel-rapl:1", 7_250_000)
        for part in ("intel-rapl:0:0", "intel-rapl:0:1", "intel-rapl:2"):
            packages.counter(part, 50_000_000)
        assert sensor.joules() - begin == pytest.approx(1.75)
        assert sensor.joules() - begin == pytest.approx(1.75)  # nothing more until a counter moves


def test_a_counter_that_begins_again_counts_on(packages: Sysfs) -> None:
    packages.counter("intel-rapl:0", RANGE - 300_000)
    sensor = rapl(packages.root)
    packages.counter("intel-rapl:0", 200_000)
    assert sensor.joules() == pytest.approx(0.5)
    packages.counter("intel-rapl:0", 700_000)
    assert sensor.joules() == pytest.approx(1.0)


def forbid(monkeypatch: pytest.MonkeyPatch, forbidden: Path) -> None:
    """The superuser, whom tests may run as, reads everything: refuse one file."""
    read_text = Path.read_text

    def refuse(self: Path, *args: str, **options: str) -> str:
        if self == forbidden:
            raise PermissionError(13, "Permission denied", str(self))
        return read_text(self, *args, **options)

    monkeypatch.setattr(Path, "read_text", refuse)


def test_a_counter_that_only_root_may_read_says_what_to_do(packages: Sysfs, monkeypatch: pytest.MonkeyPatch) -> None:
    forbid(monkeypatch, packages.counter("intel-rapl:1", 7_000_000))
    remedy = f"sudo chmod a+r {packages.root}/class/powercap/intel-rapl:*/energy_uj"
    with pytest.raises(EnvironmentFault, match="CVE-2020-8694") as caught:
        find_sensor(packages.root, provider="CPU")
    assert remedy in str(caught.value)
    assert "intel-rapl:1/energy_uj: permission denied" in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_counter_that_goes_away_is_a_failure_of_the_device(packages: Sysfs, monkeypatch: pytest.MonkeyPatch) -> None:
    sensor = rapl(packages.root)
    counter = packages.counter("intel-rapl:0", 6_000_000)
    with monkeypatch.context() as patch:
        forbid(patch, counter)
        with pytest.raises(DeviceError, match="cannot any more"):
            sensor.joules()
    counter.write_text("many\n", encoding="utf-8")
    with pytest.raises(DeviceError, match="a whole number was expected"):
        sensor.joules()
    counter.unlink()
    with pytest.raises(DeviceError, match="energy_uj"):
        sensor.joules()


def test_a_machine_without_sensors_says_so(sysfs: Sysfs) -> None:
    with pytest.raises(DeviceError, match=r"no sensor of energy can be read\. RAPL: .*Jetson rails: ") as caught:
        find_sensor(sysfs.root, provider="CPU")
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("provider", ["CPUExecutionProvider", "CPU", "GPU", "GPU.0", "NPU"])
def test_what_is_in_the_package_is_measured_by_it(packages: Sysfs, provider: str) -> None:
    model = "Intel(R) UHD Graphics 770 (iGPU)" if "GPU" in provider else "A CPU"
    assert find_sensor(packages.root, provider=provider, model=model).name == "RAPL package-0, package-1"


ELSEWHERE = ["DmlExecutionProvider", "ROCMExecutionProvider", "MIGraphXExecutionProvider", "GPU.1", "AUTO", "other", ""]


@pytest.mark.parametrize("provider", ELSEWHERE)
def test_what_is_not_in_the_package_is_not_measured_by_it(packages: Sysfs, provider: str) -> None:
    with pytest.raises(DeviceError, match=f"Provider '{provider}': no sensor is known for what it") as caught:
        find_sensor(packages.root, provider=provider)
    assert caught.value.exit_code == 3
    packages.rail(2, "VDD_IN", 5_000, 1_000)  # all of a board is in its supply
    assert find_sensor(packages.root, provider=provider).name == "INA3221 rail VDD_IN"


def test_the_first_gpu_may_be_one_on_its_own_board(packages: Sysfs) -> None:
    with pytest.raises(DeviceError, match=r"'GPU' \(Intel\(R\) Arc\(TM\) A770 \(dGPU\)\): no sensor is known"):
        find_sensor(packages.root, provider="GPU", model="Intel(R) Arc(TM) A770 (dGPU)")


# Jetson rails


class Clock:
    """Says what it is told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_power_of_the_board_s_input_is_integrated(sysfs: Sysfs) -> None:
    current, clock = sysfs.rail(1, "VDD_IN", 5_000, 1_000), Clock()
    sensor = Rail("VDD_IN", current.with_name("in1_input"), current, every_s=3600, clock=clock)
    with sensor:
        begin = sensor.joules()
        clock.now += 2
        assert sensor.joules() - begin == pytest.approx(10)  # 5 V, 1 A, 2 s
        current.write_text("3000\n", encoding="utf-8")
        clock.now += 1
        assert sensor.joules() - begin == pytest.approx(20)  # from 5 W to 15 W in 1 s


def test_a_thread_reads_on_until_the_end(sysfs: Sysfs) -> None:
    current = sysfs.rail(1, "VDD_IN", 5_000, 1_000)
    ticks, read = itertools.count(), threading.Event()

    def clock() -> float:
        if threading.current_thread().name == "INA3221 rail VDD_IN":
            read.set()
        return float(next(ticks))

    sensor = Rail("VDD_IN", current.with_name("in1_input"), current, every_s=0.0001, clock=clock)
    with sensor:
        assert read.wait(60)
    after = sensor.joules()
    assert sensor.joules() == pytest.approx(after + 5)  # one tick at 5 W: nobody else reads any more


def test_the_input_of_the_module_is_preferred(sysfs: Sysfs) -> None:
    sysfs.rail(1, "VDD_CPU_GPU_CV", 5_000, 500)
    sysfs.rail(2, "VDD_IN", 5_000, 1_000)
    assert find_sensor(sysfs.root, provider="CPU").name == "INA3221 rail VDD_IN"


def test_rails_that_are_parts_of_a_board_are_not_taken_for_it(sysfs: Sysfs) -> None:
    sysfs.rail(1, "GPU", 5_000, 500)
    sysfs.rail(1, "CV", 5_000, 500, chip="1-0041")
    with pytest.raises(DeviceError, match=r"has no VDD_IN or POM_5V_IN, only CV, GPU"):
        rail(sysfs.root)


def test_a_rail_that_may_not_be_read_says_what_to_do(sysfs: Sysfs, monkeypatch: pytest.MonkeyPatch) -> None:
    forbid(monkeypatch, sysfs.rail(1, "VDD_IN", 5_000, 1_000))
    with pytest.raises(EnvironmentFault, match=r"sudo chmod a\+r .*hwmon1/\*_input"):
        find_sensor(sysfs.root, provider="CPU")


def test_a_rail_that_goes_away_is_a_failure_even_if_it_comes_back(sysfs: Sysfs) -> None:
    current = sysfs.rail(1, "VDD_IN", 5_000, 1_000)
    sensor = Rail("VDD_IN", current.with_name("in1_input"), current, every_s=3600)
    current.unlink()
    for _ in range(2):
        with sensor, pytest.raises(DeviceError, match="cannot be read any more"):
            sensor.joules()
        current.write_text("1000\n", encoding="utf-8")


# GPUs


class StandIn(ModuleType):
    """As much of pynvml as is called."""

    class NVMLError(Exception):
        """Its error."""

    def __init__(self, gpus: int = 1, *, counts: bool = True) -> None:
        super().__init__("pynvml")
        self.gpus, self.counts, self.millijoules, self.open = gpus, counts, 4_000, 0

    def nvmlInit(self) -> None:  # noqa: N802
        if not self.gpus:
            raise self.NVMLError("Driver Not Loaded")
        self.open += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return self.gpus

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:  # noqa: N802
        return f"GPU {index}"

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:  # noqa: N802
        return uuid

    def nvmlDeviceGetName(self, handle: str) -> bytes:  # noqa: N802
        return handle.encode()

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: str) -> int:  # noqa: N802
        if not self.counts:
            raise self.NVMLError("Not Supported")
        return self.millijoules


class Old(StandIn):
    """One from before there was that counter."""

    def __getattribute__(self, name: str) -> object:
        if name == "nvmlDeviceGetTotalEnergyConsumption":
            raise AttributeError(f"module 'pynvml' has no attribute {name!r}", name=name)
        return super().__getattribute__(name)


def on_gpu(monkeypatch: pytest.MonkeyPatch, package: ModuleType | None, visible: str = "") -> None:
    monkeypatch.setitem(sys.modules, "pynvml", package)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)


def test_a_gpu_is_asked_in_millijoules(packages: Sysfs, monkeypatch: pytest.MonkeyPatch) -> None:
    package = StandIn()
    on_gpu(monkeypatch, package)
    sensor = find_sensor(packages.root, provider="CUDAExecutionProvider")
    assert (sensor.name, package.open) == ("NVML GPU 0", 0)
    with sensor:
        begin = sensor.joules()
        package.millijoules += 2_500
        assert sensor.joules() - begin == pytest.approx(2.5)
    assert package.open == 0


def test_of_several_gpus_one_must_be_chosen(sysfs: Sysfs, monkeypatch: pytest.MonkeyPatch) -> None:
    package = StandIn(2)
    on_gpu(monkeypatch, package, "1")
    with pytest.raises(DeviceError, match=r"2 GPUs: say which with CUDA_VISIBLE_DEVICES=GPU-"):
        find_sensor(sysfs.root, provider="CUDA")
    assert package.open == 0
    on_gpu(monkeypatch, StandIn(2), "GPU-ab12,GPU-cd34")
    assert find_sensor(sysfs.root, provider="CUDA").name == "NVML GPU-ab12"


@pytest.mark.parametrize(
    ("package", "error", "message"),
    [
        (None, EnvironmentFault, "pip install .binas-deploy"),
        (StandIn(0), DeviceError, "answers nvmlInit with: Driver Not Loaded"),
        (StandIn(counts=False), DeviceError, "TotalEnergyConsumption with: Not Supported"),
        (ModuleType("pynvml"), EnvironmentFault, "'pynvml' has no nvmlInit: .*pip install --upgrade nvidia-ml-py"),
        (Old(), EnvironmentFault, "'pynvml' has no nvmlDeviceGetTotalEnergyConsumption: it is too old"),
    ],
    ids=["absent", "no driver", "an old GPU", "another package", "an old package"],
)
def test_a_gpu_that_cannot_be_asked_says_why(
    sysfs: Sysfs, monkeypatch: pytest.MonkeyPatch, package: ModuleType | None, error: type[Exception], message: str
) -> None:
    on_gpu(monkeypatch, package)
    with pytest.raises(error, match=message):
        find_sensor(sysfs.root, provider="TensorrtExecutionProvider")
    assert getattr(package, "open", 0) == 0


def test_a_jetson_s_gpu_is_measured_by_the_board(sysfs: Sysfs, monkeypatch: pytest.MonkeyPatch) -> None:
    on_gpu(monkeypatch, StandIn(counts=False))
    sysfs.rail(1, "VDD_IN", 5_000, 1_000)
    assert find_sensor(sysfs.root, provider="TensorRT").name == "INA3221 rail VDD_IN"
