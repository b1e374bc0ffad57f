"""What a suite says of its device, and what all parts of the exam do with it."""

from __future__ import annotations

import atexit
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from unittest import SkipTest

import numpy as np
import onnx
from numpy.typing import NDArray

from binas_deploy.adapters.base import Device, Executable, Precision, Program
from binas_deploy.model import OUTPUT_NAME, OnnxModel
from binas_deploy.quantisers.for_timing import as_compiled
from binas_deploy.testing.networks import random_feed, random_network, small_space

Floats = NDArray[np.float32]
TOLERANCE: Final = 1e-4
"""Largest difference from the reference in fp32, as a share of the reference's largest value."""
HALF_TOLERANCE: Final = 2e-2
"""The same in fp16, whose rounding of 2^-11 adds up over the layers."""
INT8_TOLERANCE: Final = 2e-1
"""The same in int8 against the same quantised network: sums that round to the other side move on as whole steps."""
CYCLES: Final = 200


class Candidate:
    """The device under test. A subclass gives `make_device`, and sets what is different from here.

    ``precision`` is what everything runs in, right within ``tolerance`` (max absolute difference from ONNX's reference
    evaluator / max absolute reference). ``precisions`` are claimed besides: each must then run, right within its
    ``tolerances``; without one there, its outputs need only be finite. ``networks`` is how many of each shipped space
    are compared, and ``cycles`` how often a program is loaded and let go: lower them, with the reason beside, where
    compiling or loading takes seconds. In int8 a device that takes quantised networks is given such ones, the
    reference evaluates what it is given, and what quantising itself changes is allowed where it is more.
    """

    precision: Precision = Precision.FP32
    tolerance: float = TOLERANCE
    precisions: tuple[Precision, ...] = ()
    tolerances: Mapping[Precision, float] = MappingProxyType({Precision.FP16: HALF_TOLERANCE})
    networks: int = 2
    cycles: int = CYCLES

    def make_device(self) -> Device:
        """The device under test: a new one each time, all made alike."""
        raise NotImplementedError("a conformance suite gives its device in make_device")

    def lose(self, device: Device) -> None:
        """Make the device vanish for good, as by ending what serves it; called while a program of it is loaded."""
        raise SkipTest("this suite has no way to lose its device")

    @contextmanager
    def _loaded(self, model: OnnxModel, cache: Path, precision: Precision | None = None) -> Iterator[Executable]:
        device = self.make_device()
        with device.load(self._compiled(device, model, cache, precision)) as executable:
            yield executable

    def _compiled(self, device: Device, model: OnnxModel, cache: Path, precision: Precision | None = None) -> Program:
        asked = precision or self.precision
        return device.compile(as_compiled(device, model, asked, quantised_folder()), precision=asked, cache=cache)

    def _reference(self, model: OnnxModel, seed: int, precision: Precision | None = None) -> Floats:
        """Of the network that is compiled: in int8 the quantised one, whose rounding is a part of what it says."""
        asked = precision or self.precision
        if asked is not Precision.INT8:
            return reference(model, seed)
        return reference(as_compiled(self.make_device(), model, asked, quantised_folder()), seed)

    def _compare(self, model: OnnxModel, seed: int, cache: Path) -> None:
        with self._loaded(model, cache) as executable:
            self._require_right(output_of(executable, model, seed), model, seed)

    def _require_right(self, found: Floats, model: OnnxModel, seed: int) -> None:
        expected = self._reference(model, seed)
        require_near(found, expected, max(self.tolerance, self._changed_by_quantising(expected, model, seed)))

    def _changed_by_quantising(self, expected: Floats, model: OnnxModel, seed: int) -> float:
        """How far int8 moves the outputs by its definition; 0 in other precisions.

        Random networks enlarge small differences, each one differently. A sum that rounds to the other side is one
        step in one place, where quantising itself was up to half a step in every place: so it is the yardstick. ONNX
        Runtime 1.31 came to a quarter of it and 1.23 to three quarters, over 16 random networks.
        """
        return difference(expected, reference(model, seed)) if self.precision is Precision.INT8 else 0.0

    def _refusal(self, model: OnnxModel, cache: Path) -> Exception | None:
        """What compiling, loading or running raises; None where the outputs are right."""

        def attempt() -> None:
            with self._loaded(model, cache) as executable:
                executable.run(random_feed(model, 1))

        return raised_by(attempt)


def require(condition: bool, message: str) -> None:
    """Fail the test with ``message`` unless ``condition``."""
    if not condition:
        raise AssertionError(message)


def require_near(found: Floats, expected: Floats, tolerance: float) -> None:
    """Fail unless ``found`` is float32 of the same shape and max |found - expected| / max |expected| <= tolerance."""
    require(found.shape == expected.shape, f"output shape {found.shape}, the reference gives {expected.shape}")
    require(found.dtype == np.float32, f"outputs are float32, found {found.dtype}")
    error = difference(found, expected)
    require(error <= tolerance, f"outputs differ from the reference by {error:.2e} of its largest value")


def difference(found: NDArray[np.floating[Any]], expected: NDArray[np.floating[Any]]) -> float:
    """Max |found - expected| / max |expected|."""
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def raised_by(call: Callable[[], object]) -> Exception | None:
    """The exception that ``call`` raises, for the test to judge."""
    try:
        call()
    except Exception as error:  # noqa: BLE001  whatever it is
        return error
    return None


def output_of(executable: Executable, model: OnnxModel, seed: int) -> Floats:
    """The output for `random_feed`."""
    return executable.run(random_feed(model, seed))[OUTPUT_NAME]


@lru_cache(maxsize=64)
def reference(model: OnnxModel, seed: int) -> Floats:
    """The output for `random_feed` by ONNX's reference evaluator, in fp32; do not change it in place."""
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(onnx.load_model_from_string(model.payload))
    (expected,) = evaluator.run(None, dict(random_feed(model, seed)))
    return np.asarray(expected)


@lru_cache(maxsize=1)
def quantised_folder() -> Path:
    """Where networks that were quantised for one test are kept for the others, until this process ends."""
    folder = tempfile.TemporaryDirectory(prefix="binas-deploy-")
    atexit.register(folder.cleanup)
    return Path(folder.name)


@lru_cache(maxsize=8)
def small_network(seed: int = 1) -> OnnxModel:
    """The largest network of the small space, with weights by ``seed``."""
    space = small_space()
    return random_network(space, space.largest(), seed)
