"""ONNX's reference evaluator as a device: an example of an adapter in a package of its own.

It is right by definition and slow, since every operator is a few lines of NumPy. All of it is really measured: this
is a device like any other, only one that nobody deploys on.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import onnx
from numpy.typing import NDArray

from binas_deploy.adapters import host
from binas_deploy.adapters.base import DeviceFacts, Feed, Precision, Program
from binas_deploy.adapters.runtime import Runtime
from binas_deploy.errors import InputError
from binas_deploy.model import OnnxModel

if TYPE_CHECKING:
    from onnx.reference import ReferenceEvaluator

RUNTIME: Final = Runtime(
    name="ONNX's reference evaluator",
    package="onnx",
    distributions=("onnx",),
    extra="all",
    purpose="Running networks by ONNX's reference evaluator",
)
_THREADS: Final = "OMP_NUM_THREADS"


class ReferenceDevice:
    """Runs on the ``threads`` that NumPy has.

    The registry calls the class as ``ReferenceDevice(threads, **options)``, with the ``[options]`` of the device's
    file: this one has none.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads

    def facts(self) -> DeviceFacts:
        """This CPU, with ONNX and NumPy as they are installed.

        Raises:
            InputError: NumPy takes another number of threads than the device's file asks for.
        """
        self._require_threads()
        return RUNTIME.facts(
            RUNTIME.version(),
            device_model=host.cpu_model(),
            provider="numpy",
            options={"numpy": np.__version__},
            threads=self._threads,
        )

    def compile(self, model: OnnxModel, *, precision: Precision, cache: Path) -> Program:
        """The model as it is: there is nothing to compile.

        Raises:
            InputError: a precision other than fp32.
        """
        RUNTIME.require_fp32(precision)
        return Program(model.sha256, model.payload)

    @contextmanager
    def load(self, program: Program) -> Iterator[_Evaluator]:
        """An evaluator.

        Raises:
            DeviceError: the bytes are no valid model.
        """
        from onnx.reference import ReferenceEvaluator  # a tenth of a second: only where something is loaded

        with RUNTIME.loading(program):
            model = onnx.load_model_from_string(program.payload)
            onnx.checker.check_model(model)
            evaluator = ReferenceEvaluator(model)
        yield _Evaluator(evaluator)

    def _require_threads(self) -> None:
        host.require_threads(self._threads)
        if (found := os.environ.get(_THREADS, "")) != str(self._threads):
            raise InputError(
                f"{self._threads} threads asked, {_THREADS} is {found or 'not set'}. NumPy reads it when it is "
                f"imported: start with {_THREADS}={self._threads}."
            )


class _Evaluator:
    """A loaded model."""

    def __init__(self, evaluator: ReferenceEvaluator) -> None:
        self._evaluator = evaluator

    def run(self, feed: Feed) -> dict[str, NDArray[np.float32]]:
        """Outputs by name."""
        with RUNTIME.running():
            return dict(zip(self._evaluator.output_names, self._evaluator.run(None, dict(feed)), strict=True))

    def sample(self, feed: Feed, *, count: int) -> NDArray[np.int64]:
        """Latency of each of ``count`` back-to-back calls in ns, shape (count,)."""
        inputs, clock, taken = dict(feed), time.perf_counter_ns, []
        with RUNTIME.running():
            for _ in range(count):
                start = clock()
                self._evaluator.run(None, inputs)  # returns when the outputs are there: nothing to wait for
                taken.append(clock() - start)
        return np.array(taken, dtype=np.int64)
