"""Results of the benchmarks: under what they were made, and where they go (``benchmarks/results/<name>.json``)."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from binas_deploy.adapters import host
from binas_deploy.documents import dump_text, timestamp, write_atomic

RESULTS: Final = Path(__file__).resolve().parent / "results"
_PACKAGES: Final = ("binas-deploy", "numpy", "scipy", "onnx", "onnxruntime", "openvino", "torch")


def parser_of(doc: str | None) -> argparse.ArgumentParser:
    """Whose help is the script's own text, as it is laid out there."""
    return argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)


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


def add_occasion(name: str, made_under: Mapping[str, Any], content: Mapping[str, Any]) -> tuple[int, Path]:
    """Add ``content`` to the occasions in one benchmark's document: how many these are now, and the document."""
    occasions = [*_occasions(name), {"conditions": made_under, **content}]
    return len(occasions), write(name, made_under, {"occasions": occasions})


def _occasions(name: str) -> list[dict[str, Any]]:
    path = RESULTS / f"{name}.json"
    found: list[dict[str, Any]] = json.loads(path.read_text())["occasions"] if path.exists() else []
    return found


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"
