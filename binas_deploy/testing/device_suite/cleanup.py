"""Leaving a loaded program frees everything."""

from __future__ import annotations

import time
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np

from binas_deploy.adapters.base import Device, Program
from binas_deploy.block import Activation, Block, Op, Option
from binas_deploy.graph import build_piece, random_weights, weight_shapes
from binas_deploy.model import OnnxModel
from binas_deploy.testing.device_suite.candidate import Candidate, output_of, raised_by, require, small_network
from binas_deploy.testing.device_suite.held import BYTES, held
from binas_deploy.testing.networks import random_feed

WARM_UP: Final = 5
NOISE_BYTES: Final = 32 * 2**20
"""How much an allocator may keep for itself, besides half a program per cycle."""
STRETCHES: Final = 3
_SETTLE_SECONDS: Final = 2.0
_PAUSE_SECONDS: Final = 0.05


class CleanupExam(Candidate):
    """Nothing stays behind of a program, whichever way its context is left."""

    def test_loading_leaks_nothing(self, tmp_path: Path) -> None:
        """Threads, open files, child processes and memory are the same after many load/unload cycles.

        A leak grows on and on. What an allocator keeps for itself it keeps once or twice: no leak is called before it
        has grown by as much again, and again.
        """
        device, model = self.make_device(), _heavy_model()
        program = self._compiled(device, model, tmp_path)
        allowed_bytes = NOISE_BYTES + self.cycles * len(model.payload) // 2
        _cycle(device, program, model, WARM_UP)
        for _ in range(STRETCHES):
            before = held()
            _cycle(device, program, model, self.cycles)
            kept = _kept_since(before, allowed_bytes)
            if not kept:
                return
        require(False, f"with every {self.cycles} cycles of loading there are more {'; '.join(kept)}")

    def test_an_error_inside_leaves_the_device_usable(self, tmp_path: Path) -> None:
        """An exception of the caller's comes out as it went in, and the next program loads."""
        device, model = self.make_device(), small_network()
        program = self._compiled(device, model, tmp_path)
        thrown = KeyError("of the caller")

        def interrupted() -> None:
            with device.load(program) as executable:
                executable.sample(random_feed(model, 1), count=1)
                raise thrown

        found = raised_by(interrupted)
        require(found is thrown, f"a KeyError of the caller's came out as {found!r}")
        with device.load(program) as executable:
            self._require_right(output_of(executable, model, 1), model, 1)


@lru_cache(maxsize=1)
def _heavy_model() -> OnnxModel:
    """One layer of 2.4 MB, so that leaking it shows, and loading and running it is quick."""
    layer = Block(Option(Op.CONV, 1), c_in=768, c_out=768, resolution=2, stride=1, activation=Activation.RELU)
    return build_piece(layer, random_weights(weight_shapes(layer), np.random.default_rng(0)))


def _cycle(device: Device, program: Program, model: OnnxModel, times: int) -> None:
    feed = random_feed(model, 1)
    for _ in range(times):
        with device.load(program) as executable:
            executable.sample(feed, count=1)


def _kept_since(before: dict[str, int], allowed_bytes: int) -> list[str]:
    """What there is more of; threads and processes that are about to end are given time to."""
    deadline = time.monotonic() + _SETTLE_SECONDS
    while (kept := _more(before, held(), allowed_bytes)) and time.monotonic() < deadline:
        time.sleep(_PAUSE_SECONDS)
    return kept


def _more(before: dict[str, int], after: dict[str, int], allowed_bytes: int) -> list[str]:
    def allowed(name: str) -> int:
        return allowed_bytes if name.startswith(BYTES) else 0

    grown = [name for name in after if after[name] > before.get(name, 0) + allowed(name)]
    return [f"{name}: {before.get(name, 0)}, then {after[name]}" for name in grown]
