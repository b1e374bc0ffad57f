"""`AccuracyModel`: the accuracy of any network of a space, as a sum of contributions with their errors."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from pydantic import ValidationError

from binas_deploy.accuracy.contributions import Contributions, Fit, Numbers, conditional_means
from binas_deploy.accuracy.document import (
    ACCURACY_KIND,
    ACCURACY_VERSION,
    AccuracyDocument,
    Kind,
    contributions_json,
    contributions_of,
)
from binas_deploy.accuracy.regression import ridge
from binas_deploy.columns import Floats
from binas_deploy.documents import read_document, seal, validation_message, write_document
from binas_deploy.errors import DocumentError, InputError, MismatchError
from binas_deploy.estimate import Estimate
from binas_deploy.problem import LinearForm
from binas_deploy.space import Architecture, SearchSpace
from binas_deploy.space_file import space_document, space_from_document

UNITS_PER_POINT: Final = 10**9
_CONFIDENCE: Final = 0.95
_NORMAL_QUANTILE: Final = 1.959964
_ENOUGH_FRESH: Final = 20

Quality = Mapping[str, float | None]


@dataclass(frozen=True, eq=False)
class AccuracyModel:
    """Top-1 accuracy in percent. ``standard_errors`` has the form of ``contributions``.

    ``samples`` networks, drawn with ``seed``, were evaluated with the supernet of ``supernet_digest`` on the images of
    ``dataset_fingerprint`` (both empty when unknown). ``residual_std`` in points is held out, ``residual_method`` says
    how. ``quality`` is `rank_quality` on fresh networks, None until `with_quality`. ``strength`` is the ridge's.
    """

    space: SearchSpace
    kind: Kind
    contributions: Contributions
    standard_errors: Contributions
    samples: int
    residual_std: float
    residual_method: str
    seed: int = 0
    supernet_digest: str = ""
    dataset_fingerprint: str = ""
    strength: tuple[float, float] | None = None
    quality: Quality | None = None

    @classmethod
    def fit(
        cls, space: SearchSpace, samples: Iterable[tuple[Architecture, float]], *, kind: Kind = "ridge"
    ) -> AccuracyModel:
        """A model of (network, percent) pairs.

        Raises:
            InputError: a network outside the space, under 3 networks, a value outside 0 to 100, or an unknown kind.
        """
        pairs = list(samples)
        archs, accuracies = [arch for arch, _ in pairs], [value for _, value in pairs]
        if kind not in ("ridge", "conditional"):
            raise InputError(f"unknown kind of accuracy model {kind!r}. Known: conditional, ridge.")
        return (fit_ridge if kind == "ridge" else fit_conditional)(space, archs, accuracies)

    @classmethod
    def load(cls, path: Path) -> AccuracyModel:
        """Read a model and check everything in it.

        Raises:
            InputError: no such file.
            DocumentError: truncated, edited by hand, foreign, newer, or not of the shape of its space.
        """
        content = read_document(path, ACCURACY_KIND, ACCURACY_VERSION)
        try:
            document = AccuracyDocument.model_validate(content)
        except ValidationError as error:
            raise DocumentError(validation_message(path, error)) from error
        return _from_document(document, path)

    def save(self, path: Path) -> None:
        """Write the document atomically.

        Raises:
            EnvironmentFault: no permission, no space, or the folder cannot be made.
        """
        write_document(path, self.to_document())

    def to_document(self) -> dict[str, Any]:
        """The sealed document."""
        content = {
            "unit": "percentage point",
            "kind": self.kind,
            "space": space_document(self.space),
            "samples": self.samples,
            "seed": self.seed,
            "supernet_digest": self.supernet_digest,
            "dataset_fingerprint": self.dataset_fingerprint,
            "strength": None if self.strength is None else list(self.strength),
            "residual_std": self.residual_std,
            "residual_method": self.residual_method,
            "quality": None if self.quality is None else dict(self.quality),
            "contributions": contributions_json(self.contributions),
            "standard_errors": contributions_json(self.standard_errors),
        }
        return seal(ACCURACY_KIND, ACCURACY_VERSION, content)

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of the document's content, the one in its file."""
        return str(self.to_document()["digest"])

    def predict(self, arch: Architecture) -> Estimate:
        """Top-1 accuracy of a network in percent, with its 95 % interval.

        Raises:
            InputError: the network is not in the model's space.
        """
        depths = tuple(stage.depths for stage in self.space.stages)
        value = self.value_form().of(self.space.validate(arch), depths) / UNITS_PER_POINT
        half = _NORMAL_QUANTILE * self.residual_std
        method = f"{self.kind}; normal interval, residual by {self.residual_method}"
        return Estimate(value, value - half, value + half, "%", _CONFIDENCE, method)

    def value_form(self) -> LinearForm:
        """The value of every choice as integers of 1e-9 percentage points; `predict` reads the same."""
        return self._value_form

    @cached_property
    def _value_form(self) -> LinearForm:
        def units(row: Floats) -> Any:
            return np.rint(row * UNITS_PER_POINT).astype(np.int64)

        fitted = self.contributions
        option = tuple(tuple(units(row) for row in stage) for stage in fitted.option)
        return LinearForm(round(fitted.base * UNITS_PER_POINT), tuple(units(row) for row in fitted.depth), option)

    def with_quality(self, archs: Sequence[Architecture], accuracies: Numbers) -> AccuracyModel:
        """This model with its quality on networks that it was not fitted to.

        From 20 networks on, their root mean squared error is the residual of `predict`'s interval.

        Raises:
            InputError: a network outside the space, unequal lengths, or under 2 networks.
        """
        quality = rank_quality([self.predict(arch).value for arch in archs], accuracies)
        if len(archs) < _ENOUGH_FRESH:
            return dataclasses.replace(self, quality=MappingProxyType(quality))
        error = float(np.sqrt(quality["mse"] or 0.0))
        method = f"root mean squared error on {len(archs)} fresh networks"
        return dataclasses.replace(self, quality=MappingProxyType(quality), residual_std=error, residual_method=method)

    def require_space(self, space: SearchSpace, what: str = "the accuracy model") -> None:
        """Refuse to use this model, called ``what``, for another space.

        Raises:
            MismatchError: the networks of ``space`` are not those that were evaluated.
        """
        if space.fingerprint != self.space.fingerprint:
            raise MismatchError(
                f"{what}: fitted for space '{self.space.name}' ({self.space.fingerprint[:8]}), "
                f"asked for '{space.name}' ({space.fingerprint[:8]}). Estimate the space that is asked for."
            )


def fit_ridge(space: SearchSpace, archs: Sequence[Architecture], accuracies: Numbers) -> AccuracyModel:
    """The default: hierarchical ridge regression (`regression.ridge`). ``accuracies`` in percent.

    Raises:
        InputError: a network outside the space, unequal lengths, under 3 networks, or a value outside 0 to 100.
    """
    return _model(space, "ridge", ridge(space, archs, accuracies), len(archs))


def fit_conditional(space: SearchSpace, archs: Sequence[Architecture], accuracies: Numbers) -> AccuracyModel:
    """The paper's conditional expectations (`contributions.conditional_means`). ``accuracies`` in percent.

    Raises:
        InputError: a network outside the space, unequal lengths, under 3 networks, or a value outside 0 to 100.
    """
    return _model(space, "conditional", conditional_means(space, archs, accuracies), len(archs))


def rank_quality(predicted: Numbers, measured: Numbers) -> dict[str, float | None]:
    """Kendall tau-b, Spearman, Pearson, mean squared error (points^2) and ``n``.

    A correlation is None where one side does not vary.

    Raises:
        InputError: unequal lengths or under 2 networks.
    """
    x, y = np.asarray(predicted, dtype=np.float64), np.asarray(measured, dtype=np.float64)
    if x.shape != y.shape or x.ndim != 1 or len(x) < 2:
        raise InputError(f"quality needs 2 or more pairs; found {len(x)} predicted and {len(y)} measured values.")
    result: dict[str, float | None] = {"kendall_tau": None, "spearman": None, "pearson": None}
    if np.ptp(x) > 0 and np.ptp(y) > 0:
        from scipy import stats

        result["kendall_tau"] = float(stats.kendalltau(x, y).statistic)
        result["spearman"] = float(stats.spearmanr(x, y).statistic)
        result["pearson"] = float(stats.pearsonr(x, y).statistic)
    return result | {"mse": float(np.mean((x - y) ** 2)), "n": len(x)}


def _model(space: SearchSpace, kind: Kind, fit: Fit, samples: int) -> AccuracyModel:
    return AccuracyModel(
        space,
        kind,
        fit.contributions,
        fit.standard_errors,
        samples,
        fit.residual_std,
        fit.residual_method,
        strength=fit.strength,
    )


def _from_document(document: AccuracyDocument, path: Path) -> AccuracyModel:
    space = space_from_document(document.space, path)
    quality = None if document.quality is None else MappingProxyType(document.quality.model_dump())
    return AccuracyModel(
        space,
        document.kind,
        contributions_of(document.contributions, space, f"{path}: contributions"),
        contributions_of(document.standard_errors, space, f"{path}: standard_errors"),
        document.samples,
        document.residual_std,
        document.residual_method,
        document.seed,
        document.supernet_digest,
        document.dataset_fingerprint,
        None if document.strength is None else (document.strength[0], document.strength[1]),
        quality,
    )
