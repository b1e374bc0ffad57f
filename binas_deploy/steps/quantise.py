"""A network with its weights in the precision that it was searched for: in int8 calibrated, and what that costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from onnx import load_model_from_string

from binas_deploy.adapters.base import QUANTISER_KEY, Precision
from binas_deploy.block import Head, Piece, block_text
from binas_deploy.bundle.sensitivity import JudgedOn, Sensitivity
from binas_deploy.data.base import Dataset, normalise
from binas_deploy.documents import timestamp
from binas_deploy.errors import InputError, MismatchError, TooLossyError
from binas_deploy.estimate import Estimate
from binas_deploy.graph import named_pieces
from binas_deploy.model import OnnxModel
from binas_deploy.progress import SILENT, Progress
from binas_deploy.proportion import wilson
from binas_deploy.quantised import serialised
from binas_deploy.quantisers import quantiser
from binas_deploy.quantisers.base import Images
from binas_deploy.space import Architecture, SearchSpace
from binas_deploy.steps.sensitivity import SENSITIVITY_IMAGES, Chosen, Judge, block_losses, keep_until_within

CALIBRATION_IMAGES: Final = 300
MAX_DROP: Final = 1.0
"""Points of accuracy that int8 may cost unless something else is asked."""
_ENOUGH: Final = 1000
"""Images to judge a drop by; where fewer are held out, training images are taken besides."""
_MOST_BYTES: Final = 2**29
"""That normalised images to judge by may take."""
_SHARE: Final = 4


@dataclass(frozen=True)
class InPrecision:
    """``model`` is what the device compiles; in int8 with ``sensitivity``, and the ``accuracy`` that was found."""

    model: OnnxModel
    sensitivity: Sensitivity | None = None

    @property
    def accuracy(self) -> Estimate | None:
        """In percent on the judging images; None where the precision was not judged."""
        return self.sensitivity.int8 if self.sensitivity else None


def require_table_precision(asked: str | None, identity: Mapping[str, str]) -> None:
    """Refuse another precision than that of the latency table: latencies were predicted for its.

    Raises:
        MismatchError: it is another one.
    """
    found = identity["precision"]
    if asked is not None and asked != found:
        raise MismatchError(
            f"--precision {asked}: the network was searched with a latency table in {found}, whose latencies hold for "
            f"{found} alone. Search for the precision: 'binas-deploy profile --precision {asked}', then "
            f"'binas-deploy search --precision {asked}', or 'binas-deploy deploy --precision {asked}'."
        )


def in_precision(
    model: OnnxModel,
    space: SearchSpace,
    arch: Architecture,
    dataset: Dataset,
    *,
    identity: Mapping[str, str],
    max_drop: float = MAX_DROP,
    progress: Progress = SILENT,
) -> InPrecision:
    """``model``, the network in fp32, as devices of that ``identity`` compile it.

    In fp32 and fp16 that is the network itself: runtimes convert to fp16 while they compile. In int8 it is quantised
    with the first held-out images, and the others judge what that costs: see `Sensitivity`.

    Raises:
        InputError: the device quantises networks itself, or ``max_drop`` is not from 0 to 100.
        TooLossyError: more than ``max_drop`` points are lost whatever is kept in fp32.
        MissingExtraError, DeviceError: what quantises is not installed, or fails.
    """
    if identity["precision"] != Precision.INT8.value:
        return InPrecision(model)
    if not 0 <= max_drop <= 100:  # also where it is not a number
        raise InputError(f"--max-drop {max_drop:g}: give the points of accuracy that int8 may cost, from 0 to 100.")
    by = _quantiser_of(identity)
    calibration, images, labels, judged = _images(dataset)
    with progress.task(f"quantising by {by}", 1) as advance:
        quantised = quantiser(by).quantise(model, calibration)
        advance(1)
    original, whole = load_model_from_string(model.payload), load_model_from_string(quantised.payload)
    judge = Judge.of(original, images, labels)
    blocks = [(place, _text(piece)) for place, piece in named_pieces(space, arch)]
    losses = block_losses(whole, original, blocks, judge.first(SENSITIVITY_IMAGES), progress)
    chosen = keep_until_within(whole, original, losses, judge, max_drop, progress)
    made = serialised(chosen.model, model)
    report = Sensitivity(
        created=timestamp(),
        model_sha256=made.sha256,
        quantiser=f"{by} {quantiser(by).version()}",
        images=judged,
        allowed=max_drop,
        fp32=wilson(int(judge.right.sum()), len(labels)),
        int8=wilson(chosen.correct, len(labels)),
        drop=chosen.drop,
        whole=chosen.whole,
        kept=chosen.kept,
        blocks=losses,
    )
    _require_within(chosen, max_drop, len(losses))
    return InPrecision(made, report)


def _quantiser_of(identity: Mapping[str, str]) -> str:
    if not (by := identity.get(QUANTISER_KEY, "")):
        raise InputError(
            f"precision 'int8': the adapter of device '{identity['device']}' takes no networks that are quantised "
            "before, so none can be exported for it. Use a device of the adapters onnxruntime or openvino."
        )
    return by


def _images(dataset: Dataset) -> tuple[Images, Images, NDArray[np.int64], JudgedOn]:
    """Images for the ranges, and others with labels to judge by: of the held-out ones as far as they go."""
    held, train = dataset.holdout, dataset.train
    count = max(1, min(CALIBRATION_IMAGES, len(held) // _SHARE))
    most = max(1, _MOST_BYTES // (4 * held.images[0].size))
    rest = slice(count, count + most)
    pixels, labels = held.images[rest], held.labels[rest]
    missing = max(0, min(_ENOUGH, most) - len(labels))
    if missing:
        pixels = np.concatenate([pixels, train.images[:missing]])
        labels = np.concatenate([labels, train.labels[:missing]])
    judged = JudgedOn(
        calibration=count,
        sensitivity=min(SENSITIVITY_IMAGES, len(labels)),
        drop=len(labels),
        split="holdout and train" if missing else "holdout",
    )
    given, images = (normalise(part, dataset.mean, dataset.std) for part in (held.images[:count], pixels))
    return given, images, labels, judged


def _text(piece: Piece) -> str:
    return piece.key if isinstance(piece, Head) else block_text(piece)


def _require_within(chosen: Chosen, max_drop: float, blocks: int) -> None:
    if chosen.drop.value > max_drop:
        drop = chosen.drop
        raise TooLossyError(
            f"--max-drop {max_drop:g}: in int8 this network loses {chosen.whole.value:.2f} points of accuracy, and "
            f"{drop.value:.2f} ({drop.low:.2f} to {drop.high:.2f}, 95 %) even with {len(chosen.kept)} of its {blocks} "
            "blocks in fp32, all but the least sensitive one. Allow more with --max-drop, or search in fp32."
        )
