"""``accepted.json`` beside a bundle: a regression that is meant, with its reason, for later checks of the same pair.

Format history of ``binas-deploy/accepted``:

1. The first: the pair, by digests of manifests and by runtimes; the effect with its interval; reason, time and version.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from binas_deploy.documents import read_document, seal, validation_message, write_document
from binas_deploy.errors import DocumentError
from binas_deploy.table.names import TIME_PATTERN

ACCEPTED_KIND: Final = "accepted"
ACCEPTED_VERSION: Final = 1
ACCEPTED_NAME: Final = "accepted.json"
LONGEST_REASON: Final = 1000

_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Percent = Annotated[float, Field(ge=-100, allow_inf_nan=False)]
_Text = Annotated[str, Field(min_length=1, max_length=LONGEST_REASON)]


class AcceptedDocument(BaseModel):
    """The fields as they stand in the file, and within the report of a check."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    head: _Digest
    base: _Digest
    head_runtime: _Text
    base_runtime: _Text
    percent: _Percent
    low: _Percent
    high: _Percent
    reason: _Text
    created: Annotated[str, Field(pattern=TIME_PATTERN)]
    tool_version: Annotated[str, Field(max_length=64)]

    def accepted(self) -> Accepted:
        """The value."""
        return Accepted(**self.model_dump())


class _File(AcceptedDocument):
    format: str
    version: int
    digest: str


@dataclass(frozen=True)
class Accepted:
    """``percent`` slower (95 % interval ``low`` to ``high``) is meant for this pair, because of ``reason``.

    ``head`` and ``base`` are digests of manifests.
    """

    head: str
    base: str
    head_runtime: str
    base_runtime: str
    percent: float
    low: float
    high: float
    reason: str
    created: str
    tool_version: str

    def covers(self, head: str, base: str, runtimes: tuple[str, str], low: float) -> bool:
        """Whether a regression of this pair is meant: the same files and (head, base) runtimes, and not clearly more.

        ``low``: the lower end of the interval of the effect now, in percent.
        """
        same = (self.head, self.base, self.head_runtime, self.base_runtime) == (head, base, *runtimes)
        return same and low <= self.high

    def save(self, bundle: Path) -> None:
        """Write ``accepted.json`` of a bundle folder. Raises EnvironmentFault where that is refused."""
        write_document(bundle / ACCEPTED_NAME, seal(ACCEPTED_KIND, ACCEPTED_VERSION, self.to_json()))

    def to_json(self) -> dict[str, Any]:
        """The fields of the document."""
        return dict(vars(self))

    @classmethod
    def load(cls, bundle: Path) -> Accepted | None:
        """What a bundle's file accepts; None where there is none.

        Raises:
            DocumentError: truncated, edited by hand, foreign or newer.
            EnvironmentFault: it cannot be read.
        """
        path = bundle / ACCEPTED_NAME
        if not path.exists():
            return None
        content = read_document(path, ACCEPTED_KIND, ACCEPTED_VERSION)
        try:
            stated = _File.model_validate(content).model_dump(exclude={"format", "version", "digest"})
        except ValidationError as error:
            raise DocumentError(validation_message(path, error)) from error
        return cls(**stated)
