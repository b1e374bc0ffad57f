"""Check: bundles against an earlier state of them, another Python environment or a git revision."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from binas_deploy import __version__
from binas_deploy.bundle.manifest import VERIFICATION_NAME, Manifest
from binas_deploy.devices import DeviceSpec
from binas_deploy.documents import timestamp
from binas_deploy.errors import DocumentError, InputError
from binas_deploy.gate.accepted import LONGEST_REASON, Accepted
from binas_deploy.gate.comparison import Comparison, log_ratios
from binas_deploy.gate.judgement import Change, Rule, needs_confirmation
from binas_deploy.gate.report import BundleCheck, CheckReport, NotTimed, Numerics, Outcome
from binas_deploy.progress import SILENT, Progress
from binas_deploy.steps.check_interpreter import Interpreter
from binas_deploy.steps.check_localise import Network, localise
from binas_deploy.steps.check_numerics import files_fault, numerics_of
from binas_deploy.steps.check_pairs import Arm, Taken, side_of, take_round
from binas_deploy.steps.check_relative import compare_stored
from binas_deploy.steps.check_sides import (
    Base,
    device_of,
    find_base,
    head_bundles,
    payload_of,
    require_comparable,
)

PAIRS: Final = 20
THRESHOLD: Final = 0.01


@dataclass(frozen=True)
class _Asked:
    """What stays the same from bundle to bundle."""

    threshold: float
    pairs: int
    force: bool
    relative: bool
    device: DeviceSpec | None
    workspace: Path
    rng: np.random.Generator
    progress: Progress


@dataclass(frozen=True)
class _Ready:
    """A sound bundle and what it is compared with."""

    folder: Path
    manifest: Manifest
    base_folder: Path
    base_manifest: Manifest
    interpreter: Interpreter
    numerics: Numerics
    spec: DeviceSpec

    def untimed(self, timing: NotTimed) -> BundleCheck:
        """Its part of the report, as far as it is known before anything is timed."""
        accepted = Accepted.load(self.folder)
        return BundleCheck(self.folder.name, self.manifest.digest, "", self.numerics, timing, accepted=accepted)


def check(
    head: Path | None = None,
    *,
    workspace: Path,
    against: str | None = None,
    base_python: Path | None = None,
    device: DeviceSpec | None = None,
    threshold: float = THRESHOLD,
    pairs: int = PAIRS,
    force: bool = False,
    relative: bool = False,
    report_only: bool = False,
    accept: str | None = None,
    seed: int = 0,
    progress: Progress = SILENT,
) -> CheckReport:
    """Whether bundles are slower than they were: ``head``, by default every bundle of the workspace.

    Files and outputs of each are checked first. Then base and head run in ``pairs`` pairs of fresh processes on this
    machine; a suspicion is confirmed by as many again, and a confirmed regression is localised. ``against``: a bundle,
    a folder of bundles or a git revision (default: the merge-base with the main branch, or with ``base_python`` the
    bundles themselves). ``base_python``: the interpreter of the base. What is the same on both sides is not timed
    unless ``force``. ``relative``: against the latency stored with the base, by anchors. ``accept``: the reason why
    a regression that is found is meant, which is then recorded beside the bundle.

    Raises:
        InputError: something given does not exist, or cannot be compared.
        DocumentError: a base is damaged. (A damaged head is a finding, not an error.)
        NotMeasuredError: there are no bundles.
        DeviceError, MissingExtraError: the device or its runtime is absent, or failed.
        EnvironmentFault: another environment lacks something, or the disk refuses.
    """
    began = time.monotonic()
    _require_reason(accept)
    heads = head_bundles(head, workspace)
    base = find_base(heads, against=against, base_python=base_python, every=head is None)
    asked = _Asked(threshold, pairs, force, relative, device, workspace, np.random.default_rng(seed), progress)
    with tempfile.TemporaryDirectory(prefix="binas-deploy-") as temporary:
        prepared = [_prepared(folder, base, Path(temporary), asked) for folder in heads]
        rule = _rule(asked, sum(isinstance(one, _Ready) for one in prepared))
        found = [one if isinstance(one, BundleCheck) else _compared(one, base, rule, asked) for one in prepared]
    if accept is not None:
        found = [_accepting(one, folder, accept) for one, folder in zip(found, heads, strict=True)]
        if not any(one.outcome is Outcome.ACCEPTED for one in found):
            progress.note("--accept: nothing regressed, so there is nothing to accept and nothing was recorded.")
    return CheckReport(
        created=timestamp(),
        against=base.text,
        threshold=threshold,
        pairs=pairs,
        report_only=report_only,
        seed=seed,
        seconds=round(time.monotonic() - began, 3),
        bundles=tuple(found),
        removed=base.removed,
    )


def _require_reason(accept: str | None) -> None:
    if accept is not None and not 0 < len(accept.strip()) <= LONGEST_REASON:
        raise InputError(f"--accept: give a reason for others to read, of at most {LONGEST_REASON} characters.")


def _rule(asked: _Asked, comparisons: int) -> Rule:
    rule = Rule.of(asked.threshold, comparisons)
    if asked.pairs < rule.least_pairs:
        raise InputError(
            f"{asked.pairs} pairs cannot show anything where the error rate is split over {comparisons} "
            f"comparison{'' if comparisons == 1 else 's'}: it takes at least {rule.least_pairs}. Raise --pairs."
        )
    return rule


def _prepared(folder: Path, base: Base, temporary: Path, asked: _Asked) -> _Ready | BundleCheck:
    """The bundle ready to be timed, or what is known of it without."""
    try:
        manifest = Manifest.load(folder)
    except DocumentError as error:
        return _unsound(folder, "", str(error), None)
    if fault := files_fault(folder, manifest):
        return _unsound(folder, manifest.digest, fault, None)
    spec = device_of(manifest, asked.device, asked.workspace)
    try:
        numerics = numerics_of(folder, manifest, spec)
    except DocumentError as error:
        return _unsound(folder, manifest.digest, str(error), None)
    if numerics.fault:
        return _unsound(folder, manifest.digest, numerics.fault, numerics)
    base_folder = base.bundle(folder, temporary)
    if base_folder is None:
        why = f"new: {base.text} has no bundle of this name, so there is nothing to compare with"
        return BundleCheck(folder.name, manifest.digest, "", numerics, NotTimed("new", why))
    base_manifest = Manifest.load(base_folder)
    ready = _Ready(folder, manifest, base_folder, base_manifest, base.interpreter, numerics, spec)
    require_comparable(manifest, base_manifest)
    same = "" if asked.relative else _sameness(ready)
    return ready.untimed(NotTimed("unchanged", same)) if same and not asked.force else ready


def _unsound(folder: Path, digest: str, fault: str, numerics: Numerics | None) -> BundleCheck:
    why = "nothing was timed: the bundle is not sound"
    return BundleCheck(folder.name, digest, fault, numerics, NotTimed("unsound", why))


def _sameness(ready: _Ready) -> str:
    """Why there is nothing to compare, '' where there is."""
    if ready.interpreter.other:
        return ""
    if ready.manifest.digest == ready.base_manifest.digest:
        return "unchanged, byte for byte: nothing to compare"
    head = payload_of(ready.folder, ready.manifest, ready.spec)
    base = payload_of(ready.base_folder, ready.base_manifest, ready.spec)
    if head.hashes == base.hashes:
        return "the manifest changed, the model did not: nothing to compare"
    return ""


def _compared(ready: _Ready, base: Base, rule: Rule, asked: _Asked) -> BundleCheck:
    head = Arm(Interpreter.at(None), payload_of(ready.folder, ready.manifest, ready.spec))
    if asked.relative:
        stored = compare_stored(ready.spec, ready.base_folder, head, ready.manifest, rule, asked.progress)
        return replace(ready.untimed(NotTimed("new", "")), timing=stored)
    _require_runnable(ready)
    comparison = _measured(ready, base, head, rule, asked)
    found = replace(ready.untimed(NotTimed("new", "")), timing=comparison)
    if comparison.change is not Change.SLOWER:
        return found
    sides = Network(ready.base_manifest, ready.interpreter), Network(ready.manifest, head.interpreter)
    since = comparison.since
    return replace(found, cause=localise(ready.spec, *sides, since, asked.rng, asked.progress))


def _require_runnable(ready: _Ready) -> None:
    """Refuse a base whose files are not what its manifest states: a stored latency is no substitute, unless asked."""
    fault = files_fault(ready.base_folder, ready.base_manifest)
    if not fault:
        return
    stored = (ready.base_folder / VERIFICATION_NAME).is_file()
    hint = (
        " Its verification.json holds a latency, but milliseconds of another time or machine do not compare: with "
        "--relative it is compared by the anchors that were measured beside it."
    )
    raise DocumentError(f"the base cannot be run here: {fault}{hint if stored else ''}")


def _measured(ready: _Ready, base: Base, head: Arm, rule: Rule, asked: _Asked) -> Comparison:
    before, began = (
        Arm(ready.interpreter, payload_of(ready.base_folder, ready.base_manifest, ready.spec)),
        time.monotonic(),
    )
    rounds: list[Sequence[Taken]] = []
    for label in ("", ", to confirm a suspicion"):
        with asked.progress.task(f"{ready.folder.name}: pairs of processes{label}", asked.pairs) as advance:
            rounds.append(take_round(ready.spec, before, head, asked.pairs, asked.rng, advance))
        if label or not needs_confirmation(log_ratios(tuple(taken.pair for taken in rounds[0])), rule):
            break
    last = rounds[-1][-1]
    return Comparison(
        base=side_of(base.text, ready.base_manifest, last.base, ready.spec),
        head=side_of(str(ready.folder), ready.manifest, last.head, ready.spec),
        rule=rule,
        rounds=tuple(tuple(taken.pair for taken in pairs) for pairs in rounds),
        seconds=round(time.monotonic() - began, 3),
    )


def _accepting(found: BundleCheck, folder: Path, reason: str) -> BundleCheck:
    """With a regression recorded as meant."""
    timing = found.timing
    if found.outcome is not Outcome.REGRESSED or not isinstance(timing, Comparison):
        return found
    effect = timing.judgement.effect
    accepted = Accepted(
        head=timing.head.manifest_digest,
        base=timing.base.manifest_digest,
        head_runtime=timing.head.runtime,
        base_runtime=timing.base.runtime,
        percent=effect.percent,
        low=effect.low,
        high=effect.high,
        reason=reason,
        created=timestamp(),
        tool_version=__version__,
    )
    accepted.save(folder)
    return replace(found, accepted=accepted)
