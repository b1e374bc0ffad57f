"""From measured pieces to whole networks: offset, scale and a constant per block, refined by stage, with its own error.

With F the locations of stem and head, S_s the sum of a network's piece locations in stage s and B_s its number of
blocks there, its latency is modelled as::

    latency = offset + scale * F + sum_s (scale_s * S_s + per_block_s * B_s)

Isolated pieces carry call and layout costs that they do not have inside a network, which is what the constants (usually
negative) and ``offset`` take back; caches treat early, wide stages otherwise than late, narrow ones. The numbers
minimise, over the anchors i and with u = median y / median number of blocks,

    sum_i ((latency_i - y_i) / y_i)^2 / NOISE^2
      + (offset / (OFFSET_SD * median y))^2 + ((scale - 1) / SCALE_SD)^2 + (per_block / (BLOCK_SD * u))^2
      + sum_s ((scale_s - scale) / STAGE_SCALE_SD)^2 + ((per_block_s - per_block) / (STAGE_BLOCK_SD * u))^2

a ridge around "the pieces just add up", and of the stages around each other, whose strengths are standard deviations in
natural units; subject to every scale >= LEAST_SCALE, no block of the space below zero, and stem, head and offset
together not below zero. The stages are what makes *searched* networks, which use few of a space's options, as
predictable as random ones: see benchmarks/README.md for the figures with and without.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
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
"""In units of the median anchor's latency per block, as is `STAGE_BLOCK_SD`."""
STAGE_SCALE_SD: Final = 0.1
STAGE_BLOCK_SD: Final = 0.1

Floats = NDArray[np.float64]
_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class StageRatesDocument(_Strict):
    """The document form."""

    scale: _Positive
    per_block_ns: _Finite


class CalibrationDocument(_Strict):
    """The document form."""

    offset_ns: _Finite
    scale: _Positive
    per_block_ns: _Finite
    stages: list[StageRatesDocument]
    statistic: Annotated[str, Field(min_length=1, max_length=32)]
    n_anchors: Annotated[int, Field(ge=LEAST_ANCHORS)]
    relative_std: _NotNegative
    t_quantile: _Positive
    confidence: Annotated[float, Field(gt=0, lt=1)]
    loo_mape_percent: _NotNegative
    method: str


@dataclass(frozen=True)
class StageRates:
    """What a block of a stage costs: ``scale`` times its location, and ``per_block_ns``."""

    scale: float
    per_block_ns: float


@dataclass(frozen=True)
class Anchors:
    """Whole networks to calibrate on, n of them in a space of k stages.

    ``stage_ns`` and ``stage_blocks``: sums of piece locations and numbers of blocks, shape (n, k); ``measured_ns``:
    shape (n,). ``fixed_ns``: stem and head together; ``smallest_ns``: the cheapest block of each stage, shape (k,).
    """

    stage_ns: Floats
    stage_blocks: NDArray[np.int64]
    measured_ns: Floats
    fixed_ns: float
    smallest_ns: Floats

    def without(self, index: int) -> Anchors:
        """All but one."""
        others = np.arange(len(self.measured_ns)) != index
        return replace(
            self,
            stage_ns=self.stage_ns[others],
            stage_blocks=self.stage_blocks[others],
            measured_ns=self.measured_ns[others],
        )


@dataclass(frozen=True)
class Calibration:
    """The fitted numbers and how far off they are for a network that they have not seen.

    ``relative_std``: root mean square of the leave-one-out relative errors; ``t_quantile``: Student's t for
    ``confidence`` two-sided, with ``n_anchors - 3`` degrees of freedom (at least 1); ``statistic``: what of
    a whole network is predicted.
    """

    offset_ns: float
    scale: float
    per_block_ns: float
    stages: tuple[StageRates, ...]
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

    def fixed(self, pieces_ns: float) -> float:
        """What every network costs, in ns: stem and head of these locations together, and the offset."""
        return self.offset_ns + self.scale * pieces_ns

    def block(self, stage: int, piece_ns: float) -> float:
        """What a block of this location costs inside a network, in ns."""
        return self.stages[stage].scale * piece_ns + self.stages[stage].per_block_ns

    def to_json(self) -> dict[str, Any]:
        """The document form."""
        return {**asdict(self), "stages": [asdict(rates) for rates in self.stages]}

    @classmethod
    def from_document(cls, document: CalibrationDocument) -> Calibration:
        """From the validated document form."""
        stages = tuple(StageRates(**rates.model_dump()) for rates in document.stages)
        return cls(**{**document.model_dump(), "stages": stages})


@dataclass(frozen=True)
class Coefficients:
    """The numbers of the model in this module's head; ``stage_scale`` and ``stage_block_ns`` of shape (stages,)."""

    offset_ns: float
    scale: float
    per_block_ns: float
    stage_scale: Floats
    stage_block_ns: Floats

    def predict(self, anchors: Anchors) -> Floats:
        """Latency in ns of each network."""
        fixed = self.offset_ns + self.scale * anchors.fixed_ns
        predicted: Floats = fixed + anchors.stage_ns @ self.stage_scale + anchors.stage_blocks @ self.stage_block_ns
        return predicted


def fit(anchors: Anchors, *, statistic: str = "median") -> Calibration:
    """Fit to whole networks.

    Raises:
        NotMeasuredError: fewer than 3 anchors.
        InputError: shapes that differ, or times that are not positive.
    """
    _check(anchors)
    found = coefficients(anchors)
    errors = leave_one_out(anchors)
    n = len(errors)
    return Calibration(
        offset_ns=found.offset_ns,
        scale=found.scale,
        per_block_ns=found.per_block_ns,
        stages=tuple(map(StageRates, found.stage_scale.tolist(), found.stage_block_ns.tolist())),
        statistic=statistic,
        n_anchors=n,
        relative_std=float(np.sqrt(np.mean(errors**2))),
        t_quantile=_t_quantile(max(1, n - 3)),
        confidence=CONFIDENCE,
        loo_mape_percent=float(100 * np.mean(np.abs(errors))),
        method=f"t, {n} anchors",
    )


def leave_one_out(anchors: Anchors) -> Floats:
    """Relative error (predicted / measured - 1) of each anchor by the fit to all others, shape (n,)."""
    predicted = [coefficients(anchors.without(i)).predict(anchors)[i] for i in range(len(anchors.measured_ns))]
    return np.array(predicted) / anchors.measured_ns - 1


def coefficients(anchors: Anchors) -> Coefficients:
    """The numbers that minimise the sum in this module's head.

    In base = offset + scale * fixed, scale, per_block, scale_s and least_s = per_block_s + scale_s * smallest_s the
    constraints are plain lower bounds; that problem is solved exactly by an active-set method (BVLS).
    """
    from scipy.optimize import lsq_linear  # here: loading a table and predicting need no SciPy

    unit = float(np.median(anchors.measured_ns))
    k = len(anchors.smallest_ns)
    fixed, smallest = anchors.fixed_ns / unit, anchors.smallest_ns / unit
    rows = np.concatenate([_data_rows(anchors, unit), _prior_rows(anchors, fixed, smallest)])
    target = np.zeros(len(rows))
    target[: len(anchors.measured_ns)] = 1.0
    target[len(anchors.measured_ns) + 1] = NOISE / SCALE_SD
    lower = np.concatenate([[0.0, LEAST_SCALE, -np.inf], np.full(k, LEAST_SCALE), np.zeros(k)])
    x = lsq_linear(rows, target, bounds=(lower, np.inf), method="bvls").x
    base, scale, per_block, stage_scale, least = x[0], x[1], x[2], x[3 : 3 + k], x[3 + k :]
    stage_block = (least - stage_scale * smallest) * unit
    return Coefficients(
        float((base - scale * fixed) * unit), float(scale), float(per_block * unit), stage_scale, stage_block
    )


def _data_rows(anchors: Anchors, unit: float) -> Floats:
    """Predicted / measured of each anchor, as coefficients of (base, scale, per_block, scale_s, least_s)."""
    measured = anchors.measured_ns / unit
    above = (anchors.stage_ns - anchors.stage_blocks * anchors.smallest_ns) / unit
    n = len(measured)
    rows: Floats = np.hstack([np.ones((n, 1)), np.zeros((n, 2)), above, anchors.stage_blocks]) / measured[:, None]
    return rows


def _prior_rows(anchors: Anchors, fixed: float, smallest: Floats) -> Floats:
    """The ridge: one row for offset, scale and per_block, then one for each scale_s and each per_block_s."""
    k = len(smallest)
    block_unit = 1.0 / float(np.median(np.maximum(anchors.stage_blocks.sum(axis=1), 1)))
    common = np.zeros((3, 3 + 2 * k))
    common[0, :2] = np.array([1.0, -fixed]) / OFFSET_SD
    common[1, 1] = 1.0 / SCALE_SD
    common[2, 2] = 1.0 / (BLOCK_SD * block_unit)
    column, identity = np.ones((k, 1)), np.eye(k)
    scales = np.hstack([0 * column, -column, 0 * column, identity, 0 * identity]) / STAGE_SCALE_SD
    blocks = np.hstack([0 * column, 0 * column, -column, -np.diag(smallest), identity]) / (STAGE_BLOCK_SD * block_unit)
    return NOISE * np.concatenate([common, scales, blocks])


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


def _check(anchors: Anchors) -> None:
    n = len(anchors.measured_ns)
    require_anchors(n)
    shape = (n, len(anchors.smallest_ns))
    if anchors.stage_ns.shape != shape or anchors.stage_blocks.shape != shape:
        found = f"sums {anchors.stage_ns.shape} and block counts {anchors.stage_blocks.shape}"
        raise InputError(f"{n} measured networks of {shape[1]} stages, but {found}.")
    if not (np.min(anchors.measured_ns) > 0 and np.min(anchors.stage_ns) >= 0 and np.min(anchors.stage_blocks) >= 0):
        raise InputError("latencies of networks must be positive, those of pieces and block counts not negative.")


def _t_quantile(degrees: int) -> float:
    from scipy.special import stdtrit  # here: loading a table and predicting need no SciPy

    return float(stdtrit(degrees, (1 + CONFIDENCE) / 2))
