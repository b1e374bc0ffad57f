"""Latency samples that were measured elsewhere: read from a file, and checked before anything is fitted to them."""

from binas_deploy.samples.checks import CheckedSamples, check_samples
from binas_deploy.samples.file import SampleRows, read_samples
from binas_deploy.samples.finding import Finding

__all__ = ["CheckedSamples", "Finding", "SampleRows", "check_samples", "read_samples"]
