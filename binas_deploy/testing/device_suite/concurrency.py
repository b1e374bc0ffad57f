"""Several programs and several threads at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Final, TypeVar

import numpy as np

from binas_deploy.adapters.base import Device, Executable
from binas_deploy.model import OnnxModel
from binas_deploy.testing.device_suite.candidate import Candidate, Floats, output_of, small_network

THREADS: Final = 4
TURNS: Final = 10
_WAIT_SECONDS: Final = 60
_Item = TypeVar("_Item")
_Found = TypeVar("_Found")


class ConcurrencyExam(Candidate):
    """Programs do not disturb one another."""

    def test_several_threads_compile_and_load_at_once(self, tmp_path: Path) -> None:
        """One device, one cache, each of two models twice: each gives its own outputs."""
        device = self.make_device()
        models = [small_network(seed) for seed in (1, 2)] * (THREADS // 2)

        def whole(model: OnnxModel) -> Floats:
            program = self._compiled(device, model, tmp_path)
            with device.load(program) as executable:
                return np.array(output_of(executable, model, 1))

        for model, found in zip(models, _at_once(whole, models), strict=True):
            self._require_right(found, model, 1)

    def test_two_programs_take_turns(self, tmp_path: Path) -> None:
        """Loaded at the same time and run alternately, as a profile does."""
        with ExitStack() as stack:
            pairs = self._two_loaded(stack, tmp_path)
            for seed in range(TURNS):
                for model, executable in pairs:
                    self._require_right(output_of(executable, model, seed), model, seed)

    def test_two_programs_run_in_two_threads(self, tmp_path: Path) -> None:
        """Loaded in one thread, each run in one of its own, at the same time."""

        def turns(pair: tuple[OnnxModel, Executable]) -> list[Floats]:
            return [np.array(output_of(pair[1], pair[0], seed)) for seed in range(TURNS)]

        with ExitStack() as stack:
            pairs = self._two_loaded(stack, tmp_path)
            for (model, _), found in zip(pairs, _at_once(turns, pairs), strict=True):
                for seed, output in enumerate(found):
                    self._require_right(output, model, seed)

    def _two_loaded(self, stack: ExitStack, cache: Path) -> list[tuple[OnnxModel, Executable]]:
        device, models = self.make_device(), [small_network(seed) for seed in (1, 2)]
        return [(model, stack.enter_context(self._load(device, model, cache))) for model in models]

    def _load(self, device: Device, model: OnnxModel, cache: Path) -> AbstractContextManager[Executable]:
        return device.load(self._compiled(device, model, cache))


def _at_once(call: Callable[[_Item], _Found], items: Sequence[_Item]) -> list[_Found]:
    """``call`` of each item in a thread of its own, all begun together."""
    gate = threading.Barrier(len(items))

    def begin(item: _Item) -> _Found:
        gate.wait(_WAIT_SECONDS)
        return call(item)

    with ThreadPoolExecutor(len(items)) as threads:
        return list(threads.map(begin, items))
