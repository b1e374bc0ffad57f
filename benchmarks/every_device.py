"""One network on every device that runs here: does it compute the same, and how fast is it?

A random network of ``--space`` goes to each device file (the workspace's and the built-in ones) as the same bytes. What
comes out is compared with ONNX's reference evaluator: max absolute difference / max absolute reference. Then all are
measured together, in interleaved rounds. A device that cannot run here is listed with the reason.

    python benchmarks/every_device.py [--space mobilenetv3] [--device NAME ...] [--keep-others] [--seed N]

Takes a minute or two, more where a device compiles for long. Writes benchmarks/results/every_device.json, from which
benchmarks/support_table.py makes README's table. With --keep-others, devices that this machine cannot run keep what an
earlier machine found.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator
from record import RESULTS, conditions, parser_of, write

from binas_deploy.adapters.base import Precision
from binas_deploy.cli.render import make_progress, table
from binas_deploy.columns import Floats
from binas_deploy.devices import DeviceSpec, device_files, load_device_spec, open_device
from binas_deploy.documents import timestamp
from binas_deploy.errors import BinasError
from binas_deploy.measure import Measured, Subject, Timing, measure
from binas_deploy.model import OUTPUT_NAME, OnnxModel
from binas_deploy.progress import Progress
from binas_deploy.space_file import load_space
from binas_deploy.steps.subjects import network_feed, network_model, open_subjects
from binas_deploy.testing.device_suite.candidate import difference

NAME: Final = "every_device"
TIMING: Final = Timing(warmup_ms=5.0, samples_per_visit=4, visit_ms=100.0, min_rounds=20, max_rounds=40)
KEY: Final = "the network"
_FOLDERS: Final = re.compile(r"/(?:[^/\s]+/)+")
"""Of the machine that this ran on, which are nobody's business."""
_Row = dict[str, Any]


def main() -> None:
    """Run on each, compare, measure together, write, print."""
    args = _arguments()
    space = load_space(args.space)
    arch = space.sample(np.random.default_rng(args.seed))
    model = network_model(space, arch, 1)
    made_under = conditions(threads=1, seed=args.seed)
    specs = [load_device_spec(name, Path.cwd()) for name in args.device or device_files(Path.cwd())]
    rows = _rows(specs, model, args.seed, make_progress(quiet=False))
    if args.keep_others:
        rows = _with_earlier(rows)
    path = write(NAME, made_under, {"space": space.name, "network": space.text(arch), "devices": rows})
    print(_text(rows))
    print(f"\nwritten to {path}")


def _arguments() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument("--space", default="mobilenetv3", metavar="NAME|FILE", help="(default: %(default)s)")
    parser.add_argument("--device", action="append", metavar="NAME", help="again for each (default: all there are)")
    parser.add_argument("--keep-others", action="store_true", help="keep earlier results of devices absent here")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def _rows(specs: list[DeviceSpec], model: OnnxModel, seed: int, progress: Progress) -> dict[str, _Row]:
    expected, rows, subjects = _reference(model), {}, []
    with contextlib.ExitStack() as stack:
        for spec in specs:
            progress.note(f"{spec.name}: compiling")
            subject, rows[spec.name] = _tried(spec, model, expected, stack)
            subjects += [subject] if subject else []
        if subjects:
            found = measure(subjects, timing=TIMING, rng=np.random.default_rng(seed), sentinel=subjects[0].key)
            for subject in subjects:
                rows[subject.key] |= _latency(found, subject.key)
    return rows


def _tried(
    spec: DeviceSpec, model: OnnxModel, expected: Floats, stack: contextlib.ExitStack
) -> tuple[Subject | None, _Row]:
    try:
        opened = open_subjects(open_device(spec), {KEY: model}, precision=Precision(spec.precision))
        subject = replace(stack.enter_context(opened)[0], key=spec.name)
        return subject, _checked(spec, subject, expected)
    except BinasError as error:
        return None, {"adapter": spec.adapter, "ran": False, "reason": _FOLDERS.sub(".../", str(error))}


def _reference(model: OnnxModel) -> Floats:
    """By ONNX's own evaluator, from the input that every device gets."""
    feed = network_feed(KEY, model)
    (expected,) = ReferenceEvaluator(onnx.load_model_from_string(model.payload)).run(None, dict(feed))
    return np.asarray(expected)


def _checked(spec: DeviceSpec, subject: Subject, expected: Floats) -> _Row:
    identity = open_device(spec).facts().identity
    with subject.open() as executable:
        found = executable.run(subject.feed)[OUTPUT_NAME]
    return {
        "adapter": spec.adapter,
        "ran": True,
        "date": timestamp(),
        "runtime": f"{identity['runtime']} {identity['runtime_version']}",
        "device_model": identity["device_model"],
        "precision": spec.precision,
        "difference": difference(found, expected),
    }


def _latency(found: Measured, key: str) -> _Row:
    steady = found.steady[key]
    interval = None if steady.low is None else [steady.low, steady.high]
    return {"latency_ns": steady.ns, "interval_ns": interval}


def _with_earlier(rows: dict[str, _Row]) -> dict[str, _Row]:
    """Where a device did not run now and did elsewhere, what was found there."""
    path = RESULTS / f"{NAME}.json"
    earlier: dict[str, _Row] = json.loads(path.read_text())["devices"] if path.exists() else {}
    ran = {name: row for name, row in earlier.items() if row["ran"]}
    return {name: row if row["ran"] else ran.get(name, row) for name, row in (earlier | rows).items()}


def _text(rows: dict[str, _Row]) -> str:
    header = ("device", "adapter", "runtime", "difference", "latency ms")
    lines = [
        (name, row["adapter"], row["runtime"], f"{row['difference']:.1e}", f"{row['latency_ns'] / 1e6:.2f}")
        for name, row in rows.items()
        if row["ran"]
    ]
    absent = [f"{name}: {row['reason']}" for name, row in rows.items() if not row["ran"]]
    return "\n".join([table(header, lines), "", *absent])


if __name__ == "__main__":
    main()
