"""Whether networks are as fast over a link as without one: the same ones, here and over SSH to this very machine.

Random networks are loaded by the device itself and by an agent behind a real OpenSSH server on loopback, and all are
measured together, in interleaved rounds. With ``--control`` by a second agent too, at the end of plain pipes: what
differs between its latencies and the local ones is due to another process, not to ssh. What the link costs is told
apart: sending a model, having it compiled and loaded, and each visit beside the calls in it.

    python benchmarks/remote_equals_local.py [--space NAME] [--networks 40] [--seconds 240] [--control] [--seed N]

Takes about five minutes. Writes benchmarks/results/remote_equals_local.json.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from record import conditions, parser_of, write
from scipy.stats import kendalltau

from binas_deploy.adapters.base import Device, Precision
from binas_deploy.adapters.onnxruntime import OnnxRuntimeDevice
from binas_deploy.cli.render import make_progress, table
from binas_deploy.errors import BinasError
from binas_deploy.measure import Measured, Subject, Timing, measure
from binas_deploy.model import OnnxModel
from binas_deploy.remote.connection import Way
from binas_deploy.remote.device import RemoteDevice
from binas_deploy.remote.ssh import SshTarget
from binas_deploy.space_file import load_space
from binas_deploy.steps.subjects import network_key, network_model, open_subjects
from binas_deploy.testing.loopback_ssh import HOST, loopback_ssh
from binas_deploy.visit import take_visit

NAME: Final = "remote_equals_local"
LOCAL: Final = "local"
WITHIN: Final = 0.03
ROOT: Final = Path(__file__).resolve().parents[1]
_AGENT: Final = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from binas_deploy.cli.main import main; main()"


@dataclass(frozen=True)
class Piped:
    """An agent at the end of plain pipes."""

    name: str = "piped"
    label: str = "piped"

    def agent_command(self) -> list[str]:
        return [sys.executable, "-c", _AGENT, "agent"]

    def fault(self, code: int | None, said: str, stray: str = "") -> BinasError:
        return SshTarget(self.name).fault(code, said, stray)


def main() -> None:
    """Load, measure, compare, write, print."""
    args = _arguments()
    made_under = conditions(threads=1, seed=args.seed, space=args.space)
    space, rng = load_space(args.space), np.random.default_rng(args.seed)
    archs = list(dict.fromkeys(space.sample(rng) for _ in range(args.networks)))
    models = {network_key(space, arch): network_model(space, arch, 1) for arch in archs}
    with tempfile.TemporaryDirectory() as folder, _devices(Path(folder), args.control) as devices:
        transfer = {arm: _transfer(device, models, Path(folder)) for arm, device in devices.items()}
        measured, visits = _measured(devices, models, args)
    content = _content(measured, list(models), transfer, visits)
    print(_text(content))
    print(f"\nwritten to {write(NAME, made_under, content)}")


def _arguments() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument("--space", default="mobilenetv3", help="(default: %(default)s)")
    parser.add_argument("--networks", type=int, default=40, help="(default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=240.0, help="to measure (default: %(default)s)")
    parser.add_argument("--control", action="store_true", help="measure by an agent without ssh too")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


@contextmanager
def _devices(folder: Path, control: bool) -> Iterator[dict[str, Device]]:
    os.environ["BINAS_DEPLOY_CACHE"] = str(folder / "piped")
    agent = folder / "agent" / "bin" / "binas-deploy"
    agent.parent.mkdir(parents=True)
    agent.write_text(f"#!{sys.executable}\n{_AGENT}\n", encoding="utf-8")
    agent.chmod(0o755)
    there = {key: os.environ[key] for key in ("PYTHONPATH", "OMP_NUM_THREADS") if key in os.environ}
    with loopback_ssh(folder / "ssh", {**there, "BINAS_DEPLOY_CACHE": str(folder / "cache")}) as server:
        os.environ["PATH"] = f"{server.bin}:{os.environ['PATH']}"
        ways: dict[str, Way] = {
            "ssh": SshTarget(HOST, agent=str(agent.parents[1])),
            **({"piped": Piped()} if control else {}),
        }
        remote = {arm: RemoteDevice(way, "onnxruntime", 1, {}) for arm, way in ways.items()}
        yield {LOCAL: OnnxRuntimeDevice(1), **remote}


def _transfer(device: Device, models: Mapping[str, OnnxModel], cache: Path) -> dict[str, float]:
    """ms a network: compiled for the first time (and sent, to an agent), compiled again and loaded."""
    device.facts()  # connects
    times: dict[str, list[float]] = {"first_compile_ms": [], "load_ms": []}
    for model in models.values():
        begin = time.perf_counter()
        program = device.compile(model, precision=Precision.FP32, cache=cache)
        middle = time.perf_counter()
        with device.load(program):
            times["load_ms"].append(1e3 * (time.perf_counter() - middle))
        times["first_compile_ms"].append(1e3 * (middle - begin))
    return {key: round(float(np.median(row)), 3) for key, row in times.items()}


def _measured(
    devices: Mapping[str, Device], models: Mapping[str, OnnxModel], args: argparse.Namespace
) -> tuple[Measured, dict[str, dict[str, float]]]:
    timing = Timing(min_rounds=12, max_rounds=80, max_seconds=args.seconds, target_interval_percent=0.5)
    progress = make_progress(quiet=False)
    with ExitStack() as stack:
        arms = {arm: stack.enter_context(open_subjects(device, models)) for arm, device in devices.items()}
        visits = {arm: _beside_calls(subjects, timing) for arm, subjects in arms.items()}
        subjects = [replace(one, key=f"{arm} {one.key}") for arm, row in arms.items() for one in row]
        with progress.task(f"measuring {len(subjects)} networks", timing.max_rounds) as advance:
            measured = measure(
                subjects,
                timing=timing,
                rng=np.random.default_rng(args.seed),
                sentinel=subjects[0].key,
                on_round=lambda *_: advance(1),
            )
    return measured, visits


def _beside_calls(subjects: Sequence[Subject], timing: Timing) -> dict[str, float]:
    """ms of a visit that are not spent in calls; the first one sends the inputs."""
    found: dict[str, list[float]] = {"first_visit_ms": [], "visit_ms": []}
    for subject in subjects:
        with subject.open() as executable:
            for key in ("first_visit_ms", "visit_ms", "visit_ms", "visit_ms"):
                begin = time.perf_counter_ns()
                visit = take_visit(executable, subject.feed, timing, 8, subject.key)
                found[key].append((time.perf_counter_ns() - begin - visit.wall_ns) / 1e6)
    return {key: round(float(np.median(row)), 3) for key, row in found.items()}


def _content(
    measured: Measured,
    keys: Sequence[str],
    transfer: Mapping[str, Mapping[str, float]],
    visits: Mapping[str, Mapping[str, float]],
) -> dict[str, Any]:
    latency = {
        arm: np.array([measured.steady[f"{arm} {key}"].ns for key in keys], dtype=np.float64) for arm in transfer
    }
    return {
        "networks": len(keys),
        "rounds": measured.quality.rounds,
        "noise": measured.quality.summary(),
        "arms": {arm: {**transfer[arm], **visits[arm]} for arm in transfer},
        "against_local": {arm: _compared(latency[arm], latency[LOCAL]) for arm in transfer if arm != LOCAL},
        "latency_ms": {arm: np.round(row / 1e6, 4).tolist() for arm, row in latency.items()},
    }


def _compared(there: np.ndarray[Any, Any], here: np.ndarray[Any, Any]) -> dict[str, float]:
    share = there / here - 1
    return {
        "median_difference_percent": round(float(100 * np.median(share)), 3),
        "within_3_percent": round(float(100 * np.mean(np.abs(share) <= WITHIN)), 1),
        "largest_difference_percent": round(float(100 * np.abs(share).max()), 3),
        "spread_percent": round(float(100 * np.std(share, ddof=1)), 3),
        "tau": round(float(kendalltau(there, here).statistic), 4),
    }


def _text(content: Mapping[str, Any]) -> str:
    compared = content["against_local"]
    figures = ("median_difference_percent", "within_3_percent", "largest_difference_percent", "spread_percent", "tau")
    equal = table(("against local", "median %", "within 3 %", "largest %", "sd %", "tau"),
                  [(arm, *(str(row[key]) for key in figures)) for arm, row in compared.items()])  # fmt: skip
    costs = ("first_compile_ms", "load_ms", "first_visit_ms", "visit_ms")
    spent = table(("ms a network", "compile, send", "load", "first visit", "visit beside its calls"),
                  [(arm, *(str(row[key]) for key in costs)) for arm, row in content["arms"].items()])  # fmt: skip
    return f"{content['networks']} networks, {content['rounds']} rounds\n\n{equal}\n\n{spent}"


if __name__ == "__main__":
    main()
