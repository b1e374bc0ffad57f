"""Comparing with a latency that the base's verification stored, by the anchors measured then and now."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from binas_deploy.bundle.latency import AnchorMedians
from binas_deploy.bundle.manifest import VERIFICATION_NAME, Manifest
from binas_deploy.bundle.verification import VerificationReport
from binas_deploy.columns import Floats
from binas_deploy.devices import DeviceSpec
from binas_deploy.errors import MismatchError
from binas_deploy.gate.comparison import Side
from binas_deploy.gate.judgement import Rule
from binas_deploy.gate.stored import Stored
from binas_deploy.measure import Timing
from binas_deploy.measured_models import network_key, network_model
from binas_deploy.model import OnnxModel
from binas_deploy.progress import Progress
from binas_deploy.steps.check_models import payloads
from binas_deploy.steps.check_pairs import NETWORK, Arm, side_of
from binas_deploy.steps.check_process import Loaded, Work, started

PROCESSES: Final = 6
TURNS: Final = 12
_TIMING: Final = Timing(warmup_ms=1.0, samples_per_visit=8, visit_ms=20.0)


def compare_stored(
    spec: DeviceSpec, base: Path, head: Arm, head_manifest: Manifest, rule: Rule, progress: Progress
) -> Stored:
    """Head, measured here beside the base's anchors, against what the base's ``verification.json`` says of it.

    Raises:
        InputError: the base has none, or it is of another bundle.
        DocumentError: it is damaged.
        DeviceError: the device failed.
    """
    manifest, began = Manifest.load(base), time.monotonic()
    stored = VerificationReport.load(base / VERIFICATION_NAME)
    if stored.manifest_digest != manifest.digest:
        raise MismatchError(
            f"{base / VERIFICATION_NAME} is of another bundle than the manifest beside it. Verify again."
        )
    loaded, located = _measured(spec, manifest, head, progress)
    rows = zip(stored.latency.anchors, located[1:], strict=True)
    return Stored(
        base=Side(f"stored {stored.created}", manifest.digest, "", "", stored.conditions, stored.simulated),
        head=side_of("head", head_manifest, loaded, spec),
        rule=rule,
        base_then_ns=stored.latency.measurement.median,
        head_ns=float(located[0]),
        anchors=tuple(AnchorMedians(row.kind, row.now_ns, float(now)) for row, now in rows),
        noise=stored.latency.anchor_noise,
        seconds=round(time.monotonic() - began, 3),
    )


def _measured(spec: DeviceSpec, manifest: Manifest, head: Arm, progress: Progress) -> tuple[Loaded, Floats]:
    """What was loaded, and where network and anchors lie, in ns, the network first."""
    with tempfile.TemporaryDirectory(prefix="binas-deploy-") as folder:
        anchors = payloads(spec, _anchor_models(manifest), Path(folder))
        work = Work(spec, {NETWORK: head.payload, **anchors}, _TIMING)
        turns = []
        with progress.task(f"measuring beside {len(anchors)} anchors", PROCESSES) as advance:
            for _ in range(PROCESSES):
                with started(head.interpreter, work) as running:
                    loaded = running.loaded
                    turns += [running.turn() for _ in range(TURNS)]
                advance(1)
    return loaded, _located([[float(np.median(turn[key])) for key in work.subjects] for turn in turns])


def _anchor_models(manifest: Manifest) -> dict[str, OnnxModel]:
    space, batch = manifest.space, manifest.asked.batch
    rows = enumerate(manifest.anchors)
    return {f"{i} {network_key(space, row.arch)}": network_model(space, row.arch, batch) for i, row in rows}


def _located(turns: Sequence[Sequence[float]]) -> Floats:
    """(turns, subjects) ns to (subjects,): what a turn has in common, the host's speed then, is divided out."""
    logs = np.log(np.array(turns))
    common = logs.mean(axis=1, keepdims=True)
    located: Floats = np.exp(np.median(logs - common, axis=0) + np.median(common))
    return located
