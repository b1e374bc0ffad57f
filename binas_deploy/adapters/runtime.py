"""What adapters of foreign runtimes share: finding the package, naming what it fails at, the facts of this machine.

An adapter describes its package once, as a `Runtime`, and asks that. Nothing here imports a package before it is used.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Final

from binas_deploy.adapters import host
from binas_deploy.adapters.base import DeviceFacts, Precision, Program
from binas_deploy.errors import DeviceError, InputError, MissingExtraError
from binas_deploy.model import OnnxModel
from binas_deploy.quantised import operators_text, silent_on_precision

_KEPT_TEXT: Final = 300


@dataclass(frozen=True)
class Runtime:
    """A Python package that runs networks on this machine.

    Messages call it ``name``; its adapter and device facts go by ``package``, which is what is imported. It comes
    with ``extra`` of this project, is published as one or more ``distributions``, and is needed for ``purpose``.
    """

    name: str
    package: str
    distributions: tuple[str, ...]
    extra: str
    purpose: str

    def imported(self) -> Any:
        """The package.

        Raises:
            MissingExtraError: it is not installed.
            DeviceError: it is installed and fails while it is imported, as where it lacks another package.
        """
        try:
            return importlib.import_module(self.package)
        except ImportError as error:
            if isinstance(error, ModuleNotFoundError) and error.name == self.package:
                raise MissingExtraError(self.package, self.extra, self.purpose) from error
            raise DeviceError(f"{self.name} is installed and cannot be imported: {brief(error)}") from error

    def version(self) -> str:
        """Of the build that is loaded, where one is: several may be installed side by side.

        Else from metadata where one distribution is installed: importing costs up to a third of a second.

        Raises:
            MissingExtraError, DeviceError: as `imported`.
        """
        loaded = self.package in sys.modules
        found = [] if loaded else [version for version in map(_installed_version, self.distributions) if version]
        # OpenVINO adds build and branch after a dash, which its metadata does not have.
        return found[0] if len(found) == 1 else str(self.imported().__version__).partition("-")[0]

    def facts(
        self, version: str, *, device_model: str, provider: str, options: Mapping[str, object], threads: int
    ) -> DeviceFacts:
        """Facts of this machine with the package in ``version``.

        ``provider`` is what it runs networks on and ``options`` are the settings that a latency depends on, by name.
        """
        identity = {
            "device_model": device_model,
            "runtime": self.package,
            "runtime_version": ".".join(version.split(".")[:2]),
            "provider": provider,
            "provider_options": ";".join(f"{name}={value}" for name, value in sorted(options.items())),
            "threads": str(threads),
            "affinity": host.affinity(),
        }
        return DeviceFacts(identity, {"runtime_version_full": version, **host.host_context()})

    def require_fp32(self, precision: Precision) -> None:
        """Refuse to compile for anything but fp32.

        Raises:
            InputError: another precision.
        """
        if precision is not Precision.FP32:
            raise InputError(
                f"precision '{precision.value}': the {self.package} adapter runs fp32 only. Set precision = \"fp32\" "
                "in the device's file."
            )

    def require_precision(self, asked: Precision, opened: Precision) -> None:
        """Refuse to compile for another precision than the device was opened for.

        Raises:
            InputError: another precision.
        """
        if asked is not opened:
            raise InputError(
                f"precision '{asked.value}': this device of the {self.package} adapter runs {opened.value} only. Set "
                f'precision = "{asked.value}" in the device\'s file, where its hardware has it.'
            )

    def require_quantised(self, model: OnnxModel, precision: Precision) -> None:
        """Refuse to run in int8 what does not say how: it would run in fp32.

        Raises:
            InputError: a network with weights and without QuantizeLinear.
        """
        if precision is Precision.INT8 and silent_on_precision(model):
            raise InputError(
                f"precision 'int8': the {self.package} adapter runs networks with QuantizeLinear and DequantizeLinear, "
                f"and this one has none ({operators_text(model)}). 'profile', 'export' and 'deploy' with --precision "
                "int8 quantise a network before."
            )

    def loading(self, program: Program) -> AbstractContextManager[None]:
        """A context whose failures are a DeviceError: the package cannot load ``program``."""
        return self.translated(f"cannot load model {program.model_sha256[:12]}")

    def running(self) -> AbstractContextManager[None]:
        """A context whose failures are a DeviceError: the package failed while running."""
        return self.translated("failed while running")

    @contextmanager
    def translated(self, what: str) -> Iterator[None]:
        """A context whose failures are a DeviceError that begins with the package's name and ``what`` it did.

        Raises:
            DeviceError: for any exception within, chained.
        """
        try:
            yield
        except Exception as error:
            raise DeviceError(f"{self.name} {what}: {brief(error)}") from error


def brief(error: Exception) -> str:
    """What a foreign exception says, in one line of some 300 characters at most."""
    text = " ".join(str(error).split())
    return text if len(text) <= _KEPT_TEXT else text[:_KEPT_TEXT] + "..."


def _installed_version(distribution: str) -> str:
    """'' where it is not installed."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""
