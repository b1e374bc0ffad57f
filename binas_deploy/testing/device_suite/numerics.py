"""Outputs: equal to those of ONNX's reference evaluator, each time and in each precision."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from binas_deploy.adapters.base import Precision
from binas_deploy.errors import BinasError
from binas_deploy.model import OUTPUT_NAME
from binas_deploy.space_file import load_space
from binas_deploy.testing.device_suite.candidate import (
    Candidate,
    Floats,
    output_of,
    raised_by,
    require,
    require_near,
    small_network,
)
from binas_deploy.testing.networks import every_piece, random_feed, random_network, small_space
from binas_deploy.testing.unusual import unusual_models

SMALL_NETWORKS: Final = 6
SPACES: Final = ("cifar10", "mobilenetv3")
BATCH: Final = 3
_WEIGHT_SEED: Final = 11


class NumericsExam(Candidate):
    """max |output - reference| / max |reference| is within the tolerance."""

    def test_outputs_equal_the_reference(self, tmp_path: Path) -> None:
        """Small random networks, with every kind of block and activation between them."""
        space, rng = small_space(), np.random.default_rng(0)
        for seed in range(SMALL_NETWORKS):
            self._compare(random_network(space, space.sample(rng), seed), seed, tmp_path)

    def test_networks_of_the_shipped_spaces(self, tmp_path: Path) -> None:
        """Random networks of both shipped spaces, as large as they are."""
        for name in SPACES:
            space, rng = load_space(name), np.random.default_rng(1)
            for seed in range(self.networks):
                self._compare(random_network(space, space.sample(rng), _WEIGHT_SEED + seed), seed, tmp_path)

    def test_single_pieces(self, tmp_path: Path) -> None:
        """Stem, blocks and head alone, as a profile measures them."""
        for seed, model in enumerate(every_piece(small_space())):
            self._compare(model, seed, tmp_path)

    def test_batches(self, tmp_path: Path) -> None:
        """Several inputs at once, small and real."""
        for seed, space in enumerate((small_space(), load_space(SPACES[0]))):
            self._compare(random_network(space, space.largest(), seed, batch=BATCH), seed, tmp_path)

    def test_unusual_operators_are_right_or_refused_by_name(self, tmp_path: Path) -> None:
        """Operators and attributes that this project's networks do not have: right, or a `BinasError` that names one.

        An adapter that rebuilds networks from the operators it knows is easily right on those alone.
        """
        wrong = []
        for operator, model in unusual_models():
            fault = raised_by(lambda model=model: self._compare(model, 1, tmp_path))  # type: ignore[misc]
            if fault and not (isinstance(fault, BinasError) and operator in str(fault)):
                wrong.append(f"{operator}: {fault!r}")
        require(not wrong, "neither right nor refused by name: " + "; ".join(wrong))

    def test_runs_are_deterministic(self, tmp_path: Path) -> None:
        """Equal inputs give equal outputs, bit for bit."""
        model = small_network()
        with self._loaded(model, tmp_path) as executable:
            first, second = (output_of(executable, model, 1).copy() for _ in range(2))
        require(np.array_equal(first, second), "two runs on the same input differ")

    def test_each_call_answers_its_own_feed(self, tmp_path: Path) -> None:
        """Another feed between, timed or run, changes no answer: not the next, and not one already given."""
        model = small_network()
        with self._loaded(model, tmp_path) as executable:
            feeds = [random_feed(model, seed) for seed in (1, 2)]
            first = executable.run(feeds[0])[OUTPUT_NAME]
            executable.sample(feeds[1], count=2)
            second = executable.run(feeds[1])[OUTPUT_NAME]
            self._require_right(first, model, 1)
            self._require_right(executable.run(feeds[0])[OUTPUT_NAME], model, 1)
            self._require_right(second, model, 2)
        for seed, feed in enumerate(feeds, start=1):
            require(all(map(np.array_equal, feed.values(), random_feed(model, seed).values())), "an input was changed")

    def test_other_precisions_work_or_are_refused(self, tmp_path: Path) -> None:
        """A claimed precision works; one that the device does not have is refused, never run as another."""
        outputs = self._outputs_by_precision(tmp_path)
        for precision, found in outputs.items():
            require_near(found, self._reference(small_network(), 1, precision), self._tolerance_of(precision))
            same = [
                other.value for other in outputs if other is not precision and np.array_equal(found, outputs[other])
            ]
            require(not same, f"{precision.value} gives bit for bit what {same} give: one is run as the other")

    def _outputs_by_precision(self, cache: Path) -> dict[Precision, Floats]:
        found = {precision: self._output_in(precision, cache) for precision in Precision}
        return {precision: output for precision, output in found.items() if output is not None}

    def _output_in(self, precision: Precision, cache: Path) -> Floats | None:
        model = small_network()
        try:
            with self._loaded(model, cache, precision) as executable:
                return np.array(output_of(executable, model, 1))
        except BinasError as error:
            claimed = precision in (self.precision, *self.precisions)
            require(not claimed, f"{precision.value} is claimed, and refused: {error}")
        return None

    def _tolerance_of(self, precision: Precision) -> float:
        # Without calibration int8 may be far off, which is for its adapter's own tests to judge; NaN is not.
        return (
            self.tolerance if precision is self.precision else self.tolerances.get(precision, np.finfo(np.float32).max)
        )
