"""The exam fails who must fail: one defect each, in a device that is otherwise good."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import SkipTest

import numpy as np
import pytest

import binas_deploy.testing
from binas_deploy.adapters.base import Device, DeviceFacts, Executable, Feed, Precision, Program
from binas_deploy.errors import DeviceError
from binas_deploy.model import OUTPUT_NAME, OnnxModel
from binas_deploy.testing.device_suite import PARTS, Candidate, DeviceSuite, cleanup, held
from binas_deploy.testing.fake_device import FakeDevice

Answer = dict[str, np.ndarray[Any, Any]]
Spoil = Callable[[Answer, Feed], Answer]
HELD: list[Any] = []


class Spoilt:
    """An executable with other answers or latencies."""

    def __init__(self, good: Executable, answer: Spoil, latency: Callable[[Any], Any]) -> None:
        self._good, self._answer, self._latency = good, answer, latency

    def run(self, feed: Feed) -> Answer:
        return self._answer(self._good.run(feed), feed)

    def sample(self, feed: Feed, *, count: int) -> Any:
        return self._latency(self._good.sample(feed, count=count))


class SpoiltDevice(FakeDevice):
    """``answer`` and ``latency`` change what its programs give; subclasses change the rest."""

    def __init__(
        self, answer: Spoil = lambda found, feed: found, latency: Callable[[Any], Any] = lambda samples: samples
    ) -> None:
        super().__init__()
        self._answer, self._latency = answer, latency

    @contextmanager
    def load(self, program: Program) -> Iterator[Any]:
        with super().load(program) as good:
            yield Spoilt(good, self._answer, self._latency)


def examine(make: Callable[[], Device], test: str, tmp_path: Path, **attributes: Any) -> None:
    """Sit one test of the exam."""
    suite = type("Suite", (DeviceSuite,), {"make_device": lambda self: make(), **attributes})()
    arguments = () if test in ("test_facts_are_text_and_complete", "test_the_identity_means_something") else (tmp_path,)
    getattr(suite, test)(*arguments)


def output(change: Callable[[Any], Any]) -> Callable[[], Device]:
    return lambda: SpoiltDevice(answer=lambda found, feed: {OUTPUT_NAME: change(found[OUTPUT_NAME])})


def latency(change: Callable[[Any], Any]) -> Callable[[], Device]:
    return lambda: SpoiltDevice(latency=change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda out: out * np.float32(1.001), "differ from the reference by 1.00e-03"),
        (lambda out: out * np.float32(np.nan), "differ from the reference by nan"),
        (lambda out: out.astype(np.float64), "float32, found float64"),
        (lambda out: out[0], "output shape"),
    ],
)
def test_wrong_outputs(change: Callable[[Any], Any], message: str, tmp_path: Path) -> None:
    for test in ("test_outputs_equal_the_reference", "test_single_pieces", "test_batches"):
        with pytest.raises(AssertionError, match=message):
            examine(output(change), test, tmp_path)


def test_outputs_that_change(tmp_path: Path) -> None:
    noise = np.random.default_rng(0)
    with pytest.raises(AssertionError, match="two runs on the same input differ"):
        examine(
            output(lambda out: out * np.float32(1 + 1e-6 * noise.random())), "test_runs_are_deterministic", tmp_path
        )


def _same_buffer() -> Device:
    buffer = np.zeros((1, 7), np.float32)

    def answer(found: Answer, feed: Feed) -> Answer:
        buffer[:] = found[OUTPUT_NAME]
        return {OUTPUT_NAME: buffer}

    return SpoiltDevice(answer)


def _first_answer_again() -> Device:
    kept: list[Answer] = []

    def answer(found: Answer, feed: Feed) -> Answer:
        kept.append(found)
        return kept[0]

    return SpoiltDevice(answer)


def _writes_into_its_input() -> Device:
    def answer(found: Answer, feed: Feed) -> Answer:
        next(iter(feed.values()))[...] *= np.float32(0.5)
        return found

    return SpoiltDevice(answer)


@pytest.mark.parametrize("make", [_same_buffer, _first_answer_again, _writes_into_its_input])
def test_answers_to_another_feed(make: Callable[[], Device], tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"differ from the reference|an input was changed"):
        examine(make, "test_each_call_answers_its_own_feed", tmp_path)


class AnyPrecision(FakeDevice):
    def compile(self, model: OnnxModel, *, precision: Precision, cache: Path) -> Program:
        return super().compile(model, precision=Precision.FP32, cache=cache)


def test_one_precision_as_another(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="bit for bit what"):
        examine(AnyPrecision, "test_other_precisions_work_or_are_refused", tmp_path)


def _away_in_int8(share: float) -> Device:
    """ONNX Runtime in int8, with each output ``share`` of the largest one away from where it was."""
    from binas_deploy.adapters.onnxruntime import OnnxRuntimeDevice

    def answer(found: Answer, feed: Feed) -> Answer:
        return {name: out + np.float32(share) * np.abs(out).max() for name, out in found.items()}

    class Away(OnnxRuntimeDevice):
        @contextmanager
        def load(self, program: Program) -> Iterator[Any]:
            with super().load(program) as good:
                yield Spoilt(good, answer, lambda samples: samples)

    return Away(threads=1, precision="int8")


def test_int8_may_differ_by_as_much_as_quantising_changes(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    asked: dict[str, Any] = {"precision": Precision.INT8, "tolerance": 0.0}
    examine(lambda: _away_in_int8(0.02), "test_outputs_equal_the_reference", tmp_path, **asked)
    with pytest.raises(AssertionError, match="outputs differ from the reference by"):
        examine(lambda: _away_in_int8(0.7), "test_outputs_equal_the_reference", tmp_path, **asked)


def test_a_claimed_precision_that_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="fp16 is claimed, and refused: precision 'fp16'"):
        examine(FakeDevice, "test_other_precisions_work_or_are_refused", tmp_path, precisions=(Precision.FP16,))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda samples: samples[:1], "20 samples asked"),
        (lambda samples: samples / 2, "int64 ns, found float64"),
        (lambda samples: samples * 0, "latencies are positive"),
    ],
)
def test_samples_that_are_none(change: Callable[[Any], Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=message):
        examine(latency(change), "test_samples_are_positive_integers", tmp_path)


def test_time_that_does_not_depend_on_the_work(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="MACs took 7 ns"):
        examine(latency(lambda samples: samples * 0 + 7), "test_much_more_work_takes_longer", tmp_path)


class NotSimulated(FakeDevice):
    """Seconds that never passed."""

    def facts(self) -> DeviceFacts:
        return dataclasses.replace(super().facts(), simulated=False)

    @contextmanager
    def load(self, program: Program) -> Iterator[Any]:
        with super().load(program) as good:
            yield Spoilt(good, lambda found, feed: found, lambda samples: samples + 10**9)


def test_samples_that_were_not_taken(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="20 samples of 200"):
        examine(NotSimulated, "test_samples_happen_one_after_another", tmp_path)
    with pytest.raises(SkipTest, match="simulated"):
        examine(FakeDevice, "test_samples_happen_one_after_another", tmp_path)


class Obliging(FakeDevice):
    """Takes anything for a model, and gives zeros."""

    @contextmanager
    def load(self, program: Program) -> Iterator[Any]:
        yield SimpleNamespace(run=lambda feed: {OUTPUT_NAME: np.zeros((1, 7), np.float32)})


@pytest.mark.parametrize(
    ("test", "message"),
    [
        ("test_broken_models_are_refused", "a broken model must give a DeviceError, found None"),
        ("test_an_unknown_operator_is_refused_by_name", "an unknown operator must give a BinasError, found None"),
        ("test_unusual_operators_are_right_or_refused_by_name", "neither right nor refused by name: Conv: Assertion"),
    ],
)
def test_running_what_it_cannot(test: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=message):
        examine(Obliging, test, tmp_path)


class Mumbling(FakeDevice):
    @contextmanager
    def load(self, program: Program) -> Iterator[Any]:
        raise DeviceError("failed")
        yield


def test_refusing_without_a_word(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="the message says nothing: 'failed'"):
        examine(Mumbling, "test_broken_models_are_refused", tmp_path)
    with pytest.raises(AssertionError, match="the operator 'Wobble' is not named in 'failed'"):
        examine(Mumbling, "test_an_unknown_operator_is_refused_by_name", tmp_path)


def test_a_loss_that_nobody_tells(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="a lost device must give a DeviceError, found None"):
        examine(FakeDevice, "test_a_lost_device_is_told", tmp_path, lose=lambda suite, device: None)
    with pytest.raises(SkipTest, match="gives no 'lose'"):
        examine(FakeDevice, "test_a_lost_device_is_told", tmp_path)
    with pytest.raises(SkipTest, match="no way to lose"):
        Candidate().lose(FakeDevice())


class LastCompiled(FakeDevice):
    """Its memory is one program long."""

    def compile(self, model: OnnxModel, *, precision: Precision, cache: Path) -> Program:
        self.last = super().compile(model, precision=precision, cache=cache)
        time.sleep(0.05)
        return self.last

    @contextmanager
    def load(self, program: Program) -> Iterator[Any]:
        with super().load(self.last) as good:
            yield Spoilt(good, lambda found, feed: found, lambda samples: samples)


def test_threads_that_take_each_other_s_program(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="differ from the reference"):
        examine(LastCompiled, "test_several_threads_compile_and_load_at_once", tmp_path)


def _one_input_for_all() -> Device:
    """Each program runs on what the other was given last."""
    device, given = FakeDevice(), SimpleNamespace(feed={})

    @contextmanager
    def load(program: Program) -> Iterator[Any]:
        with FakeDevice.load(device, program) as good:

            def run(feed: Feed) -> Answer:
                earlier, given.feed = given.feed, feed
                return good.run(earlier or feed)

            yield SimpleNamespace(run=run)

    device.load = load  # type: ignore[method-assign]
    return device


@pytest.mark.parametrize("test", ["test_two_programs_take_turns", "test_two_programs_run_in_two_threads"])
def test_programs_that_disturb_one_another(test: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="differ from the reference"):
        examine(_one_input_for_all, test, tmp_path)


class Leaking(FakeDevice):
    """Keeps what ``keep`` makes on each loading."""

    def __init__(self, keep: Callable[[Program], Any]) -> None:
        super().__init__()
        self._keep = keep

    @contextmanager
    def load(self, program: Program) -> Iterator[Any]:
        HELD.append(self._keep(program))
        with super().load(program) as good:
            yield good


@pytest.fixture
def _let_go(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(cleanup, "_SETTLE_SECONDS", 0.0)
    yield
    for thing in HELD:
        with suppress(AttributeError):
            thing.kill()
        for end in ("close", "set", "wait"):
            with suppress(AttributeError):
                getattr(thing, end)()
    HELD.clear()


def _waiting_thread(program: Program) -> threading.Event:
    event = threading.Event()
    threading.Thread(target=event.wait, daemon=True).start()
    return event


def _sleeping_process(program: Program) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])


@pytest.mark.usefixtures("_let_go")
@pytest.mark.parametrize(
    ("keep", "cycles", "message"),
    [
        (_waiting_thread, 3, "threads: "),
        (lambda program: Path(__file__).open(encoding="utf-8"), 3, "open files: "),  # noqa: SIM115
        (_sleeping_process, 1, r"child processes: \d+, then \d+"),
        (lambda program: bytearray(program.payload), 100, "bytes of memory: "),
    ],
)
def test_leaks(keep: Callable[[Program], Any], cycles: int, message: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=message):
        examine(lambda: Leaking(keep), "test_loading_leaks_nothing", tmp_path, cycles=cycles)


class Swallowing(FakeDevice):
    @contextmanager
    def load(self, program: Program) -> Iterator[Any]:
        with super().load(program) as good, suppress(KeyError):
            yield good


def test_an_error_of_the_caller_s_that_vanishes(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="came out as None"):
        examine(Swallowing, "test_an_error_inside_leaves_the_device_usable", tmp_path)


class SaysOtherwise(FakeDevice):
    """``said`` in place of what it should say; 'count' counts."""

    def __init__(self, **said: str) -> None:
        super().__init__()
        self._said, self._calls = said, 0

    def facts(self) -> DeviceFacts:
        self._calls += 1
        said = {key: str(self._calls) if text == "count" else text for key, text in self._said.items()}
        found = super().facts()
        identity = {key: text for key, text in {**found.identity, **said}.items() if text != "left out"}
        return dataclasses.replace(found, identity=identity)


@pytest.mark.parametrize(
    ("said", "test", "message"),
    [
        ({"affinity": "left out"}, "test_facts_are_text_and_complete", r"leaves out \['affinity'\]"),
        ({"provider": ""}, "test_facts_are_text_and_complete", "facts are text by key"),
        ({"device_model": "Unknown"}, "test_the_identity_means_something", "says nothing in .*'device_model'"),
        ({"threads": "many"}, "test_the_identity_means_something", "threads is a number"),
        ({"runtime_version": "new"}, "test_the_identity_means_something", "version has a number"),
        ({"runtime_version": "count"}, "test_identity_does_not_change", "the identity changed"),
    ],
)
def test_facts_that_say_little(said: dict[str, str], test: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=message):
        examine(lambda: SaysOtherwise(**said), test, tmp_path)


def test_memory_of_gpus_is_what_torch_and_nvml_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = SimpleNamespace(
        is_initialized=lambda: True,
        synchronize=lambda: None,
        device_count=lambda: 2,
        memory_allocated=lambda index: 100 + index,
    )
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    monkeypatch.setitem(sys.modules, "pynvml", _nvml([[SimpleNamespace(pid=-1, usedGpuMemory=7)], []]))
    amounts = held.held()
    assert amounts["bytes of CUDA memory by torch"] == 201
    assert amounts["bytes of GPU memory by NVML"] == 7


def test_gpus_of_others_and_broken_drivers_tell_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    others = [SimpleNamespace(pid=-1, usedGpuMemory=7), SimpleNamespace(pid=-2, usedGpuMemory=8)]
    monkeypatch.setitem(sys.modules, "pynvml", _nvml([others]))
    assert held.held()["bytes of GPU memory by NVML"] == 0
    broken = _nvml([])
    broken.nvmlDeviceGetCount = _raising(broken.NVMLError)
    monkeypatch.setitem(sys.modules, "pynvml", broken)
    assert "bytes of GPU memory by NVML" not in held.held()
    broken.nvmlInit = _raising(broken.NVMLError)
    assert "bytes of GPU memory by NVML" not in held.held()


def _nvml(processes: list[list[SimpleNamespace]]) -> Any:
    return SimpleNamespace(
        NVMLError=type("NVMLError", (Exception,), {}),
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetCount=lambda: len(processes),
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetComputeRunningProcesses=lambda handle: processes[handle],
    )


def _raising(kind: type[Exception]) -> Callable[[], Any]:
    def call() -> Any:
        raise kind

    return call


def test_the_exam_is_all_of_its_parts_and_is_found_twice() -> None:
    assert binas_deploy.testing.DeviceSuite is binas_deploy.testing.DeviceSuite is DeviceSuite
    tests = {name for part in PARTS for name in vars(part) if name.startswith("test_")}
    assert tests == {name for name in dir(DeviceSuite) if name.startswith("test_")}
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        binas_deploy.testing.__getattr__("Nothing")
    with pytest.raises(NotImplementedError, match="make_device"):
        Candidate().make_device()
