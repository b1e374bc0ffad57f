"""Pieces and anchors that a check measures, as files for its processes: the same bytes for either side."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from binas_deploy.adapters.base import Precision
from binas_deploy.cache import cache_folder
from binas_deploy.devices import DeviceSpec, open_device
from binas_deploy.documents import write_atomic
from binas_deploy.model import OnnxModel
from binas_deploy.quantisers.for_timing import as_compiled
from binas_deploy.steps.check_process import Payload


def payloads(spec: DeviceSpec, models: Mapping[str, OnnxModel], folder: Path) -> dict[str, Payload]:
    """``models`` by key, written into ``folder``, as latency tables have them: in int8 they are quantised before.

    Raises:
        DeviceError, MissingExtraError: the device, or what quantises for it, is not installed or fails.
    """
    device, precision = open_device(spec), Precision(spec.precision)
    found = {}
    for index, (key, plain) in enumerate(models.items()):
        model, path = as_compiled(device, plain, precision, cache_folder()), folder / f"{index}.onnx"
        write_atomic(path, model.payload)
        found[key] = Payload(path, model.sha256, model.input_shape, model.output_shape)
    return found
