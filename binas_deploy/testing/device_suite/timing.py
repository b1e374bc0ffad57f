"""Latencies: positive, of calls that have ended, and longer for more work."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final
from unittest import SkipTest

import numpy as np

from binas_deploy.model import OnnxModel
from binas_deploy.testing.device_suite.candidate import Candidate, require, small_network
from binas_deploy.testing.networks import random_feed, random_network, small_space

SAMPLES: Final = 20
LEAST_WORK_RATIO: Final = 20
_CLOCKS_AGREE: Final = 1.01
"""A remote machine's clock, or an accelerator's, may run this much faster than ours."""


class TimingExam(Candidate):
    """`sample` gives device-synchronised nanoseconds."""

    def test_samples_are_positive_integers(self, tmp_path: Path) -> None:
        """As many int64 nanoseconds as asked for."""
        model = small_network()
        with self._loaded(model, tmp_path) as executable:
            for count in (1, SAMPLES):
                samples = executable.sample(random_feed(model, 1), count=count)
                require(samples.shape == (count,), f"{count} samples asked, found shape {samples.shape}")
                require(samples.dtype == np.int64, f"samples are int64 ns, found {samples.dtype}")
                require(bool((samples > 0).all()), f"latencies are positive, found {samples.min()}")

    def test_samples_happen_one_after_another(self, tmp_path: Path) -> None:
        """Back-to-back calls take at least as long together as they say: none overlaps another, or is made up."""
        if self.make_device().facts().simulated:
            raise SkipTest("simulated latencies pass in no time")
        model = small_network()
        with self._loaded(model, tmp_path) as executable:
            start = time.perf_counter_ns()
            samples = executable.sample(random_feed(model, 1), count=SAMPLES)
            wall = time.perf_counter_ns() - start
        total = int(samples.sum())
        require(total <= wall * _CLOCKS_AGREE, f"{SAMPLES} samples of {total} ns in all were taken in {wall} ns")

    def test_much_more_work_takes_longer(self, tmp_path: Path) -> None:
        """A network of over 20 times the work takes longer: samples time the work, not only the call."""
        small, large = small_space(resolution=16), small_space(resolution=96, width=96)
        works = [space.macs(space.largest()) for space in (small, large)]
        require(works[1] >= LEAST_WORK_RATIO * works[0], f"the networks differ too little: {works} MACs")
        quick, slow = (self._fastest(random_network(space, space.largest(), 1), tmp_path) for space in (small, large))
        require(slow > quick, f"{works[1]} MACs took {slow} ns, {works[0]} MACs {quick} ns")

    def _fastest(self, model: OnnxModel, cache: Path) -> int:
        with self._loaded(model, cache) as executable:
            feed = random_feed(model, 1)
            executable.sample(feed, count=SAMPLES)
            return int(executable.sample(feed, count=SAMPLES).min())
