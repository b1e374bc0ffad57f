"""The exporter protocol: a network as the files of one format, and those files as what a device loads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from binas_deploy.adapters.base import Device, Precision, Program
from binas_deploy.model import OnnxModel


class Exporter(Protocol):
    """One format. Constructing one imports and touches nothing."""

    @property
    def name(self) -> str:
        """What ``--format`` and a manifest call it: ``a-z``, digits, ``-`` and ``_``."""
        ...

    @property
    def adapters(self) -> tuple[str, ...]:
        """The adapters whose devices run it; the first is the one whose package makes it."""
        ...

    @property
    def device(self) -> str:
        """The built-in device that makes and runs it where the bundle's own is another's."""
        ...

    @property
    def made_by_runtime(self) -> bool:
        """Whether making it takes the adapter's package. False: it is the ONNX model itself."""
        ...

    @property
    def portable(self) -> bool:
        """Whether it runs wherever its runtime does, and not only on a machine like the one that made it."""
        ...

    @property
    def distributions(self) -> tuple[str, ...]:
        """The packages whose versions say what made it, those that may be absent too."""
        ...

    def files(
        self, model: OnnxModel, device: Callable[[], Device], *, precision: Precision, cache: Path
    ) -> dict[str, bytes]:
        """The network as files by name (`bundle.files.FILE_PATTERN`).

        ``device()`` opens the one that it is for, of one of the ``adapters``; what needs none of it does not.

        Raises:
            InputError: the format cannot be had in that precision.
            MissingExtraError, DeviceError: the runtime is absent, or refuses the network.
        """
        ...

    def program(self, model_sha256: str, files: Mapping[str, bytes]) -> Program:
        """What `Device.load` takes, from exactly the bytes of `files`: nothing is built, converted or executed.

        Raises:
            InputError: a file is missing.
        """
        ...
