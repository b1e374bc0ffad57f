"""The ``[options]`` of a command device, checked strictly; ``docs/devices.md`` explains each."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from binas_deploy.adapters.base import Precision
from binas_deploy.adapters.command.words import Words, require_any
from binas_deploy.documents import validation_message
from binas_deploy.errors import InputError

STATED_KEYS: Final = ("device_model", "runtime", "runtime_version")
_ALWAYS: Final = ("threads", "precision", "folder")
_SETTINGS: Final = ("unit", "latencies", "key", "pattern", "warmup", "discard", "mean_of")
_HOST: Final = r"^$|^(ssh://)?([A-Za-z0-9_][A-Za-z0-9_.-]*@)?[A-Za-z0-9_\[][A-Za-z0-9_.:\[\]-]*$"

_List = Annotated[list[str], Field(max_length=256)]
_Text = Annotated[str, Field(max_length=1000)]


class CommandOptions(BaseModel):
    """Which commands measure, where they run, and how latencies are read from what they say."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    command: _List
    unit: Literal["ns", "us", "ms", "s"]
    prepare: _List = []
    outputs: _List = []
    facts: _List = []
    host: Annotated[str, Field(pattern=_HOST, max_length=255)] = ""
    folder: Annotated[str, Field(pattern=r"^$|^/[^\x00-\x1f]*$", max_length=1000)] = ""
    latencies: Literal["lines", "json", "regex"] = "lines"
    key: _Text = ""
    pattern: _Text = ""
    stream: Literal["stdout", "stderr"] = "stdout"
    warmup: Annotated[int, Field(ge=0, le=1_000_000)] = 3
    discard: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    mean_of: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    arrays: Literal["npy", "raw"] = "npy"
    suffix: Annotated[str, Field(pattern=r"^(\.[A-Za-z0-9_]{1,16})?$")] = ""
    precisions: list[Literal["fp32", "fp16", "int8"]] = ["fp32"]
    timeout_s: Annotated[float, Field(gt=0, le=7 * 86_400)] = 600.0
    device_model: _Text = ""
    runtime: _Text = ""
    runtime_version: _Text = ""
    provider: Annotated[str, Field(min_length=1, max_length=1000)] = "command"

    @field_validator("pattern")
    @classmethod
    def _is_pattern(cls, pattern: str) -> str:
        try:
            groups = re.compile(pattern).groups
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f"not a regular expression: {error}") from error
        if groups > 1:
            raise ValueError("a pattern has at most one group, around the latency")
        return pattern

    @model_validator(mode="after")
    def _fits_together(self) -> CommandOptions:
        if (self.latencies == "regex") != bool(self.pattern):
            raise ValueError("'pattern' goes with latencies = \"regex\", and is needed there")
        if self.key and self.latencies != "json":
            raise ValueError("'key' goes with latencies = \"json\"")
        missing = [name for name in STATED_KEYS if not getattr(self, name)]
        if missing and not self.facts:
            raise ValueError(
                f"{', '.join(missing)}: not stated. What is behind a command cannot be read by this tool: state it, or "
                "give a 'facts' command that tells it"
            )
        return self

    def timing(self) -> Words:
        """The command that times.

        Raises:
            InputError: as `Words`, or it never sees the model.
        """
        words = self._words("command", self._model, "count", "warmup", "input", "report")
        require_any(words, [self._model])
        return words

    def preparing(self) -> Words | None:
        """The command that makes of a model what the others take. Raises InputError as `timing`."""
        if not self.prepare:
            return None
        words = self._words("prepare", "model", "prepared")
        require_any(words, ["prepared"])
        return words

    def computing(self) -> Words | None:
        """The command that computes outputs. Raises InputError as `timing`."""
        if not self.outputs:
            return None
        words = self._words("outputs", self._model, "input", "output")
        require_any(words, ["output"])
        return words

    def telling(self) -> Words | None:
        """The command that tells facts. Raises InputError as `timing`."""
        return Words("facts", tuple(self.facts), ("threads",)) if self.facts else None

    @property
    def _model(self) -> str:
        """What commands get: the model, or what was made of it."""
        return "prepared" if self.prepare else "model"

    def _words(self, option: str, *known: str) -> Words:
        return Words(option, tuple(getattr(self, option)), (*known, *_ALWAYS))

    def described(self) -> str:
        """All that latencies depend on, in one line."""
        commands = {words.option: words.text for words in (self.timing(), self.preparing()) if words}
        settings = {name: getattr(self, name) for name in _SETTINGS}
        said = {name: value for name, value in settings.items() if value != ""}
        return ";".join(f"{name}={value}" for name, value in (commands | said).items())

    def require_precision(self, precision: Precision) -> None:
        """Refuse a precision that the device's file does not say the command computes in.

        Raises:
            InputError: it is another one.
        """
        if precision.value not in self.precisions:
            raise InputError(
                f"precision '{precision.value}': options.precisions says that the command computes in "
                f"{', '.join(self.precisions)}. Set 'precision' in the device's file to what it does compute in."
            )


def read_options(options: Mapping[str, Any]) -> CommandOptions:
    """The options of a device's file.

    Raises:
        InputError: unknown, missing or malformed; the message names option, value and what is allowed.
    """
    try:
        read = CommandOptions.model_validate(dict(options))
    except ValidationError as error:
        raise InputError(validation_message(Path("options"), error)) from error
    for check in (read.timing, read.preparing, read.computing, read.telling):
        check()
    return read
