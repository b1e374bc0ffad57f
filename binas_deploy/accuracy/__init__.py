"""Accuracy models: the accuracy of any network of a space as a sum of contributions."""

from binas_deploy.accuracy.document import Kind
from binas_deploy.accuracy.model import UNITS_PER_POINT, AccuracyModel, fit_conditional, fit_ridge, rank_quality

__all__ = ["UNITS_PER_POINT", "AccuracyModel", "Kind", "fit_conditional", "fit_ridge", "rank_quality"]
