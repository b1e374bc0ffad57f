"""Which formats there are. One row for each built-in; other packages add theirs as entry points.

A package registers ``name = "module:Class"`` in the entry-point group `ENTRY_POINTS`; the class takes no arguments and
is an `Exporter` whose name is the same.
"""

from __future__ import annotations

import importlib.metadata
from types import MappingProxyType
from typing import Any, Final

from binas_deploy.adapters.registry import find_adapter, missing_package
from binas_deploy.errors import InputError, MissingExtraError
from binas_deploy.exporters.base import Exporter
from binas_deploy.exporters.onnx import OnnxExporter
from binas_deploy.exporters.openvino import OpenVinoExporter
from binas_deploy.exporters.tensorrt import TensorRtExporter
from binas_deploy.exporters.torch import TorchExporter
from binas_deploy.exporters.tvm import TvmExporter

ENTRY_POINTS: Final = "binas_deploy.exporters"
_BUILT_IN: Final[tuple[Exporter, ...]] = (
    OnnxExporter(),
    OpenVinoExporter(),
    TensorRtExporter(),
    TorchExporter(),
    TvmExporter(),
)
EXPORTERS: Final = MappingProxyType({exporter.name: exporter for exporter in _BUILT_IN})


def format_names() -> list[str]:
    """Names that ``--format`` takes."""
    return sorted(EXPORTERS.keys() | _registered().keys())


def find_exporter(name: str) -> Exporter:
    """The exporter of that name; a built-in goes before an entry point.

    Raises:
        InputError: there is none, or another package's cannot be loaded.
    """
    if name in EXPORTERS:
        return EXPORTERS[name]
    entry = _registered().get(name)
    if entry is None:
        raise InputError(f"unknown format {name!r}. Known: {', '.join(format_names())}.")
    try:
        found: Exporter = entry.load()()
    except Exception as error:
        raise InputError(f"format {name!r}: {entry.value} cannot be loaded: {error}.") from error
    return found


def exporter_of(adapter: str) -> Exporter | None:
    """The exporter whose format devices of that adapter run as it stands; None where they compile ONNX themselves."""
    others = (find_exporter(name) for name in _registered() if name not in EXPORTERS)
    return next((found for found in (*EXPORTERS.values(), *others) if adapter in found.adapters), None)


def require_runtime(exporter: Exporter, adapter: str = "") -> None:
    """Refuse a format whose package is not installed; ``adapter`` is the one to make it with (default: its first).

    Raises:
        MissingExtraError, DeviceError: it is absent; the message says how to get it.
    """
    if not exporter.made_by_runtime:
        return
    fault = missing_package(find_adapter(adapter or exporter.adapters[0]))
    if isinstance(fault, MissingExtraError):
        raise MissingExtraError(fault.package, fault.extra, f"The format '{exporter.name}'")
    if fault is not None:
        raise fault


def _registered() -> dict[str, Any]:
    return {entry.name: entry for entry in importlib.metadata.entry_points(group=ENTRY_POINTS)}
