"""How good the gate of ``binas-deploy check`` is on this machine: false alarms, and power against slowdowns.

Two kinds of measuring, each in parts of a few minutes that go on where the last one stopped, and a report of both:

    python benchmarks/gate.py pairs --seconds 240     # pairs of fresh processes, as a check takes them
    python benchmarks/gate.py live --seconds 240      # whole checks of the reference bundle against itself
    python benchmarks/gate.py report                  # resamples, draws, writes; measures nothing

``pairs`` takes pairs of the reference bundle (export/reference) with itself, and in between, in random order, pairs
whose head does *real extra work* in each call: an empty loop of so many turns, settled once to take about 3 %, 5 % or
10 % of a call. What it takes in fact is in the results. ``report`` makes whole checks of these pairs: blocks of
consecutive ones from a random place, base and head exchanged at random in each (they are the same program), a second
block for the second round. For the curve of power the pairs of the program with itself are scaled; the live points on
it are those of real extra work.

Writes benchmarks/results/gate_pairs.json (raw), gate.json and gate.png.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from gate_report import SAME, draw, figures, text
from record import RESULTS, conditions, parser_of, write

from binas_deploy.bundle.manifest import Manifest
from binas_deploy.devices import DeviceSpec
from binas_deploy.documents import dump_text, write_atomic
from binas_deploy.gate.comparison import Comparison
from binas_deploy.steps.check import check
from binas_deploy.steps.check_interpreter import Interpreter
from binas_deploy.steps.check_pairs import Arm, take_pair
from binas_deploy.steps.check_sides import device_of, payload_of
from binas_deploy.testing.slowed import slowed_python

ROOT: Final = Path(__file__).resolve().parents[1]
BUNDLE: Final = ROOT / "export" / "reference"
RAW: Final = RESULTS / "gate_pairs.json"
PICTURE: Final = RESULTS / "gate.png"
SLOWDOWNS: Final = (0.03, 0.05, 0.10)
RUNS: Final = 2000
_SHARES: Final = {SAME: 0.5, "3%": 0.2, "5%": 0.15, "10%": 0.15}
_TRIAL_LOOPS: Final = 2000
_TRIAL_PAIRS: Final = 10
_SAVE_EVERY: Final = 10


def main() -> None:
    """Do the part that is asked."""
    args = _arguments()
    RESULTS.mkdir(exist_ok=True)
    {"pairs": _pairs, "live": _live, "report": _report}[args.part](args)


def _arguments() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument("part", choices=["pairs", "live", "report"])
    parser.add_argument("--seconds", type=float, default=240.0, help="to measure in this part (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=RUNS, help="resampled checks a point (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def _raw() -> dict[str, Any]:
    if not RAW.exists():
        return {"loops": {}, "conditions": [], "pairs": [], "live": []}
    found: dict[str, Any] = json.loads(RAW.read_text())
    return found


def _save(raw: Mapping[str, Any]) -> None:
    write_atomic(RAW, dump_text(raw).encode())


def _subject() -> tuple[DeviceSpec, Arm]:
    manifest = Manifest.load(BUNDLE)
    spec = device_of(manifest, None, ROOT)
    return spec, Arm(Interpreter.at(None), payload_of(BUNDLE, manifest, spec))


def _pairs(args: argparse.Namespace) -> None:
    """Pairs until time is up; none of them is lost when it is stopped."""
    raw, until = _raw(), time.monotonic() + args.seconds
    rng = np.random.default_rng([args.seed, len(raw["pairs"])])
    spec, arm = _subject()
    raw["conditions"].append(conditions(threads=spec.threads, part="pairs"))
    with tempfile.TemporaryDirectory() as folder:
        if not raw["loops"]:
            raw["loops"] = _loops(spec, arm, Path(folder), rng)
        arms = {SAME: arm} | {
            name: _slowed(arm, Path(folder) / name, raw["loops"][name]) for name in _SHARES if name != SAME
        }
        while time.monotonic() < until:
            name = str(rng.choice(list(_SHARES), p=list(_SHARES.values())))
            pair = take_pair(spec, arm, arms[name], rng).pair
            raw["pairs"].append({"head": name, "base_ns": pair.base_ns, "head_ns": pair.head_ns})
            if len(raw["pairs"]) % _SAVE_EVERY == 0:
                _save(raw)
    _save(raw)
    counts = {name: sum(row["head"] == name for row in raw["pairs"]) for name in _SHARES}
    print(f"{len(raw['pairs'])} pairs so far: {counts}")


def _slowed(arm: Arm, folder: Path, loops: int) -> Arm:
    return Arm(Interpreter(str(slowed_python(folder, loops=loops))), arm.payload)


def _loops(spec: DeviceSpec, arm: Arm, folder: Path, rng: np.random.Generator) -> dict[str, int]:
    """Turns of an empty loop for each slowdown, by what a number of them adds to a call."""
    tried = _slowed(arm, folder / "trial", _TRIAL_LOOPS)
    ratios = [math.exp(take_pair(spec, arm, tried, rng).pair.log_ratio) for _ in range(_TRIAL_PAIRS)]
    share_of_one = (statistics.median(ratios) - 1) / _TRIAL_LOOPS
    return {f"{100 * share:g}%": round(share / share_of_one) for share in SLOWDOWNS}


def _live(args: argparse.Namespace) -> None:
    """Whole checks, as the command does them, until the next one would not fit into the time."""
    raw, begin = _raw(), time.monotonic()
    raw["conditions"].append(conditions(threads=1, part="live"))
    longest = 0.0
    while time.monotonic() - begin + longest < args.seconds:
        started = time.monotonic()
        report = check(BUNDLE, workspace=ROOT, against=str(BUNDLE), force=True, seed=args.seed + len(raw["live"]))
        timing = report.bundles[0].timing
        if not isinstance(timing, Comparison):
            raise SystemExit("the reference bundle was not timed")
        judged, seconds = timing.judgement, time.monotonic() - started
        effect = {key: getattr(judged.effect, key) for key in ("percent", "low", "high", "detectable")}
        raw["live"].append({"change": judged.change.value, "rounds": judged.rounds, "seconds": seconds, **effect})
        _save(raw)
        longest = max(longest, seconds)
    print(f"{len(raw['live'])} live checks so far")


def _report(args: argparse.Namespace) -> None:
    content = figures(_raw(), list(_SHARES), args.runs, args.seed)
    path = write("gate", conditions(threads=1, seed=args.seed, runs=args.runs), content)
    draw(content, PICTURE)
    print(f"{text(content)}\n\nwritten to {path} and {PICTURE}")


if __name__ == "__main__":
    main()
