"""The supply of a Jetson board: power that an INA3221 monitor shows, integrated over time.

Linux, Documentation/hwmon/ina3221.rst: in<n>_label names a channel, in<n>_input is its voltage in mV and curr<n>_input
its current in mA. VDD_IN is the input of the whole module, POM_5V_IN that of a Jetson Nano (NVIDIA's developer forum,
topics 200883 and 73608). Other rails feed parts of the module and may lie in one another, so they are not added up: a
board that shows neither is not measured.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final

from binas_deploy.errors import DeviceError, EnvironmentFault
from binas_deploy.kernel_files import number_of, text_of

INPUTS: Final = ("VDD_IN", "POM_5V_IN")
_EVERY_S: Final = 0.02


class Rail:
    """One rail: ``volts`` in mV times ``amps`` in mA, read every ``every_s`` seconds by a thread while it is open.

    Between two readings power is taken to change evenly (trapezoidal rule).

    Raises:
        DeviceError, PermissionError: a file cannot be read.
    """

    least_seconds = 0.5

    def __init__(
        self,
        label: str,
        volts: Path,
        amps: Path,
        *,
        every_s: float = _EVERY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = f"INA3221 rail {label}"
        self._files = volts, amps
        self._every_s, self._clock = every_s, clock
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._thread: threading.Thread | None = None
        self._fault: Exception | None = None
        self._joules = 0.0
        self._last = self._reading()

    def joules(self) -> float:
        """Since it was made; only what was used while it was open is told well.

        Raises:
            DeviceError: a file could not be read.
        """
        self._take()
        if self._fault is not None:
            raise DeviceError(f"{self.name} cannot be read any more: {self._fault}") from self._fault
        return self._joules

    def __enter__(self) -> Rail:
        self._stop.clear()
        self._thread = threading.Thread(target=self._keep_reading, name=self.name, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _keep_reading(self) -> None:
        while not self._stop.wait(self._every_s):
            self._take()

    def _take(self) -> None:
        """One more reading. A fault is kept for `joules`: the thread has nobody to tell."""
        with self._lock:
            try:
                now, watts = self._reading()
            except (OSError, DeviceError) as error:
                self._fault = error
                return
            before, watts_before = self._last
            self._joules += (now - before) * (watts + watts_before) / 2
            self._last = now, watts

    def _reading(self) -> tuple[float, float]:
        """(seconds, watts): mV times mA is microwatts."""
        millivolts, milliamperes = (number_of(path) for path in self._files)
        return self._clock(), millivolts * milliamperes / 1e6


def rail(root: Path) -> Rail:
    """The input of the board; ``root`` is where sysfs is mounted.

    Raises:
        DeviceError: the machine shows none.
        EnvironmentFault: it may not be read.
    """
    folder = root / "bus" / "i2c" / "drivers" / "ina3221"
    labels = {text_of(path): path for path in sorted(folder.glob("*/hwmon/hwmon*/in[123]_label"))}
    found = next((label for label in INPUTS if label in labels), None)
    if found is None:
        others = f", only {', '.join(sorted(labels))}" if labels else ""
        raise DeviceError(f"Jetson rails: {folder} has no {' or '.join(INPUTS)}{others}.")
    channel = labels[found].name[len("in") : -len("_label")]
    hwmon = labels[found].parent
    try:
        return Rail(found, hwmon / f"in{channel}_input", hwmon / f"curr{channel}_input")
    except PermissionError as error:
        raise EnvironmentFault(
            f"Jetson rails: {error.filename}: permission denied. Allow it: sudo chmod a+r {hwmon}/*_input"
        ) from error
