"""An NVIDIA GPU: the counter of its driver, by NVIDIA's package nvidia-ml-py (its module is ``pynvml``).

NVML API reference, nvmlDeviceGetTotalEnergyConsumption: millijoules since the driver was loaded, Volta and newer. It
is the whole board's, whatever else runs on it, and moves in steps of 20 to 100 ms.
"""

from __future__ import annotations

import importlib
import os
from types import TracebackType
from typing import Any, Final

from binas_deploy.errors import DeviceError, EnvironmentFault

_VISIBLE: Final = "CUDA_VISIBLE_DEVICES"
_UUID: Final = "GPU-"


class Nvml:
    """The GPU that this process works on; ``package`` is the module ``pynvml``.

    Raises:
        DeviceError: there is none, several without a choice, or one that does not count.
        EnvironmentFault: the package is too old.
    """

    least_seconds = 2.0

    def __init__(self, package: Any) -> None:
        self._package = package
        self._handle: Any = None
        with self:
            self.name = f"NVML {_text(self._call('nvmlDeviceGetName', self._handle))}"
            self.joules()

    def joules(self) -> float:
        """Since the driver was loaded. Raises DeviceError where it does not say."""
        return float(self._call("nvmlDeviceGetTotalEnergyConsumption", self._handle)) / 1e3

    def __enter__(self) -> Nvml:
        self._call("nvmlInit")
        try:
            self._handle = self._chosen()
        except BaseException:
            self._call("nvmlShutdown")  # nobody calls __exit__ of what could not be entered
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._call("nvmlShutdown")

    def _chosen(self) -> Any:
        first = os.environ.get(_VISIBLE, "").split(",")[0].strip()
        if first.startswith(_UUID):
            return self._call("nvmlDeviceGetHandleByUUID", first)
        # CUDA and NVML number GPUs differently, so a number does not tell which one is meant.
        if (count := self._call("nvmlDeviceGetCount")) != 1:
            raise DeviceError(f"NVML: {count} GPUs: say which with {_VISIBLE}={_UUID}..., as 'nvidia-smi -L' lists it.")
        return self._call("nvmlDeviceGetHandleByIndex", 0)

    def _call(self, function: str, *arguments: object) -> Any:
        try:
            called, refusal = getattr(self._package, function), self._package.NVMLError
        except AttributeError as error:
            raise EnvironmentFault(
                f"NVML: the installed package that is imported as 'pynvml' has no {error.name}: it is too old, or "
                "another one. Install the right one with: pip install --upgrade nvidia-ml-py"
            ) from error
        try:
            return called(*arguments)
        except refusal as error:
            raise DeviceError(f"NVML: the driver answers {function} with: {error}.") from error


def nvml() -> Nvml:
    """The GPU's counter.

    Raises:
        EnvironmentFault: the package is missing or too old.
        DeviceError: as `Nvml`.
    """
    try:
        package = importlib.import_module("pynvml")
    except ImportError as error:
        raise EnvironmentFault(
            "NVML: the package 'nvidia-ml-py' is not installed. Install it with: pip install 'binas-deploy[nvidia]'"
        ) from error
    return Nvml(package)


def _text(name: str | bytes) -> str:
    """Older versions of the package give bytes."""
    return name.decode() if isinstance(name, bytes) else name
