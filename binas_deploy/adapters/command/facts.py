"""Facts of what is behind a command: stated by the device's file, or told by a command of their own, and marked so."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from binas_deploy.adapters.base import DeviceFacts
from binas_deploy.adapters.command.options import STATED_KEYS, CommandOptions
from binas_deploy.adapters.command.places import Place
from binas_deploy.adapters.command.words import Words
from binas_deploy.errors import DeviceError

STATED: Final = "the device's file"
TOLD: Final = "the facts command"
_OURS: Final = ("provider_options", "threads", "affinity", "stated_by", "device", "precision", "batch", "cadence")


def read_facts(options: CommandOptions, place: Place, threads: int) -> DeviceFacts:
    """What the file states or its facts command tells (that goes first), and what can be read of the ``place``.

    Raises:
        DeviceError: a program or the host is not there, or the facts command fails.
    """
    for words in filter(None, (options.timing(), options.preparing(), options.computing(), options.telling())):
        place.require(words.words[0])
    context, told, more = place.context(), *_told(options, place, threads)
    stated = {name: getattr(options, name) for name in (*STATED_KEYS, "provider")}
    identity = {**stated, **told}
    missing = [name for name in STATED_KEYS if not identity[name]]
    if missing:
        raise DeviceError(f"options.facts: its JSON has no {', '.join(missing)}, and the device's file states none.")
    ours = {
        "provider_options": options.described(),
        "threads": str(threads),
        "affinity": place.affinity(),
        "stated_by": _stated_by(told),
    }
    return DeviceFacts({**identity, **ours}, {**context, **more})


def _stated_by(told: Mapping[str, str]) -> str:
    by_command = [name in told for name in STATED_KEYS]
    return TOLD if all(by_command) else f"{TOLD} and {STATED}" if any(by_command) else STATED


def _told(options: CommandOptions, place: Place, threads: int) -> tuple[dict[str, str], dict[str, str]]:
    """Identity and context as text, both empty without a facts command."""
    words = options.telling()
    told = _json(words, place, options.timeout_s, threads) if words else {}
    context = told.pop("context", {})
    ours = sorted(set(told) & set(_OURS))
    if ours or not isinstance(context, dict):
        raise DeviceError(f"options.facts: {ours[0] if ours else 'context'}: not for the facts command to tell so.")
    return _text(told), _text(context)


def _json(words: Words, place: Place, seconds: float, threads: int) -> dict[str, Any]:
    done = place.run(words.filled({"threads": str(threads)}), seconds=seconds)
    done.require_success("options.facts")
    try:
        told = json.loads(done.stdout)
    except (ValueError, RecursionError) as error:
        raise DeviceError(f"options.facts: {done.name} did not print JSON: {error}.") from error
    if not isinstance(told, dict):
        raise DeviceError(f"options.facts: {done.name} printed no JSON object.")
    return told


def _text(values: Mapping[str, Any]) -> dict[str, str]:
    wrong = [name for name, value in values.items() if not isinstance(value, str | int | float) or value == ""]
    if wrong:
        raise DeviceError(f"options.facts: {wrong[0]}: a text or a number is needed, found {values[wrong[0]]!r:.80}.")
    return {name: str(value) for name, value in values.items()}
