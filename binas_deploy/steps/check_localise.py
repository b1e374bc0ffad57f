"""Where a confirmed regression lies: the network's pieces under both sides, in a few pairs of processes."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from binas_deploy.block import Block, Op, Piece
from binas_deploy.bundle.manifest import Manifest
from binas_deploy.columns import Floats
from binas_deploy.devices import DeviceSpec
from binas_deploy.errors import BinasError
from binas_deploy.gate.cause import Cause, Part
from binas_deploy.gate.comparison import low_ns
from binas_deploy.measure import Timing
from binas_deploy.measured_models import piece_model
from binas_deploy.progress import Progress
from binas_deploy.steps.check_interpreter import Interpreter
from binas_deploy.steps.check_models import payloads
from binas_deploy.steps.check_process import Running, Work, started
from binas_deploy.table import is_skip

PAIRS: Final = 6
TURNS: Final = 8
_TIMING: Final = Timing(warmup_ms=0.5, samples_per_visit=8, visit_ms=4.0)
_SAME: Final = (
    "both sides have the same blocks and the same environment, so the change is in the model file itself (its graph or "
    "weights), not in a block"
)
_WORDS: Final = {
    Op.CONV: "convolution",
    Op.DEPTHWISE_SEPARABLE: "depthwise separable",
    Op.INVERTED_RESIDUAL: "inverted residual",
}
Place = tuple[str, str]
"""(stage, what)."""


@dataclass(frozen=True)
class Network:
    """One side's: its manifest, and who runs it."""

    manifest: Manifest
    interpreter: Interpreter


@dataclass(frozen=True)
class _Pieces:
    """Distinct pieces by key, and how often each is in each place."""

    by_key: Mapping[str, Piece]
    places: Mapping[Place, Mapping[str, int]]


def localise(
    spec: DeviceSpec, base: Network, head: Network, since: str, rng: np.random.Generator, progress: Progress
) -> Cause:
    """What got slower. Nothing that goes wrong here turns the verdict: it is told as the reason why none is named."""
    same_network = (base.manifest.space, base.manifest.architecture) == (
        head.manifest.space,
        head.manifest.architecture,
    )
    if same_network and not since:
        return Cause((), since, _SAME)
    sides = {"base": _pieces(base.manifest, whole_stages=not same_network)}
    sides["head"] = _pieces(head.manifest, whole_stages=not same_network)
    try:
        with tempfile.TemporaryDirectory(prefix="binas-deploy-") as folder:
            works = {name: _work(spec, side.by_key, Path(folder) / name) for name, side in sides.items()}
            interpreters = {"base": base.interpreter, "head": head.interpreter}
            with progress.task("looking where it lies", PAIRS) as advance:
                pairs = []
                for _ in range(PAIRS):
                    pairs.append(_pair(works, interpreters, rng))
                    advance(1)
    except BinasError as error:
        return Cause((), since, f"where it lies is not known: {error}")
    return Cause(_parts(sides, pairs), since)


def _pieces(manifest: Manifest, *, whole_stages: bool) -> _Pieces:
    space, arch = manifest.space, manifest.architecture
    rows: list[tuple[Place, Piece]] = [(("stem", ""), space.stem)]
    for s, row in enumerate(arch.options):
        blocks = [space.block(s, j, c) for j, c in enumerate(row)]
        rows += [((f"stage {s + 1}", "" if whole_stages else _what(block)), block) for block in blocks]
    rows.append((("head", ""), space.head))
    kept = [(place, piece) for place, piece in rows if not is_skip(piece)]
    places: dict[Place, Counter[str]] = {}
    for place, piece in kept:
        places.setdefault(place, Counter())[piece.key] += 1
    return _Pieces({piece.key: piece for _, piece in kept}, places)


def _what(block: Block) -> str:
    """Such as ``5x5 inverted residual, stride 2``."""
    option = block.option
    stride = f", stride {block.stride}" if block.stride > 1 else ""
    return f"{option.kernel}x{option.kernel} {_WORDS.get(option.op, option.op.value)}{stride}"


def _work(spec: DeviceSpec, pieces: Mapping[str, Piece], folder: Path) -> Work:
    models = {key: piece_model(piece, spec.batch) for key, piece in pieces.items()}
    return Work(spec, payloads(spec, models, folder), _TIMING)


def _pair(
    works: Mapping[str, Work], interpreters: Mapping[str, Interpreter], rng: np.random.Generator
) -> dict[str, dict[str, Floats]]:
    """By side and piece, ns of each turn."""
    names = ("base", "head")
    with ExitStack() as stack:
        running: dict[str, Running] = {
            names[index]: stack.enter_context(started(interpreters[names[index]], works[names[index]]))
            for index in rng.permutation(2)
        }
        for name in names:
            _ = running[name].loaded
        taken: dict[str, dict[str, list[int]]] = {name: {key: [] for key in works[name].subjects} for name in names}
        for _ in range(TURNS):
            for index in rng.permutation(2):
                for key, samples in running[names[index]].turn().items():
                    taken[names[index]][key].append(low_ns(samples))
    return {name: {key: np.array(times, float) for key, times in rows.items()} for name, rows in taken.items()}


def _parts(sides: Mapping[str, _Pieces], pairs: list[dict[str, dict[str, Floats]]]) -> tuple[Part, ...]:
    places = dict.fromkeys([*sides["base"].places, *sides["head"].places])
    rows = []
    for place in places:
        times = [_times(sides, place, pair) for pair in pairs]
        rows.append(Part(*place, tuple(base for base, _ in times), tuple(head for _, head in times)))
    return tuple(rows)


def _times(sides: Mapping[str, _Pieces], place: Place, pair: Mapping[str, Mapping[str, Floats]]) -> tuple[float, float]:
    """Ns of a place on both sides: their ratio is the median over turns, so that the host's speed cancels."""
    turns = {}
    for name, side in sides.items():
        counts = side.places.get(place, {})
        turns[name] = np.sum([count * pair[name][key] for key, count in counts.items()] or [np.zeros(TURNS)], axis=0)
    base, head = turns["base"], turns["head"]
    usual = float(np.median(base))
    if not base.all() or not head.all():
        return usual, float(np.median(head))
    return usual, usual * float(np.median(head / base))
