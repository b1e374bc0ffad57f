"""The exam of device adapters: what every one must do, as tests to inherit.

A package that adds a device writes::

    class TestMyDevice(DeviceSuite):
        def make_device(self) -> Device:
            return MyDevice(threads=1)

and pytest finds the rest. Nothing here imports pytest. A device that cannot do everything, such as one that replays
recorded latencies and has no outputs, inherits those parts that it can sit: each is a class of its own.
"""

from __future__ import annotations

from typing import Final

from binas_deploy.testing.device_suite.candidate import INT8_TOLERANCE, TOLERANCE, Candidate
from binas_deploy.testing.device_suite.cleanup import CleanupExam
from binas_deploy.testing.device_suite.concurrency import ConcurrencyExam
from binas_deploy.testing.device_suite.facts import FactsExam
from binas_deploy.testing.device_suite.numerics import NumericsExam
from binas_deploy.testing.device_suite.refusals import RefusalsExam
from binas_deploy.testing.device_suite.timing import TimingExam

PARTS: Final = (FactsExam, NumericsExam, TimingExam, RefusalsExam, ConcurrencyExam, CleanupExam)

__all__ = ["PARTS", "INT8_TOLERANCE", "TOLERANCE", "Candidate", "DeviceSuite", *(part.__name__ for part in PARTS)]


class DeviceSuite(FactsExam, NumericsExam, TimingExam, RefusalsExam, ConcurrencyExam, CleanupExam):
    """The whole exam. Inherit, and give `make_device`; `Candidate` has the attributes that a device may set."""
