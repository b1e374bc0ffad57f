"""Networks as `torch.export` programs (``.pt2``), and how any payload of the torch adapter becomes a module.

A program holds the network in torch's own operators, with its weights; nothing of this tool is needed to load it.
`torch.export.load` unpickles, and so executes, parts that an archive may have and ours never has: tensors of other
classes, objects among the constants, sample inputs, compiled libraries. An archive with any of them is refused unread.
"""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any, Final

import torch
from torch import fx

from binas_deploy.adapters.base import Precision
from binas_deploy.adapters.torch.module import Rebuilt, rebuild
from binas_deploy.adapters.torch.process import alone
from binas_deploy.adapters.torch.settings import MARK
from binas_deploy.errors import DeviceError
from binas_deploy.model import INPUT_NAME, OUTPUT_NAME

_ZIP: Final = b"PK\x03\x04"
_TYPES: Final = {Precision.FP32: torch.float32, Precision.FP16: torch.float16}
_KNOWN: Final = (
    "data/weights/",
    "data/constants/",
    "data/sample_inputs/",
    "models/",
    ".data/",
    "archive_format",
    "archive_version",
    "byteorder",
)
_CONFIGS: Final = ("_weights_config.json", "_constants_config.json")
_PICKLED: Final = ".pt"


def exported(payload: bytes, precision: Precision) -> bytes:
    """An ONNX model as a torch.export program whose weights and tensors are of that precision, on the CPU.

    Raises:
        DeviceError: an operator that the adapter does not have.
        Exception: torch's own.
    """
    rebuilt, numbers = rebuild(payload), _TYPES[precision]
    entry, buffer = torch.zeros(rebuilt.input_shape, dtype=numbers), io.BytesIO()
    with alone(), torch.no_grad():
        program = torch.export.export(rebuilt.module.to(numbers), (entry,), strict=False)
        program.example_inputs = None  # they would be pickled
        torch.export.save(program, buffer)
    return buffer.getvalue()


def opened(payload: bytes) -> tuple[Rebuilt, torch.dtype]:
    """The module of a payload (a torch.export program, or a precision and an ONNX model) and the type of its numbers.

    Raises:
        DeviceError: not a network of ours.
        Exception: torch's or protobuf's own.
    """
    if payload.startswith(_ZIP):
        return _loaded(payload)
    precision, _, model = payload.partition(MARK)
    return rebuild(model), _TYPES[Precision(precision.decode())]


def _loaded(payload: bytes) -> tuple[Rebuilt, torch.dtype]:
    _require_plain(payload)
    with alone():
        program = torch.export.load(io.BytesIO(payload))
        module = program.module(check_guards=False)  # the shape of the input is checked before each call
    entry = _entry(program)
    if not isinstance(module, fx.GraphModule) or entry is None:
        raise DeviceError("this torch.export program takes other inputs than one tensor.")
    return Rebuilt(module, INPUT_NAME, tuple(int(size) for size in entry.shape), OUTPUT_NAME), entry.dtype


def _entry(program: torch.export.ExportedProgram) -> torch.Tensor | None:
    names = program.graph_signature.user_inputs
    found = [node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder" and node.name in names]
    return found[0] if len(found) == 1 and isinstance(found[0], torch.Tensor) else None


def _require_plain(payload: bytes) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(payload)) as archive:
            fault = _fault(archive)
    except (zipfile.BadZipFile, ValueError, KeyError) as error:
        raise DeviceError(f"these bytes are no torch.export program: {error}") from error
    if fault:
        raise DeviceError(f"this torch.export program {fault}, which loading would execute: it is refused.")


def _fault(archive: zipfile.ZipFile) -> str:
    """What an archive has that plain ones do not."""
    for entry in archive.infolist():
        name = entry.filename.partition("/")[2]
        if not name.startswith(_KNOWN):
            return f"holds {name!r}"
        if name.endswith(_PICKLED) and entry.file_size:
            return f"holds pickled objects ({name})"
        if name.endswith(_CONFIGS) and _pickles(json.loads(archive.read(entry))):
            return f"holds pickled tensors or objects ({name})"
    return ""


def _pickles(config: Any) -> bool:
    rows = config["config"].values()
    return any(row["use_pickle"] or not row["path_name"].startswith(("weight_", "tensor_")) for row in rows)
