"""`Conditions`: under what a measurement holds. A difference in *identity* refuses, in *context* it warns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, ValidationError

from binas_deploy.documents import digest, validation_message
from binas_deploy.errors import DocumentError, InputError, MismatchError
from binas_deploy.quantities import Quantity, parse_quantity

BACK_TO_BACK: Final = "back-to-back"
RECORDED_KEY: Final = "recorded"
"""What an identity has where latencies were recorded before and are played back: which recording it is."""
_EVERY: Final = "every "
IDENTITY_KEYS: Final = (
    "device",
    "device_model",
    "runtime",
    "runtime_version",
    "provider",
    "provider_options",
    "precision",
    "batch",
    "threads",
    "affinity",
    "cadence",
)
"""What every identity states, as text; a device may add keys of its own (a power mode, say)."""
ABSENT: Final = "(not stated)"
"""Stands for a value that one side of a comparison does not state."""


def cadence_of(period_ns: int) -> str:
    """How calls follow one another, as text: 'every 33ms', or 'back-to-back' for a period of 0."""
    return f"{_EVERY}{Quantity('time', period_ns).text}" if period_ns else BACK_TO_BACK


def period_of(cadence: str) -> int:
    """The inverse of `cadence_of`, in ns.

    Raises:
        InputError: not a cadence.
    """
    if cadence == BACK_TO_BACK:
        return 0
    if not cadence.startswith(_EVERY):
        raise InputError(f"{cadence!r} is not a cadence; write '{BACK_TO_BACK}' or '{_EVERY}33ms'.")
    return parse_quantity(cadence.removeprefix(_EVERY)).amount


def unmeasured_text(identity: Mapping[str, str]) -> str:
    """What to say of latencies that are marked as simulated, under this identity."""
    if RECORDED_KEY in identity:
        return "recorded before and played back: no clock measured it now"
    return "simulated: no clock measured it"


class ConditionsDocument(BaseModel):
    """The document form."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    identity: dict[str, str]
    context: dict[str, str]


@dataclass(frozen=True)
class Conditions:
    """``identity``: what latencies depend on; ``context``: what was so at the time (clock, load, patch versions).

    Both are text by key, copied and read-only.

    Raises:
        InputError: a key of `IDENTITY_KEYS` is missing, or something is not text.
    """

    identity: Mapping[str, str]
    context: Mapping[str, str]

    def __post_init__(self) -> None:
        missing = [key for key in IDENTITY_KEYS if key not in self.identity]
        if missing:
            raise InputError(f"conditions.identity: missing {', '.join(missing)}.")
        object.__setattr__(self, "identity", _text_only(self.identity, "identity"))
        object.__setattr__(self, "context", _text_only(self.context, "context"))

    @property
    def identity_hash(self) -> str:
        """Eight hex digits that differ between different identities."""
        return digest({"identity": dict(self.identity)})[:8]

    def require_same_identity(self, other: Conditions, what: str = "the latency table") -> None:
        """Refuse to use ``what``, made under these conditions, when ``other`` are asked for.

        Raises:
            MismatchError: names each key that differs with both values.
        """
        found = _differences(self.identity, other.identity)
        if found:
            lines = "; ".join(f"{key}: table {mine}, asked {asked}" for key, (mine, asked) in found.items())
            raise MismatchError(
                f"{what} holds under other conditions: {lines}. Measure again under the conditions asked."
            )

    def differences(self, other: Conditions) -> dict[str, tuple[str, str]]:
        """Context that differs: key -> (here, in ``other``); '(not stated)' where one side is silent."""
        return _differences(self.context, other.context)

    def to_json(self) -> dict[str, Any]:
        """The document form."""
        return {"identity": dict(self.identity), "context": dict(self.context)}

    @classmethod
    def from_json(cls, value: Any, path: Path = Path("conditions")) -> Conditions:
        """The inverse of `to_json`; ``path`` is named in errors.

        Raises:
            DocumentError: malformed; the message names field, value and what is allowed.
        """
        try:
            return cls(**ConditionsDocument.model_validate(value).model_dump())
        except ValidationError as error:
            raise DocumentError(validation_message(path, error)) from error
        except InputError as error:
            raise DocumentError(f"{path}: {error}") from error


def _text_only(values: Mapping[str, str], name: str) -> Mapping[str, str]:
    for key, value in values.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise InputError(f"conditions.{name}: {key!r} is {value!r}; keys and values are text.")
    return MappingProxyType(dict(sorted(values.items())))


def _differences(mine: Mapping[str, str], theirs: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    keys = sorted(set(mine) | set(theirs))
    pairs = {key: (mine.get(key, ABSENT), theirs.get(key, ABSENT)) for key in keys}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}
