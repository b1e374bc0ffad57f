"""One network in every format that can be made here: does each compute what torch did, and how fast is it loaded?

A network of the shipped `cifar10` supernet, its batch norm recalibrated, is written as ONNX, OpenVINO IR, torch.export
program and TVM library, and read back from those files alone. Outputs for `--images` test images are compared with
torch's own and between every two formats: largest absolute difference / largest absolute output of torch, and how many
images get the same class. Loading is timed in fresh processes, from the bytes of the files to the end of the first
call, the import of the runtime included; the median of `--processes` is told.

    python benchmarks/formats.py [--images N] [--processes N] [--seed N]

Needs the extras cpu, openvino, torch and tvm (a format whose package is missing is listed with the reason) and CIFAR-10
(`binas-deploy data fetch cifar10`). Takes a minute or two. Writes benchmarks/results/formats.json.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import statistics
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from record import conditions, parser_of, write

from binas_deploy.adapters.base import Precision, Program
from binas_deploy.cli.render import table
from binas_deploy.data.base import Dataset, normalise
from binas_deploy.devices import load_device_spec, open_device
from binas_deploy.errors import BinasError
from binas_deploy.exporters.registry import EXPORTERS, find_exporter, require_runtime
from binas_deploy.graph import build_network
from binas_deploy.model import OUTPUT_NAME, OnnxModel
from binas_deploy.shipped import supernet_path
from binas_deploy.space_file import load_space
from binas_deploy.steps.estimate import training_data
from binas_deploy.steps.inference import outputs_of
from binas_deploy.supernet_info import SupernetInfo

NAME: Final = "formats"
OWN: Final = "torch's own"
_RECALIBRATION_IMAGES: Final = 2000
Floats = NDArray[np.float32]
_Row = dict[str, Any]


def main() -> None:
    """Write each, read each back, compare, write, print."""
    args = _arguments()
    made_under = conditions(threads=1, seed=args.seed)
    model, inputs, labels, expected, text = _network(args.images, args.seed)
    tried = {name: _tried(name, model, inputs, args.processes) for name in EXPORTERS}
    rows = {name: row for name, (row, _) in tried.items()}
    outputs = {OWN: expected, **{name: found for name, (_, found) in tried.items() if found is not None}}
    pairs = [_compared(outputs, pair) for pair in itertools.combinations(outputs, 2)]
    accuracy = {name: 100 * float(np.mean(found.argmax(axis=1) == labels)) for name, found in outputs.items()}
    content = {"network": text, "images": args.images, "formats": rows, "parity": pairs, "accuracy": accuracy}
    path = write(NAME, made_under, content)
    print(_text(rows, pairs))
    print(f"\nwritten to {path}")


def _arguments() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument("--images", type=int, default=1000, help="(default: %(default)s)")
    parser.add_argument("--processes", type=int, default=5, help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the network (default: %(default)s)")
    return parser.parse_args()


def _network(count: int, seed: int) -> tuple[OnnxModel, Floats, NDArray[np.int64], Floats, str]:
    """A network as ONNX, inputs with their labels, torch's outputs for them, and its block strings."""
    import torch

    from binas_deploy.supernet.evaluate import recalibrated
    from binas_deploy.supernet.network import Supernet, extract, folded_weights
    from binas_deploy.supernet.store import load_weights

    space = load_space("cifar10")
    folder = supernet_path(space, None)
    info = SupernetInfo.load(folder)
    data: Dataset = training_data(info, "cifar10")
    arch = space.sample(np.random.default_rng(seed))
    supernet = load_weights(Supernet(space), info.checked_weights(folder))
    network = recalibrated(extract(supernet, arch), data, images=_RECALIBRATION_IMAGES)
    inputs = normalise(data.test.images[:count], info.data.mean, info.data.std)
    with torch.inference_mode():
        expected = np.concatenate([network(torch.from_numpy(row[None])).numpy() for row in inputs])
    model = build_network(space, arch, folded_weights(network))
    return model, inputs, data.test.labels[:count], expected, space.text(arch)


def _tried(name: str, model: OnnxModel, inputs: Floats, processes: int) -> tuple[_Row, Floats | None]:
    try:
        return _made(name, model, inputs, processes)
    except BinasError as error:
        return {"made": False, "reason": str(error)}, None


def _made(name: str, model: OnnxModel, inputs: Floats, processes: int) -> tuple[_Row, Floats]:
    exporter = find_exporter(name)
    spec = load_device_spec(exporter.device)
    require_runtime(exporter)
    with TemporaryDirectory() as cache:
        begin = time.perf_counter()
        files = exporter.files(model, lambda: open_device(spec), precision=Precision.FP32, cache=Path(cache))
        seconds = time.perf_counter() - begin
    program = exporter.program(model.sha256, files)
    with open_device(spec).load(program) as executable:
        outputs = outputs_of(executable, inputs, batch=1, classes=model.output_shape[1])
    loads = [_in_fresh_process(spec.name, program, model.input_shape) for _ in range(processes)]
    identity = open_device(spec).facts().identity
    row = {
        "made": True,
        "runtime": f"{identity['runtime']} {identity['runtime_version']}",
        "files": {file: len(payload) for file, payload in files.items()},
        "program_sha256": program.sha256,
        "make_s": seconds,
        "load_ms": [1e3 * load for load in loads],
    }
    return row, outputs


def _in_fresh_process(device: str, program: Program, shape: tuple[int, ...]) -> float:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_load_s, device, program, shape).result()


def _load_s(device: str, program: Program, shape: tuple[int, ...]) -> float:
    """Seconds from the program's bytes to the end of the first call, with the runtime not imported yet."""
    opened, feed = open_device(load_device_spec(device)), {"input": np.zeros(shape, np.float32)}
    begin = time.perf_counter()
    with opened.load(program) as executable:
        _ = executable.run(feed)[OUTPUT_NAME]
        return time.perf_counter() - begin


def _compared(outputs: Mapping[str, Floats], pair: tuple[str, str]) -> _Row:
    first, second = (outputs[name] for name in pair)
    largest = np.abs(outputs[OWN]).max()
    return {
        "pair": list(pair),
        "relative": float(np.abs(first - second).max() / largest),
        "same_class_percent": 100 * float(np.mean(first.argmax(axis=1) == second.argmax(axis=1))),
    }


def _text(rows: Mapping[str, _Row], pairs: list[_Row]) -> str:
    own = {pair["pair"][1]: pair["relative"] for pair in pairs if pair["pair"][0] == OWN}
    lines = [
        (
            name,
            row["runtime"],
            " + ".join(f"{file} {size / 1e6:.2f} MB" for file, size in row["files"].items()),
            f"{own[name]:.1e}",
            f"{row['make_s']:.2f}",
            f"{statistics.median(row['load_ms']):.0f}",
        )
        for name, row in rows.items()
        if row["made"]
    ]
    header = ("format", "runtime", "files", "difference to torch", "made in s", "loaded in ms")
    worst = max(pairs, key=lambda pair: pair["relative"])
    between = f"largest difference of any two: {worst['relative']:.1e} ({' and '.join(worst['pair'])})"
    absent = [f"{name}: {row['reason']}" for name, row in rows.items() if not row["made"]]
    return "\n".join([table(header, lines), between, *absent])


if __name__ == "__main__":
    main()
