"""From sources to whole networks: what each decision costs, learnt from measured networks, with its own error.

The prior cost of a network is the mean of its sources, each brought to the measured level by one ratio. What remains,
relative to each measured latency y, is explained by the terms of `terms` with the spreads of `hierarchy`::

    1 - prior / y = (terms / y) @ w + noise

The posterior mean of w, added to the prior, is one cost for each decision, rounded to integer ns: prediction and
search use exactly these. A block that comes out below zero, which would make it pay for another, becomes free.

How far off that is, is told from networks held out in turn (`margin`): fits without them predict them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np

from binas_deploy.columns import Columns, Floats
from binas_deploy.errors import InputError, NotMeasuredError
from binas_deploy.problem import Ints
from binas_deploy.table.hierarchy import posterior, spreads
from binas_deploy.table.margin import to_hold_out
from binas_deploy.table.terms import SPREADS, Source, Terms, terms

LEAST_NETWORKS: Final = 3
_FOLDS: Final = 10
_DIGITS: Final = 6


@dataclass(frozen=True, eq=False)
class Networks:
    """Whole networks to calibrate on: ``design`` (n, columns.size) of zeros and ones, ``latency_ns`` (n,), ``kinds``.

    Raises:
        InputError: shapes that differ, or latencies that are not positive.
    """

    design: Floats
    latency_ns: Floats
    kinds: tuple[str, ...]

    def __post_init__(self) -> None:
        if not len(self.design) == len(self.latency_ns) == len(self.kinds):
            found = f"{len(self.design)} networks, {len(self.latency_ns)} latencies and {len(self.kinds)} kinds"
            raise InputError(f"a calibration needs one latency and one kind for each network: {found}.")
        if not (np.isfinite(self.latency_ns).all() and self.latency_ns.min() > 0):
            raise InputError("latencies of networks must be positive.")

    def at(self, places: list[int]) -> Networks:
        """Those at ``places``."""
        return Networks(self.design[places], self.latency_ns[places], tuple(self.kinds[place] for place in places))


@dataclass(frozen=True, eq=False)
class Calibration:
    """``costs``: integer ns of each decision in the order of `Columns`; ``statistic``: what of a network they predict.

    ``ratios``: by which each source was brought to the measured level; ``spreads``: of the groups of terms, and the
    noise of one network, as shares; ``errors``: of each network measured / predicted - 1 by a fit without it, None
    where it was never held out.

    Raises:
        InputError: spreads without the noise.
    """

    costs: Ints
    statistic: str
    ratios: Mapping[str, float]
    spreads: Mapping[str, float]
    errors: tuple[float | None, ...]

    def __post_init__(self) -> None:
        for name in ("ratios", "spreads"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))
        if "noise" not in self.spreads:
            raise InputError("calibration.spreads: the noise of one network is missing.")

    @property
    def noise(self) -> float:
        """The relative standard deviation of one measured network."""
        return self.spreads["noise"]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Calibration):
            return NotImplemented
        names = ("statistic", "ratios", "spreads", "errors")
        return np.array_equal(self.costs, other.costs) and all(getattr(self, x) == getattr(other, x) for x in names)


def calibrate(
    columns: Columns, sources: Sequence[Source], networks: Networks, *, statistic: str = "median"
) -> Calibration:
    """Fit to whole networks.

    Raises:
        NotMeasuredError: fewer than 3 networks.
        InputError: no source, or one by which a network costs nothing.
    """
    require_networks(len(networks.kinds))
    model = _Model.of(columns, sources, networks)
    costs = np.rint(model.costs(networks.design, networks.latency_ns)).astype(np.int64)
    return Calibration(
        costs, statistic, model.ratios, model.spreads, _held_out_errors(columns, sources, networks, model)
    )


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """How sure a fit is of its terms: ``covariance`` (terms, terms); ``noise`` of one network, as a share.

    ``values``: (columns.size, terms) of the terms; ``costs``: (columns.size,) in ns, which they are relative to.
    """

    values: Floats
    costs: Floats
    covariance: Floats
    noise: float

    def rows(self, design: Floats) -> Floats:
        """Of networks, (n, terms), as the covariance weighs them."""
        return _shares(design, self.values, self.costs)


def uncertainty(
    columns: Columns, sources: Sequence[Source], networks: Networks, also: Floats, given: Mapping[str, float]
) -> Uncertainty:
    """Of the fit to ``networks`` that found the spreads ``given``, once those of ``also`` are measured too.

    ``also``: their design, (n, columns.size). It depends on which they are, not on what is measured.

    Raises:
        InputError: as `calibrate`.
    """
    model = _Model.of(columns, sources, networks, given)
    costs = model.costs(networks.design, networks.latency_ns)
    rows = _shares(np.concatenate([networks.design, also]), model.terms.values, costs)
    found = posterior(rows, np.zeros(len(rows)), model.terms.groups, model.spreads)
    return Uncertainty(model.terms.values, costs, found.covariance, model.spreads["noise"])


def _shares(design: Floats, values: Floats, costs: Floats) -> Floats:
    """What each term is of the latency of networks by ``costs``, (n, terms)."""
    return np.asarray(design @ values / (design @ costs)[:, None], dtype=np.float64)


@dataclass(frozen=True, eq=False)
class _Model:
    """All but the coefficients: ``prior`` (columns.size,) in ns, terms, spreads, and the places of ``blocks``."""

    prior: Floats
    blocks: list[int]
    terms: Terms
    ratios: dict[str, float]
    spreads: dict[str, float]

    @classmethod
    def of(
        cls,
        columns: Columns,
        sources: Sequence[Source],
        networks: Networks,
        given: Mapping[str, float] | None = None,
    ) -> _Model:
        """With the spreads that are ``given``, else those of largest evidence."""
        ratios = {source.name: _ratio(source, networks) for source in sources}
        level = [Source(source.name, ratios[source.name] * source.costs) for source in sources]
        if not level:
            raise InputError("a calibration needs at least one source of costs.")
        found = terms(columns, level, float(np.median(networks.latency_ns)))
        prior = np.mean([source.costs for source in level], axis=0)
        model = cls(prior, [place for place, _, _ in columns.blocks()], found, ratios, {})
        relative = model._relative(networks.design, networks.latency_ns)
        model.spreads.update(given or spreads(*relative, found.groups, SPREADS))
        return model

    def costs(self, design: Floats, latency_ns: Floats) -> Floats:
        """Of each decision in ns, (columns.size,), after these networks."""
        found = posterior(*self._relative(design, latency_ns), self.terms.groups, self.spreads).mean
        costs: Floats = self.prior + self.terms.values @ found
        costs[self.blocks] = np.maximum(costs[self.blocks], 0.0)
        return costs

    def _relative(self, design: Floats, latency_ns: Floats) -> tuple[Floats, Floats]:
        return design @ self.terms.values / latency_ns[:, None], 1 - design @ self.prior / latency_ns


def _ratio(source: Source, networks: Networks) -> float:
    predicted = networks.design @ source.costs
    if not (np.isfinite(predicted).all() and predicted.min() > 0):
        raise InputError(f"source '{source.name}': every network must cost something.")
    return float(np.median(networks.latency_ns / predicted))


def _held_out_errors(
    columns: Columns, sources: Sequence[Source], networks: Networks, whole: _Model
) -> tuple[float | None, ...]:
    """Every network that is to be held out against a fit without its fold, which the ``whole`` model has seen.

    Spreads and ratios are found anew without the fold: of ten networks each has its share in them, and errors by
    spreads that know it are too small (benchmarks/README.md, ten samples).
    """
    chosen = to_hold_out(networks.kinds)
    folds = min(_FOLDS, len(chosen))
    found: list[float | None] = [None] * len(networks.kinds)
    for fold in (chosen[start::folds] for start in range(folds)):
        rest = networks.at([index for index in range(len(networks.kinds)) if index not in fold])
        # Of three networks two are left: what they say together with the prior is what there is.
        model = _Model.of(columns, sources, rest, None if len(rest.kinds) >= LEAST_NETWORKS else whole.spreads)
        errors = networks.latency_ns[fold] / (networks.design[fold] @ model.costs(rest.design, rest.latency_ns)) - 1
        for index, error in zip(fold, errors.tolist(), strict=True):
            found[index] = round(error, _DIGITS)
    return tuple(found)


def require_networks(count: int) -> None:
    """Refuse to calibrate on too few whole networks.

    Raises:
        NotMeasuredError: fewer than 3.
    """
    if count < LEAST_NETWORKS:
        raise NotMeasuredError(
            f"a latency table is calibrated on at least {LEAST_NETWORKS} whole networks, {count} were measured. "
            "Profile again with more."
        )
