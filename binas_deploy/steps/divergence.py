"""Where a device parts from the reference: the first node whose inputs agree and whose output does not.

The network is cut at nodes, and each cut one compiled and run on the device. Bisection finds a node that differs while
the one before it agrees; from there the way leads back along inputs that differ, until all of a node's inputs agree.
For a chain that is the same node at once; where a branch hides a difference (a saturated gate, say), it is the one at
fault. What gives the reference is ONNX's own evaluator; where the device is not ONNX Runtime and that is installed,
ONNX Runtime in fp32, which is much faster on large inputs.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from binas_deploy.adapters.base import Device, Feed, Precision
from binas_deploy.adapters.registry import make_device
from binas_deploy.block import Block, Head, block_text
from binas_deploy.bundle.parity import Divergence
from binas_deploy.cache import compiled_cache
from binas_deploy.errors import BinasError
from binas_deploy.graph import named_pieces
from binas_deploy.model import INPUT_NAME, OUTPUT_NAME, OnnxModel
from binas_deploy.progress import SILENT, Progress
from binas_deploy.space import Architecture, SearchSpace
from binas_deploy.surgery import Node, cut_at, nodes_of, with_every_value

Floats = NDArray[np.float32]
RUNTIME: Final = "onnxruntime"
_EVALUATOR: Final = "ONNX's reference evaluator"
_BY_RUNTIME: Final = "ONNX Runtime in fp32"
_PLACE: Final = re.compile(r"(stem|stages\.\d+\.\d+|head)\.")


def first_divergence(
    device: Device,
    model: OnnxModel,
    inputs: Floats,
    *,
    precision: Precision,
    allowed: float,
    network: tuple[SearchSpace, Architecture] | None = None,
    elsewhere: bool = False,
    progress: Progress = SILENT,
) -> Divergence:
    """Search on ``inputs`` (batch, c, r, r); a value differs where it is off by more than ``allowed`` of its largest.

    ``network``: whose blocks the nodes are of; ``elsewhere``: the device is another runtime than ONNX Runtime. Without
    a node at which they part, `Divergence.node` is ''.

    Raises:
        DeviceError: the device fails on a cut network, or so does the reference.
        InputError: the network cannot be cut.
    """
    feed = {INPUT_NAME: np.ascontiguousarray(inputs)}
    against, values = _reference(model, feed, elsewhere)
    nodes = nodes_of(model)
    steps = max(1, len(nodes).bit_length())
    with progress.task("searching for the node where outputs part", steps) as advance:
        probe = _Probe(device, model, feed, precision, allowed, nodes, values, lambda: advance(1))
        place = _found(nodes, probe)
    return _divergence(nodes, place, probe, against, network)


class _Probe:
    """Whether the device differs at a node, each asked of it once."""

    def __init__(
        self,
        device: Device,
        model: OnnxModel,
        feed: Feed,
        precision: Precision,
        allowed: float,
        nodes: tuple[Node, ...],
        values: Mapping[str, Floats],
        asked: Any,
    ) -> None:
        self._device, self._model, self._feed, self._precision = device, model, feed, precision
        self._allowed, self._nodes, self._values, self._asked = allowed, nodes, values, asked
        self.errors: dict[int, float | None] = {}

    def knows(self, place: int) -> bool:
        """Whether there is a reference for this node's value."""
        return self._nodes[place].value in self._values

    def differs(self, place: int) -> bool:
        """Whether the value of the node at ``place`` is off on the device."""
        if place not in self.errors:
            self._asked()
            self.errors[place] = self._error(place)
        error = self.errors[place]
        return error is None or error > self._allowed

    def _error(self, place: int) -> float | None:
        cut = cut_at(self._model, place)
        program = self._device.compile(cut, precision=self._precision, cache=compiled_cache())
        with self._device.load(program) as executable:
            found = executable.run(self._feed)[OUTPUT_NAME]
        wanted = self._values[self._nodes[place].value]
        if found.shape != wanted.shape or not np.isfinite(found).all():
            return None
        largest = float(np.abs(wanted).max(initial=0.0))
        off = float(np.abs(found.astype(np.float64) - wanted).max(initial=0.0))
        return off / largest if largest else float(off > 0)


def _found(nodes: tuple[Node, ...], probe: _Probe) -> int | None:
    """The place of the node at fault; None where the last agrees."""
    known = [place for place in range(len(nodes)) if probe.knows(place)]
    if not known or not probe.differs(known[-1]):
        return None
    agrees, differs = -1, len(known) - 1
    while differs - agrees > 1:
        middle = (agrees + differs) // 2
        if probe.differs(known[middle]):
            differs = middle
        else:
            agrees = middle
    return _back(nodes, known[differs], probe)


def _back(nodes: tuple[Node, ...], place: int, probe: _Probe) -> int:
    """Along inputs that differ, to a node of which none does."""
    while True:
        wrong = [index for index in nodes[place].inputs if probe.knows(index) and probe.differs(index)]
        if not wrong:
            return place
        place = wrong[0]


def _reference(model: OnnxModel, feed: Feed, elsewhere: bool) -> tuple[str, dict[str, Floats]]:
    """(what gave them, the value of every node by name)."""
    every = with_every_value(model)
    if elsewhere and importlib.util.find_spec(RUNTIME) is not None:
        return _BY_RUNTIME, _by_runtime(every, feed)
    return _EVALUATOR, _by_evaluator(every, feed)


def _by_runtime(every: OnnxModel, feed: Feed) -> dict[str, Floats]:
    # Unoptimised: each node as it stands, none fused away.
    device = make_device(RUNTIME, 1, {"graph_optimization": "none"})
    program = device.compile(every, precision=Precision.FP32, cache=compiled_cache())
    with device.load(program) as executable:
        return dict(executable.run(feed))


def _by_evaluator(every: OnnxModel, feed: Feed) -> dict[str, Floats]:
    from onnx import load_model_from_string
    from onnx.reference import ReferenceEvaluator

    evaluator: Any = ReferenceEvaluator(load_model_from_string(every.payload))
    try:
        return dict(zip(evaluator.output_names, evaluator.run(None, dict(feed)), strict=True))
    except Exception as error:
        raise BinasError(f"{_EVALUATOR} cannot run this model: {error!r}") from error


def _divergence(
    nodes: tuple[Node, ...],
    place: int | None,
    probe: _Probe,
    against: str,
    network: tuple[SearchSpace, Architecture] | None,
) -> Divergence:
    compiled = len(probe.errors)
    if place is None:
        return Divergence("", "", "", "", None, against, compiled)
    node = nodes[place]
    block = block_of(node.name) or block_of(node.value)
    return Divergence(
        node=node.name,
        operator=node.operator,
        block=block,
        text=_text(block, network),
        relative=probe.errors[place],
        against=against,
        compiled=compiled,
    )


def block_of(node: str) -> str:
    """The place of a node's piece in the network, by its name: ``stem``, ``stages.2.1`` or ``head``; else ''."""
    found = _PLACE.match(node)
    return found.group(1) if found else ""


def _text(block: str, network: tuple[SearchSpace, Architecture] | None) -> str:
    if network is None:
        return ""
    piece = dict(named_pieces(*network)).get(block)
    return block_text(piece) if isinstance(piece, Block) and not isinstance(piece, Head) else ""
