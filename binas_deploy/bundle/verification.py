"""`VerificationReport`: what a bundle was found to be on its device, with the verdict and its exit code.

The document holds the facts and, for whoever reads it without this tool, the figures and verdicts derived from them.
Loading derives them again and refuses a document in which they differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from binas_deploy.bundle.cold_start import ColdStart
from binas_deploy.bundle.latency import AnchorMedians, Latency, ProcessLatency
from binas_deploy.bundle.latency_document import latency_json, parity_json
from binas_deploy.bundle.parity import Divergence, Parity, ParityNotMeasured
from binas_deploy.bundle.shown import Shown
from binas_deploy.bundle.soak import Reading, Soak
from binas_deploy.bundle.sweep import Point
from binas_deploy.bundle.verification_document import (
    VERIFICATION_KIND,
    VERIFICATION_VERSION,
    VerificationDocument,
    accuracy_json,
)
from binas_deploy.bundle.verification_parts import Accuracy, AccuracyNotMeasured, SetUse, Verdict
from binas_deploy.conditions import Conditions, unmeasured_text
from binas_deploy.documents import read_document, seal, validation_message, write_document
from binas_deploy.errors import EXIT_INCONCLUSIVE, EXIT_NO, EXIT_OK, DocumentError, InputError

__all__ = [
    "Accuracy",
    "AccuracyNotMeasured",
    "AnchorMedians",
    "ColdStart",
    "Divergence",
    "Latency",
    "Parity",
    "ParityNotMeasured",
    "Point",
    "ProcessLatency",
    "Reading",
    "SetUse",
    "Shown",
    "Soak",
    "Verdict",
    "VerificationReport",
]
_EXIT_CODES: Final = {
    Verdict.PASS: EXIT_OK,
    Verdict.FAIL: EXIT_NO,
    Verdict.INCONCLUSIVE: EXIT_INCONCLUSIVE,
    Verdict.NOT_MEASURED: EXIT_INCONCLUSIVE,
}


@dataclass(frozen=True)
class VerificationReport:
    """The bundle of ``manifest_digest`` on its device under ``conditions``, at the time ``created`` (ISO 8601, UTC).

    ``program_sha256`` is the hash of the program that was measured, as `Program.sha256`; it is in the manifest where
    the bundle holds that program. ``parity`` is that of the device's own format; ``formats``: of the others, and of the
    formats with each other. ``soak`` and ``sweep``: where they were asked for.
    """

    bundle: str
    manifest_digest: str
    program_sha256: str
    created: str
    conditions: Conditions
    parity: Parity | ParityNotMeasured
    latency: Latency
    accuracy: Accuracy | AccuracyNotMeasured
    seed: int
    simulated: bool = False
    formats: tuple[Parity, ...] = ()
    soak: Soak | None = None
    sweep: tuple[Point, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """A failure of any part fails; after that, what is inconclusive (or simulated); then what was not measured."""
        found = {self.parity.verdict, self.latency.verdict, *(parity.verdict for parity in self.formats)}
        if self.soak is not None:
            found.add(self.soak.verdict)
        if self._accuracy_counts:
            found.add(self.accuracy.verdict)
        if self.simulated:
            found.add(Verdict.INCONCLUSIVE)
        order = (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.NOT_MEASURED)
        return next((verdict for verdict in order if verdict in found), Verdict.PASS)

    @property
    def exit_code(self) -> int:
        """0 pass; 1 fail; 4 inconclusive, or parity not checked, or accuracy not measured although it was asked for."""
        return _EXIT_CODES[self.verdict]

    @property
    def reasons(self) -> tuple[str, ...]:
        """What a person should know: why it does not pass, and what is remarkable where it does."""
        unmeasured = f"latency: {unmeasured_text(self.conditions.identity)}, so nothing is verified"
        simulated = unmeasured if self.simulated else ""
        accuracy = self.accuracy.reason if self._accuracy_counts else ""
        use = self.accuracy.use if isinstance(self.accuracy, Accuracy) else None
        found = (
            self.parity.reason,
            *(parity.reason for parity in self.formats),
            self.latency.reason,
            simulated,
            self.soak.reason if self.soak else "",
            accuracy,
            use.note if use else "",
        )
        return tuple(reason for reason in found if reason)

    @property
    def _accuracy_counts(self) -> bool:
        return isinstance(self.accuracy, Accuracy) or self.accuracy.asked

    def save(self, path: Path) -> None:
        """Write the document atomically.

        Raises:
            EnvironmentFault: no permission, no space, or the folder cannot be made.
        """
        write_document(path, self.to_document())

    @classmethod
    def load(cls, path: Path) -> VerificationReport:
        """Read a report and check everything in it.

        Raises:
            InputError: no such file.
            DocumentError: truncated, edited by hand, foreign, newer, or its figures do not follow from its facts.
        """
        content = read_document(path, VERIFICATION_KIND, VERIFICATION_VERSION)
        try:
            report = _from_document(VerificationDocument.model_validate(content))
        except ValidationError as error:
            raise DocumentError(validation_message(path, error)) from error
        except InputError as error:
            raise DocumentError(f"{path}: {error}") from error
        if report.digest != content["digest"]:
            raise DocumentError(f"{path}: its figures or verdicts do not follow from what was measured. Verify again.")
        return report

    def to_document(self) -> dict[str, Any]:
        """The sealed document."""
        content = {
            "bundle": self.bundle,
            "manifest_digest": self.manifest_digest,
            "program_sha256": self.program_sha256,
            "created": self.created,
            "simulated": self.simulated,
            "verdict": self.verdict.value,
            "exit_code": self.exit_code,
            "reasons": list(self.reasons),
            "parity": parity_json(self.parity),
            "formats": [parity_json(parity) for parity in self.formats],
            "latency": latency_json(self.latency),
            "accuracy": accuracy_json(self.accuracy),
            "soak": self.soak and self.soak.to_json(),
            "sweep": [point.to_json() for point in self.sweep],
            "conditions": self.conditions.to_json(),
            "seed": self.seed,
        }
        return seal(VERIFICATION_KIND, VERIFICATION_VERSION, content)

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of the document's content, the one in its file."""
        return str(self.to_document()["digest"])


def _from_document(document: VerificationDocument) -> VerificationReport:
    return VerificationReport(
        bundle=document.bundle,
        manifest_digest=document.manifest_digest,
        program_sha256=document.program_sha256,
        created=document.created,
        conditions=Conditions(document.conditions.identity, document.conditions.context),
        parity=document.parity.parity(),
        latency=document.latency.latency(),
        accuracy=document.accuracy.accuracy(),
        seed=document.seed,
        simulated=document.simulated,
        formats=tuple(row.parity() for row in document.formats),
        soak=document.soak.soak() if document.soak else None,
        sweep=tuple(row.point() for row in document.sweep),
    )
