"""What every device adapter must do, as tests to inherit.

A package that adds a device writes::

    class TestMyDevice(DeviceSuite):
        def make_device(self) -> Device:
            return MyDevice(threads=1)

and pytest finds the rest. Nothing here imports pytest.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray

from binas_deploy.adapters.base import Device, Executable, Precision
from binas_deploy.conditions import BACK_TO_BACK, Conditions
from binas_deploy.errors import BinasError, DeviceError
from binas_deploy.model import OUTPUT_NAME, OnnxModel
from binas_deploy.testing.networks import random_feed, random_network, small_space

NETWORKS: Final = 6
TOLERANCE: Final = 1e-4
"""Largest difference from the reference, as a share of the reference's largest value."""
CYCLES: Final = 50
SAMPLES: Final = 20
LEAST_WORK_RATIO: Final = 20


class DeviceSuite:
    """Inherit, and give `make_device`."""

    precision: Precision = Precision.FP32
    tolerance: float = TOLERANCE

    def make_device(self) -> Device:
        """The device under test."""
        raise NotImplementedError("a conformance suite gives its device in make_device")

    def test_facts_are_text_and_complete(self) -> None:
        """Identity and context are text, and with what a device file states they make conditions."""
        facts = self.make_device().facts()
        pairs = [*facts.identity.items(), *facts.context.items()]
        wrong = [pair for pair in pairs if not all(isinstance(text, str) and text for text in pair)]
        _require(not wrong, f"facts are text by key, found {wrong}")
        stated = {"device": "d", "precision": self.precision.value, "batch": "1", "cadence": BACK_TO_BACK}
        Conditions({**facts.identity, **stated}, facts.context)

    def test_identity_does_not_change(self) -> None:
        """Two devices made alike are the same device."""
        first, second = (dict(self.make_device().facts().identity) for _ in range(2))
        _require(first == second, f"the identity changed from {first} to {second}")

    def test_outputs_equal_the_reference(self, tmp_path: Path) -> None:
        """Random networks agree with ONNX's reference evaluator."""
        space, rng = small_space(), np.random.default_rng(0)
        for seed in range(NETWORKS):
            self._compare(random_network(space, space.sample(rng), seed), seed, tmp_path)

    def test_batches(self, tmp_path: Path) -> None:
        """Several inputs at once agree with the reference too."""
        space = small_space()
        self._compare(random_network(space, space.largest(), 3, batch=3), 3, tmp_path)

    def test_runs_are_deterministic(self, tmp_path: Path) -> None:
        """Equal inputs give equal outputs, bit for bit."""
        model = _model()
        with self._loaded(model, tmp_path) as executable:
            first, second = (executable.run(random_feed(model, 1))[OUTPUT_NAME].copy() for _ in range(2))
        _require(np.array_equal(first, second), "two runs on the same input differ")

    def test_samples_are_positive_integers(self, tmp_path: Path) -> None:
        """`sample` gives as many int64 nanoseconds as asked for."""
        model = _model()
        with self._loaded(model, tmp_path) as executable:
            for count in (1, SAMPLES):
                samples = executable.sample(random_feed(model, 1), count=count)
                _require(samples.shape == (count,), f"{count} samples asked, found shape {samples.shape}")
                _require(samples.dtype == np.int64, f"samples are int64 ns, found {samples.dtype}")
                _require(bool((samples > 0).all()), f"latencies are positive, found {samples.min()}")

    def test_much_more_work_takes_longer(self, tmp_path: Path) -> None:
        """A network of over 20 times the work takes longer: samples time the work, not only the call."""
        small, large = small_space(resolution=16), small_space(resolution=96, width=96)
        works = [space.macs(space.largest()) for space in (small, large)]
        _require(works[1] >= LEAST_WORK_RATIO * works[0], f"the networks differ too little: {works} MACs")
        quick, slow = (self._fastest(random_network(space, space.largest(), 1), tmp_path) for space in (small, large))
        _require(slow > quick, f"{works[1]} MACs took {slow} ns, {works[0]} MACs {quick} ns")

    def test_broken_models_are_refused(self, tmp_path: Path) -> None:
        """Bytes that are no model, and half a model, give one readable `DeviceError`."""
        whole = _model()
        for payload in (b"this is not a model", whole.payload[: len(whole.payload) // 2]):
            broken = OnnxModel(payload, whole.input_shape, whole.output_shape)
            found = self._refusal(broken, self.precision, tmp_path)
            _require(isinstance(found, DeviceError), f"a broken model must give a DeviceError, found {found!r}")
            _require("Traceback" not in str(found) and len(str(found)) > len("DeviceError"), "the message says nothing")

    def test_other_precisions_work_or_are_refused(self, tmp_path: Path) -> None:
        """A precision that the device does not have is refused, never run as another."""
        model = _model()
        for precision in Precision:
            found = self._refusal(model, precision, tmp_path)
            _require(found is None or isinstance(found, BinasError), f"{precision.value}: found {found!r}")

    def test_loading_leaks_nothing(self, tmp_path: Path) -> None:
        """Loading and unloading again and again keeps no threads and no files open."""
        model = _model()
        self._cycle(model, 2, tmp_path)
        before = _resources()
        self._cycle(model, CYCLES, tmp_path)
        after = _resources()
        _require(after <= before, f"(threads, open files) went from {before} to {after} in {CYCLES} cycles")

    def _cycle(self, model: OnnxModel, times: int, cache: Path) -> None:
        feed = random_feed(model, 1)
        for _ in range(times):
            with self._loaded(model, cache) as executable:
                executable.sample(feed, count=1)
        gc.collect()

    @contextmanager
    def _loaded(self, model: OnnxModel, cache: Path) -> Iterator[Executable]:
        device = self.make_device()
        with device.load(device.compile(model, precision=self.precision, cache=cache)) as executable:
            yield executable

    def _compare(self, model: OnnxModel, seed: int, cache: Path) -> None:
        feed = random_feed(model, seed)
        expected = _reference(model, feed)
        with self._loaded(model, cache) as executable:
            found = executable.run(feed)[OUTPUT_NAME]
        _require(found.shape == expected.shape, f"output shape {found.shape}, the reference gives {expected.shape}")
        error = float(np.abs(found - expected).max() / np.abs(expected).max())
        _require(error <= self.tolerance, f"outputs differ from the reference by {error:.2e} of its largest value")

    def _fastest(self, model: OnnxModel, cache: Path) -> int:
        with self._loaded(model, cache) as executable:
            feed = random_feed(model, 1)
            executable.sample(feed, count=SAMPLES)
            return int(executable.sample(feed, count=SAMPLES).min())

    def _refusal(self, model: OnnxModel, precision: Precision, cache: Path) -> Exception | None:
        device = self.make_device()
        try:
            with device.load(device.compile(model, precision=precision, cache=cache)) as executable:
                executable.run(random_feed(model, 1))
        except Exception as error:  # noqa: BLE001  whatever it is, the test judges it
            return error
        return None


def _model() -> OnnxModel:
    space = small_space()
    return random_network(space, space.largest(), 1)


def _reference(model: OnnxModel, feed: dict[str, NDArray[np.float32]]) -> NDArray[np.float32]:
    from onnx.reference import ReferenceEvaluator

    (expected,) = ReferenceEvaluator(onnx.load_model_from_string(model.payload)).run(None, dict(feed))
    return np.asarray(expected)


def _resources() -> tuple[int, int]:
    """(threads, open files) of this process."""
    import psutil

    process = psutil.Process()
    files = process.num_handles() if sys.platform == "win32" else process.num_fds()
    return process.num_threads(), files


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(message)
