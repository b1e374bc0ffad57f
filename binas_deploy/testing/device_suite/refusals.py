"""What cannot be done is refused, in words."""

from __future__ import annotations

from pathlib import Path
from typing import Final
from unittest import SkipTest

from binas_deploy.adapters.base import Device, Program
from binas_deploy.errors import BinasError, DeviceError
from binas_deploy.model import OnnxModel
from binas_deploy.testing.device_suite.candidate import Candidate, raised_by, require, small_network
from binas_deploy.testing.networks import random_feed
from binas_deploy.testing.unusual import UNKNOWN_OPERATOR, dangling_model, unknown_operator_model

_LEAST_WORDS: Final = 3


class RefusalsExam(Candidate):
    """One `BinasError` that can be read, before any output is given."""

    def test_broken_models_are_refused(self, tmp_path: Path) -> None:
        """Bytes that are no model, half a model, nothing, and a graph with a missing input give a `DeviceError`."""
        whole = small_network()
        half = whole.payload[: len(whole.payload) // 2]
        broken = [OnnxModel(payload, whole.input_shape, whole.output_shape) for payload in (b"no model", half, b"")]
        for model in (*broken, dangling_model()):
            found = self._refusal(model, tmp_path)
            require(isinstance(found, DeviceError), f"a broken model must give a DeviceError, found {found!r}")
            _require_readable(found)

    def test_an_unknown_operator_is_refused_by_name(self, tmp_path: Path) -> None:
        """An operator that nobody has is named, by the time that the model runs."""
        found = self._refusal(unknown_operator_model(), tmp_path)
        require(isinstance(found, BinasError), f"an unknown operator must give a BinasError, found {found!r}")
        require(UNKNOWN_OPERATOR in str(found), f"the operator {UNKNOWN_OPERATOR!r} is not named in {str(found)!r}")

    def test_a_lost_device_is_told(self, tmp_path: Path) -> None:
        """Calls of a device that has gone end, with a `DeviceError`; so does what is begun on it afterwards."""
        if type(self).lose is Candidate.lose:
            raise SkipTest("this suite gives no 'lose': its device cannot be lost")
        device, model = self.make_device(), small_network()
        program = self._compiled(device, model, tmp_path)
        for found in (*self._calls_of_the_lost(device, program, model), raised_by(lambda: _load(device, program))):
            require(isinstance(found, DeviceError), f"a lost device must give a DeviceError, found {found!r}")
            _require_readable(found)

    def _calls_of_the_lost(self, device: Device, program: Program, model: OnnxModel) -> list[Exception | None]:
        feed, found = random_feed(model, 1), []
        try:
            with device.load(program) as executable:
                executable.run(feed)
                self.lose(device)
                found = [raised_by(lambda: executable.run(feed)), raised_by(lambda: executable.sample(feed, count=1))]
        except BinasError as error:  # leaving the context may tell it too
            found.append(error)
        return found


def _load(device: Device, program: Program) -> None:
    with device.load(program):
        pass


def _require_readable(error: Exception | None) -> None:
    text = str(error)
    require("Traceback" not in text and len(text.split()) >= _LEAST_WORDS, f"the message says nothing: {text!r}")
