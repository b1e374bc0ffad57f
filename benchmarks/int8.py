"""Networks of ``cifar10`` in int8: what it costs in accuracy, and what a call takes against fp32.

The smallest, a middle and the largest network of the shipped supernet, for ONNX Runtime and OpenVINO, each exported as
'export --precision int8' does it: ranges by 300 held-out images, judged by the others, at most ``--max-drop`` points
lost there. The figures are those of the *test* images, each run through the runtime itself, with the paired interval of
the difference to fp32. Latencies are of both precisions interleaved, in ``--processes`` fresh processes; the ratio is
that of int8 to fp32 at a low quantile, below 1 where int8 is quicker. One network of ``mobilenetv3`` at 224 px with
random weights is timed besides: how large a network is decides whether int8 pays.

    python benchmarks/int8.py [--space cifar10] [--max-drop 1.0] [--processes 5] [--seed N]
    python benchmarks/int8.py --models FOLDER --part accuracy    (then --part latency, of the same networks)

Takes about 10 minutes on two cores: the images (binas-deploy data fetch cifar10), torch, ONNX Runtime, OpenVINO and
NNCF must be there. Writes benchmarks/results/int8.json.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from record import RESULTS, conditions, parser_of, write

from binas_deploy.adapters.base import Precision, PrecisionName
from binas_deploy.cli.render import make_progress, table
from binas_deploy.data.base import Dataset, Split, normalise
from binas_deploy.devices import DeviceSpec, open_device
from binas_deploy.graph import build_network
from binas_deploy.measure import Subject, Timing, measure
from binas_deploy.measured_models import network_model
from binas_deploy.model import OnnxModel
from binas_deploy.progress import Progress
from binas_deploy.proportion import paired_difference, wilson
from binas_deploy.quantisers import quantiser
from binas_deploy.quantisers.for_timing import quantised_for_timing
from binas_deploy.shipped import supernet_path
from binas_deploy.space import Architecture
from binas_deploy.space_file import load_space
from binas_deploy.steps.estimate import training_data
from binas_deploy.steps.export import RECALIBRATION_IMAGES
from binas_deploy.steps.inference import outputs_of
from binas_deploy.steps.quantise import CALIBRATION_IMAGES, in_precision
from binas_deploy.steps.subjects import network_feed, open_subjects
from binas_deploy.supernet_info import SupernetInfo

NAME: Final = "int8"
LARGE: Final = "mobilenetv3"
RANGES: Final = "middle in int8: random by real weights and ranges"
TIMING: Final = Timing(warmup_ms=2.0, samples_per_visit=8, visit_ms=60.0, min_rounds=30, max_rounds=30, max_seconds=60)
_Row = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """One network for one runtime, in both precisions: what is run, and what quantising it said."""

    fp32: OnnxModel
    int8: OnnxModel
    said: Mapping[str, Any]
    first: PrecisionName = "fp32"
    """In which precision the first is run."""


def main() -> None:
    """Quantise, judge on the test images, time, write, print."""
    args = _arguments()
    made_under = conditions(threads=1, seed=args.seed, max_drop=args.max_drop, processes=args.processes)
    progress = make_progress(quiet=False)
    data = training_data(SupernetInfo.load(supernet_path(load_space(args.space), None)), "cifar10")
    cases = _kept(args.models) or _cases(args, data, progress)
    _keep(args.models, cases)
    rows = {name: dict(case.said) for name, case in cases.items()}
    earlier = _earlier()
    for name, case in cases.items():
        if args.part != "latency" and not name.startswith((LARGE, RANGES)):
            rows[name] |= _accuracy(case, _runtime(name), data, progress)
        else:
            rows[name] |= {key: value for key, value in earlier.get(name, {}).items() if key not in rows[name]}
    if args.part != "accuracy":
        for name, ratio in _ratios(cases, args.processes, args.seed, progress).items():
            rows[name]["latency"] = ratio
    else:
        for name in rows:
            rows[name] |= {key: value for key, value in earlier.get(name, {}).items() if key == "latency"}
    path = write(NAME, made_under, {"networks": rows})
    print(_text(rows))
    print(f"\nwritten to {path}")


def _arguments() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument("--space", default="cifar10", metavar="NAME|FILE", help="(default: %(default)s)")
    parser.add_argument("--max-drop", type=float, default=1.0, metavar="POINTS", help="(default: %(default)s)")
    parser.add_argument("--processes", type=int, default=5, help="fresh ones to time in (default: %(default)s)")
    parser.add_argument("--part", choices=["both", "accuracy", "latency"], default="both", help="(default: both)")
    parser.add_argument(
        "--models", type=Path, metavar="FOLDER", help="keep the networks there, or take those from there"
    )
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def _spec(runtime: str, precision: PrecisionName) -> DeviceSpec:
    return DeviceSpec(name="cpu", adapter=runtime, precision=precision, threads=1)


def _runtime(name: str) -> str:
    return name.split(", ")[1]


def _keep(folder: Path | None, cases: Mapping[str, Case]) -> None:
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        for number, case in enumerate(cases.values()):
            (folder / f"{number}-first.onnx").write_bytes(case.fp32.payload)
            (folder / f"{number}-int8.onnx").write_bytes(case.int8.payload)
        rows = [
            [name, case.said, case.first, case.fp32.input_shape, case.fp32.output_shape] for name, case in cases.items()
        ]
        (folder / "cases.json").write_text(json.dumps(rows))


def _kept(folder: Path | None) -> dict[str, Case]:
    if folder is None or not (folder / "cases.json").exists():
        return {}
    found = {}
    for number, (name, said, first, given, got) in enumerate(json.loads((folder / "cases.json").read_text())):
        pair = [(folder / f"{number}-{which}.onnx").read_bytes() for which in ("first", "int8")]
        fp32, int8 = (OnnxModel(payload, tuple(given), tuple(got)) for payload in pair)
        found[name] = Case(fp32, int8, said, first)
    return found


def _cases(args: argparse.Namespace, data: Dataset, progress: Progress) -> dict[str, Case]:
    from binas_deploy.supernet.evaluate import recalibrated
    from binas_deploy.supernet.network import Supernet, extract, folded_weights
    from binas_deploy.supernet.store import load_weights

    space = load_space(args.space)
    folder = supernet_path(space, None)
    info = SupernetInfo.load(folder)
    supernet = load_weights(Supernet(space), info.checked_weights(folder))
    found: dict[str, Case] = {}
    for size, arch in _networks(args).items():
        network = recalibrated(extract(supernet, arch), data, images=RECALIBRATION_IMAGES)
        fp32 = build_network(space, arch, folded_weights(network))
        for runtime in ("onnxruntime", "openvino"):
            progress.note(f"{size}, {runtime}: quantising")
            identity = dict(open_device(_spec(runtime, "int8")).facts().identity) | {
                "precision": "int8",
                "device": "cpu",
            }
            made = in_precision(fp32, space, arch, data, identity=identity, max_drop=args.max_drop, progress=progress)
            report = made.sensitivity
            if report is None:
                raise SystemExit("int8 without a report of what it costs")
            said = {
                "macs": space.macs(arch),
                "kept_in_fp32": list(report.kept),
                "blocks": len(report.blocks),
                "judged_drop": report.drop.to_json(),
                "most_sensitive": {row.place: round(row.snr_db, 2) for row in report.blocks[:3]},
            }
            found[f"{size}, {runtime}"] = Case(fp32, made.model, said)
            if size == "middle":
                by = identity["quantiser"]
                found[f"{RANGES}, {runtime}"] = _random_by_real(fp32, by, network_model(space, arch, 1), data, said)
    return found | _large(args.seed)


def _random_by_real(fp32: OnnxModel, by: str, random: OnnxModel, data: Dataset, said: Mapping[str, Any]) -> Case:
    """Whether random weights and ranges, as tables are made of, change a latency: the same network with its own."""
    real = quantiser(by).quantise(fp32, normalise(data.holdout.images[:CALIBRATION_IMAGES], data.mean, data.std))
    with tempfile.TemporaryDirectory() as cache:
        return Case(real, quantised_for_timing(random, by, Path(cache)), {"macs": said["macs"]}, first="int8")


def _networks(args: argparse.Namespace) -> dict[str, Architecture]:
    space = load_space(args.space)
    drawn = [space.sample(np.random.default_rng(args.seed + number)) for number in range(9)]
    middle = sorted(drawn, key=space.macs)[len(drawn) // 2]
    return {"smallest": space.smallest(), "middle": middle, "largest": space.largest()}


def _large(seed: int) -> dict[str, Case]:
    """With random weights: for latency alone."""
    space = load_space(LARGE)
    arch = space.sample(np.random.default_rng(seed))
    fp32, found = network_model(space, arch, 1), {}
    with tempfile.TemporaryDirectory() as cache:
        for runtime, by in (("onnxruntime", "onnxruntime"), ("openvino", "nncf")):
            int8 = quantised_for_timing(fp32, by, Path(cache))
            found[f"{LARGE}, {runtime}"] = Case(fp32, int8, {"macs": space.macs(arch)})
    return found


def _accuracy(case: Case, runtime: str, data: Dataset, progress: Progress) -> _Row:
    """Through the runtime itself, one image a call, as it is shipped."""
    labels = data.test.labels
    outputs = {
        "fp32": _outputs(case.fp32, runtime, "fp32", data.test, data, progress),
        "int8": _outputs(case.int8, runtime, "int8", data.test, data, progress),
    }
    before, after = (np.asarray(outputs[key].argmax(1) == labels) for key in ("fp32", "int8"))
    error = np.abs(outputs["int8"] - outputs["fp32"])
    lengths = np.prod([np.linalg.norm(found, axis=1) for found in outputs.values()], axis=0)
    return {
        "fp32": wilson(int(before.sum()), len(labels)).to_json(),
        "int8": wilson(int(after.sum()), len(labels)).to_json(),
        "drop": paired_difference(before, after).to_json(),
        "agreement": float(100 * np.mean(outputs["int8"].argmax(1) == outputs["fp32"].argmax(1))),
        "largest_error": float(error.max() / np.abs(outputs["fp32"]).max()),
        "rms_error": float(np.sqrt(np.mean(error**2) / np.mean(outputs["fp32"] ** 2))),
        "cosine": float(np.mean((outputs["int8"] * outputs["fp32"]).sum(1) / lengths)),
        "least_cosine": float(np.min((outputs["int8"] * outputs["fp32"]).sum(1) / lengths)),
    }


def _outputs(
    model: OnnxModel, runtime: str, precision: PrecisionName, split: Split, data: Dataset, progress: Progress
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    device, parts = open_device(_spec(runtime, precision)), []
    with tempfile.TemporaryDirectory() as cache:
        program = device.compile(model, precision=Precision(precision), cache=Path(cache))
        with device.load(program) as executable, progress.task(f"{runtime} {precision}", len(split)) as advance:
            for start in range(0, len(split), 500):
                images = normalise(split.images[start : start + 500], data.mean, data.std)
                parts.append(outputs_of(executable, images, batch=1, classes=model.output_shape[1]))
                advance(len(images))
    return np.concatenate(parts)


def _ratios(cases: Mapping[str, Case], processes: int, seed: int, progress: Progress) -> dict[str, _Row]:
    """int8 by fp32 in each fresh process; the mean with its 95 % t-interval."""
    from scipy.stats import t

    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in cases}
    with progress.task("latencies in fresh processes", processes) as advance:
        for number in range(processes):
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                for name, pair in pool.submit(timed, dict(cases), seed + number).result().items():
                    taken[name].append(pair)
            advance(1)
    rows = {}
    for name, pairs in taken.items():
        fp32, int8 = np.array(pairs).T
        logs = np.log(int8 / fp32)
        half = (
            float(t.ppf(0.975, max(1, processes - 1)) * logs.std(ddof=1) / np.sqrt(processes)) if processes > 1 else 0.0
        )
        ends = np.exp([logs.mean(), logs.mean() - half, logs.mean() + half])
        rows[name] = {
            "fp32_us": float(np.median(fp32) / 1e3),
            "int8_us": float(np.median(int8) / 1e3),
            **dict(zip(("ratio", "low", "high"), map(float, ends), strict=True)),
        }
    return rows


def timed(cases: Mapping[str, Case], seed: int) -> dict[str, tuple[float, float]]:
    """Latency in ns (fp32, int8) of each, all interleaved: called in a process of its own."""
    with contextlib.ExitStack() as stack:
        subjects: list[Subject] = []
        for name, case in cases.items():
            both: tuple[tuple[str, PrecisionName, OnnxModel], ...] = (
                ("fp32", case.first, case.fp32),
                ("int8", "int8", case.int8),
            )
            for which, precision, model in both:
                device = open_device(_spec(_runtime(name), precision))
                opened = stack.enter_context(
                    open_subjects(device, {f"{name}, {which}": model}, precision=Precision(precision))
                )
                feed = network_feed(name, model)
                subjects += [Subject(one.key, one.open, feed, one.machine) for one in opened]
        measured = measure(subjects, timing=TIMING, rng=np.random.default_rng(seed), sentinel=subjects[0].key)
    steady = measured.steady
    return {name: (float(steady[f"{name}, fp32"].ns), float(steady[f"{name}, int8"].ns)) for name in cases}


def _earlier() -> dict[str, _Row]:
    path = RESULTS / f"{NAME}.json"
    found: dict[str, _Row] = json.loads(path.read_text())["networks"] if path.exists() else {}
    return found


def _text(rows: Mapping[str, _Row]) -> str:
    header = (
        "network",
        "MMAC",
        "fp32 %",
        "int8 %",
        "drop (95 %)",
        "agree %",
        "in fp32",
        "fp32 us",
        "int8 us",
        "int8 / fp32",
    )
    return table(header, [_cells(name, row) for name, row in rows.items()])


def _cells(name: str, row: _Row) -> Sequence[str]:
    def of(key: str, *path: str, form: str = "{:.2f}") -> str:
        value: Any = row.get(key)
        for part in path:
            value = value.get(part) if isinstance(value, dict) else None
        return "–" if value is None else form.format(value)

    drop = f"{of('drop', 'value')} ({of('drop', 'low')} to {of('drop', 'high')})" if "drop" in row else "–"
    kept = f"{len(row['kept_in_fp32'])} of {row['blocks']}" if "blocks" in row else "–"
    ratio = f"{of('latency', 'ratio')} ({of('latency', 'low')} to {of('latency', 'high')})" if "latency" in row else "–"
    times = (of("latency", "fp32_us", form="{:.0f}"), of("latency", "int8_us", form="{:.0f}"))
    return (
        name,
        f"{row['macs'] / 1e6:.1f}",
        of("fp32", "value"),
        of("int8", "value"),
        drop,
        of("agreement"),
        kept,
        *times,
        ratio,
    )


if __name__ == "__main__":
    main()
