"""`CheckReport`: what `check` found of each bundle, with the verdict and its exit code.

The document holds the facts and, for whoever reads it without this tool, the figures and verdicts derived from them.
Loading derives them again and refuses a document in which they differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal

from pydantic import ValidationError

from binas_deploy.documents import read_document, seal, validation_message, write_document
from binas_deploy.errors import (
    EXIT_INCONCLUSIVE,
    EXIT_NO,
    EXIT_NOT_MEASURED,
    EXIT_OK,
    DocumentError,
    InputError,
)
from binas_deploy.gate.accepted import Accepted
from binas_deploy.gate.cause import Cause
from binas_deploy.gate.comparison import Comparison
from binas_deploy.gate.judgement import Change
from binas_deploy.gate.stored import Stored

CHECK_KIND: Final = "check"
CHECK_VERSION: Final = 1


class Outcome(str, Enum):
    """The verdict on a bundle, or on all."""

    FAILED = "failed"
    REGRESSED = "regressed"
    INCONCLUSIVE = "inconclusive"
    NOT_COMPARED = "not compared"
    ACCEPTED = "accepted"
    IMPROVED = "improved"
    UNCHANGED = "unchanged"
    FINE = "no regression"


_WORST_FIRST: Final = tuple(Outcome)
_BY_CHANGE: Final[Mapping[Change, Outcome]] = MappingProxyType(
    {
        Change.SLOWER: Outcome.REGRESSED,
        Change.FASTER: Outcome.IMPROVED,
        Change.NONE: Outcome.FINE,
        Change.INCONCLUSIVE: Outcome.INCONCLUSIVE,
    }
)


@dataclass(frozen=True)
class Numerics:
    """The head's outputs against its stored ones: ``relative`` difference over ``vectors`` inputs.

    ``relative`` is None where outputs are not finite; ``tolerance``: what is allowed, in words; ``fault``: why they do
    not hold, '' where they do; ``unchecked`` says why they could not be had at all.
    """

    vectors: int
    relative: float | None
    tolerance: str
    fault: str = ""
    unchecked: str = ""


@dataclass(frozen=True)
class NotTimed:
    """Why nothing was timed: the two are the same, there is no base for this bundle, or the head is not sound."""

    kind: Literal["unchanged", "new", "unsound"]
    why: str


Timing = Comparison | Stored | NotTimed


@dataclass(frozen=True)
class BundleCheck:
    """One bundle. ``fault``: what is wrong with its files or outputs, '' where nothing is."""

    name: str
    manifest_digest: str
    fault: str
    numerics: Numerics | None
    timing: Timing
    cause: Cause | None = None
    accepted: Accepted | None = None

    @property
    def outcome(self) -> Outcome:
        """Files and numerics first, then latency."""
        if self.fault:
            return Outcome.FAILED
        latency = self.latency_outcome
        if latency is not Outcome.REGRESSED and self.numerics is not None and self.numerics.unchecked:
            return Outcome.INCONCLUSIVE
        return latency

    @property
    def latency_outcome(self) -> Outcome:
        """Of the latency alone."""
        if isinstance(self.timing, NotTimed):
            return Outcome.UNCHANGED if self.timing.kind == "unchanged" else Outcome.NOT_COMPARED
        found = _BY_CHANGE[self.timing.change]
        return Outcome.ACCEPTED if found is Outcome.REGRESSED and self._is_meant(self.timing) else found

    def _is_meant(self, timing: Comparison | Stored) -> bool:
        if self.accepted is None or isinstance(timing, Stored):
            return False
        runtimes = (timing.head.runtime, timing.base.runtime)
        low = timing.judgement.effect.low
        return self.accepted.covers(timing.head.manifest_digest, timing.base.manifest_digest, runtimes, low)

    @property
    def simulated(self) -> bool:
        """Whether what was timed was not measured by a clock."""
        return not isinstance(self.timing, NotTimed) and self.timing.simulated


@dataclass(frozen=True)
class CheckReport:
    """``against``: what the bundles were compared with, as text; ``threshold``: a share; ``removed``: only in the base.

    ``report_only``: latency is told and decides nothing. ``seconds``: what it took in all.
    """

    created: str
    against: str
    threshold: float
    pairs: int
    report_only: bool
    seed: int
    seconds: float
    bundles: tuple[BundleCheck, ...]
    removed: tuple[str, ...] = ()

    @property
    def outcome(self) -> Outcome:
        """The worst of any bundle; one without a base counts only where no bundle has one."""
        found = {bundle.outcome for bundle in self.bundles} or {Outcome.NOT_COMPARED}
        if found != {Outcome.NOT_COMPARED}:
            found.discard(Outcome.NOT_COMPARED)
        return next(outcome for outcome in _WORST_FIRST if outcome in found)

    @property
    def exit_code(self) -> int:
        """0 fine; 1 regressed, or files or numerics failed; 3 nothing compared; 4 inconclusive.

        With ``report_only`` latency decides nothing, but what was never measured does not pass.
        """
        outcomes = {bundle.outcome for bundle in self.bundles}
        if Outcome.FAILED in outcomes:
            return EXIT_NO
        if self.report_only and self.bundles:
            return EXIT_INCONCLUSIVE if any(bundle.simulated for bundle in self.bundles) else EXIT_OK
        codes = {
            Outcome.REGRESSED: EXIT_NO,
            Outcome.INCONCLUSIVE: EXIT_INCONCLUSIVE,
            Outcome.NOT_COMPARED: EXIT_NOT_MEASURED,
        }
        return codes.get(self.outcome, EXIT_OK)

    @property
    def comparisons(self) -> int:
        """How many bundles were timed: the error rate is split over them."""
        return sum(not isinstance(bundle.timing, NotTimed) for bundle in self.bundles)

    def save(self, path: Path) -> None:
        """Write the document atomically. Raises EnvironmentFault where that is refused."""
        write_document(path, self.to_document())

    @classmethod
    def load(cls, path: Path) -> CheckReport:
        """Read a report and check everything in it.

        Raises:
            InputError: no such file.
            DocumentError: truncated, edited by hand, foreign, newer, or its figures do not follow from its facts.
        """
        from binas_deploy.gate.document import CheckDocument

        content = read_document(path, CHECK_KIND, CHECK_VERSION)
        try:
            report = CheckDocument.model_validate(content).report()
            digest = report.digest
        except ValidationError as error:
            raise DocumentError(validation_message(path, error)) from error
        except DocumentError:
            raise
        except InputError as error:
            raise DocumentError(f"{path}: {error}") from error
        if digest != content["digest"]:
            raise DocumentError(f"{path}: its figures or verdicts do not follow from what was measured. Check again.")
        return report

    def to_document(self) -> dict[str, Any]:
        """The sealed document."""
        from binas_deploy.gate.document_json import report_json

        return seal(CHECK_KIND, CHECK_VERSION, report_json(self))

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of the document's content."""
        return str(self.to_document()["digest"])
