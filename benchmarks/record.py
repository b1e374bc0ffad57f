"""Results of the benchmarks: under what they were made, and where they go (``benchmarks/results/<name>.json``)."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from binas_deploy.adapters import host
from binas_deploy.documents import dump_text, timestamp, write_atomic

RESULTS: Final = Path(__file__).resolve().parent / "results"
_PACKAGES: Final = ("binas-deploy", "numpy", "scipy", "onnx", "onnxruntime", "torch")


def conditions(*, threads: int, **more: object) -> dict[str, Any]:
    """What the figures depend on, as it is now: call it before measuring. ``threads``: of one inference."""
    return {
        "date": timestamp(),
        "cpu": host.cpu_model(),
        **host.host_context(),
        "threads": threads,
        "packages": {name: _version(name) for name in _PACKAGES},
        **more,
    }


def write(name: str, made_under: Mapping[str, Any], content: Mapping[str, Any]) -> Path:
    """Write one benchmark's document, with the load average at its end added to its conditions."""
    closed = {**made_under, "load_average_at_end": host.host_context().get("load_average", "")}
    path = RESULTS / f"{name}.json"
    write_atomic(path, dump_text({"benchmark": name, "conditions": closed, **content}).encode())
    return path


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"
