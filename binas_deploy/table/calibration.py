"""From measured pieces to whole networks: scale, offset and one constant per block, with its own error.

With S the sum of a network's piece locations and B its number of blocks, its latency is modelled as::

    latency = offset + scale * S + per_block * B

Isolated pieces carry call and layout costs that they do not have inside a network, which is what
``per_block`` (usually negative) and ``offset`` take back. The three numbers minimise, over the anchors i,

    sum_i ((latency_i - y_i) / y_i)^2 / NOISE^2
      + (offset / (OFFSET_SD * median y))^2 + ((scale - 1) / SCALE_SD)^2 + (per_block / (BLOCK_SD * median S/B))^2

a ridge around "the pieces just add up" whose strengths are standard deviations in natural units, subject to
scale >= LEAST_SCALE, no block of the space below zero, and stem, head and offset together not below zero.
"""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from binas_deploy.errors import InputError, NotMeasuredError

LEAST_ANCHORS: Final = 3
LEAST_SCALE: Final = 0.2
CONFIDENCE: Final = 0.95
NOISE: Final = 0.01
"""Relative error of one anchor that the ridge reckons with."""
SCALE_SD: Final = 0.5
OFFSET_SD: Final = 0.1
"""In units of the median anchor."""
BLOCK_SD: Final = 0.5
"""In units of the mean piece time per block of the median anchor."""

Floats = NDArray[np.float64]
_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class CalibrationDocument(BaseModel):
    """The document form."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    offset_ns: _Finite
    scale: _Positive
    per_block_ns: _Finite
    statistic: Annotated[str, Field(min_length=1, max_length=32)]
    n_anchors: Annotated[int, Field(ge=LEAST_ANCHORS)]
    relative_std: _NotNegative
    t_quantile: _Positive
    confidence: Annotated[float, Field(gt=0, lt=1)]
    loo_mape_percent: _NotNegative
    method: str


@dataclass(frozen=True)
class Calibration:
    """The three numbers and how far off they are for a network that they have not seen.

    ``relative_std``: root mean square of the leave-one-out relative errors; ``t_quantile``: Student's t for
    ``confidence`` two-sided, with ``n_anchors - 3`` degrees of freedom (at least 1); ``statistic``: what of
    a whole network is predicted.
    """

    offset_ns: float
    scale: float
    per_block_ns: float
    statistic: str
    n_anchors: int
    relative_std: float
    t_quantile: float
    confidence: float
    loo_mape_percent: float
    method: str

    @property
    def half_width(self) -> float:
        """Half the interval of a new network, as a share of its predicted latency."""
        return self.t_quantile * self.relative_std

    def of(self, pieces_ns: float, blocks: int) -> float:
        """Latency in ns of a network with this sum of piece locations and number of blocks."""
        return self.offset_ns + self.scale * pieces_ns + self.per_block_ns * blocks

    def to_json(self) -> dict[str, Any]:
        """The document form."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: CalibrationDocument) -> Calibration:
        """From the validated document form."""
        return cls(**document.model_dump())


def fit(
    pieces_ns: Floats,
    blocks: NDArray[np.int64],
    measured_ns: Floats,
    *,
    fixed_ns: float,
    smallest_block_ns: float,
    statistic: str = "median",
) -> Calibration:
    """Fit to whole networks, all arrays (anchors,): piece sums, block counts, measured latencies.

    ``fixed_ns``: stem and head together; ``smallest_block_ns``: the cheapest block of the space. They bound
    the fit so that no network can cost less than nothing.

    Raises:
        NotMeasuredError: fewer than 3 anchors.
        InputError: shapes that differ, or times that are not positive.
    """
    _check(pieces_ns, blocks, measured_ns)
    anchors = (np.asarray(pieces_ns, float), np.asarray(blocks, float), np.asarray(measured_ns, float))
    offset, scale, per_block = coefficients(*anchors, fixed_ns, smallest_block_ns)
    errors = leave_one_out(*anchors, fixed_ns, smallest_block_ns)
    n = len(errors)
    return Calibration(
        offset_ns=offset,
        scale=scale,
        per_block_ns=per_block,
        statistic=statistic,
        n_anchors=n,
        relative_std=float(np.sqrt(np.mean(errors**2))),
        t_quantile=_t_quantile(max(1, n - 3)),
        confidence=CONFIDENCE,
        loo_mape_percent=float(100 * np.mean(np.abs(errors))),
        method=f"t, {n} anchors",
    )


def leave_one_out(
    pieces_ns: Floats, blocks: Floats, measured_ns: Floats, fixed_ns: float, smallest_block_ns: float
) -> Floats:
    """Relative error (predicted / measured - 1) of each anchor by the fit to all others, shape (anchors,)."""
    errors = np.empty(len(measured_ns))
    for i in range(len(measured_ns)):
        others = np.arange(len(measured_ns)) != i
        offset, scale, per_block = coefficients(
            pieces_ns[others], blocks[others], measured_ns[others], fixed_ns, smallest_block_ns
        )
        errors[i] = (offset + scale * pieces_ns[i] + per_block * blocks[i]) / measured_ns[i] - 1
    return errors


def coefficients(
    pieces_ns: Floats, blocks: Floats, measured_ns: Floats, fixed_ns: float, smallest_block_ns: float
) -> tuple[float, float, float]:
    """(offset ns, scale, per block ns) that minimise the sum in this module's head.

    In (offset + scale * fixed, scale, per_block + scale * smallest) the constraints are plain lower bounds.
    """
    unit = float(np.median(measured_ns))
    sums, measured = pieces_ns / unit, measured_ns / unit
    fixed, smallest = fixed_ns / unit, smallest_block_ns / unit
    block_unit = BLOCK_SD * float(np.median(sums / np.maximum(blocks, 1)))
    design = np.stack([np.ones_like(sums), sums - fixed - smallest * blocks, blocks], axis=1)
    prior = [
        [NOISE / OFFSET_SD, -fixed * NOISE / OFFSET_SD, 0.0],
        [0.0, NOISE / SCALE_SD, 0.0],
        [0.0, -smallest * NOISE / block_unit, NOISE / block_unit],
    ]
    rows = np.concatenate([design / measured[:, None], np.array(prior)])
    target = np.concatenate([np.ones(len(measured)), [0.0, NOISE / SCALE_SD, 0.0]])
    base, scale, extra = _bounded_least_squares(rows, target, np.array([0.0, LEAST_SCALE, 0.0]))
    return float((base - scale * fixed) * unit), float(scale), float((extra - scale * smallest) * unit)


def _bounded_least_squares(rows: Floats, target: Floats, lower: Floats) -> Floats:
    """Argmin |rows x - target|^2 with x >= lower, exact: of few variables every set at its bound is tried."""
    best, best_loss = lower, float(np.sum((rows @ lower - target) ** 2))
    for pattern in itertools.product((True, False), repeat=len(lower)):
        free = np.array(pattern)
        if not free.any():
            continue
        x = lower.copy()
        x[free] = np.linalg.lstsq(rows[:, free], target - rows[:, ~free] @ lower[~free], rcond=None)[0]
        loss = float(np.sum((rows @ x - target) ** 2))
        if (x >= lower).all() and loss < best_loss:
            best, best_loss = x, loss
    return best


def require_anchors(count: int) -> None:
    """Refuse to calibrate on too few whole networks.

    Raises:
        NotMeasuredError: fewer than 3.
    """
    if count < LEAST_ANCHORS:
        raise NotMeasuredError(
            f"a latency table is calibrated on at least {LEAST_ANCHORS} whole networks, {count} were measured. "
            "Profile again with more anchors."
        )


def _check(pieces_ns: Floats, blocks: NDArray[np.int64], measured_ns: Floats) -> None:
    n = len(measured_ns)
    require_anchors(n)
    if len(pieces_ns) != n or len(blocks) != n:
        raise InputError(f"{n} measured networks, but {len(pieces_ns)} piece sums and {len(blocks)} block counts.")
    if not (np.min(pieces_ns) > 0 and np.min(measured_ns) > 0 and np.min(blocks) >= 0):
        raise InputError("latencies of pieces and networks must be positive, and block counts not negative.")


def _t_quantile(degrees: int) -> float:
    from scipy.special import stdtrit  # here: loading a table and predicting need no SciPy

    return float(stdtrit(degrees, (1 + CONFIDENCE) / 2))
