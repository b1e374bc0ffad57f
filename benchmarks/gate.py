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
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from record import RESULTS, conditions, parser_of, write

from binas_deploy.bundle.manifest import Manifest
from binas_deploy.cli.render import table
from binas_deploy.columns import Floats
from binas_deploy.devices import DeviceSpec
from binas_deploy.documents import dump_text, write_atomic
from binas_deploy.gate.comparison import Comparison, Pair
from binas_deploy.gate.judgement import Change, Judgement, Rule, judge, needs_confirmation
from binas_deploy.gate.signed_rank import interval, location
from binas_deploy.proportion import wilson
from binas_deploy.steps.check import PAIRS, THRESHOLD, check
from binas_deploy.steps.check_pairs import Arm, take_pair
from binas_deploy.steps.check_process import Interpreter
from binas_deploy.steps.check_sides import device_of, payload_of
from binas_deploy.testing.slowed import slowed_python

ROOT: Final = Path(__file__).resolve().parents[1]
BUNDLE: Final = ROOT / "export" / "reference"
RAW: Final = RESULTS / "gate_pairs.json"
PICTURE: Final = RESULTS / "gate.png"
SLOWDOWNS: Final = (0.03, 0.05, 0.10)
CURVE: Final = (0.0, 0.005, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05, 0.07, 0.10)
RUNS: Final = 4000
SAME: Final = "same"
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
    return device_of(manifest, None, ROOT), Arm(Interpreter.at(None), payload_of(BUNDLE, manifest))


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
    raw, rng = _raw(), np.random.default_rng(args.seed)
    ratios = {name: _ratios(raw, name) for name in _SHARES}
    rule = Rule.of(THRESHOLD)
    curve = [_resampled(ratios[SAME], rule, slowdown, args.runs, rng) for slowdown in CURVE]
    real = [_of_real_work(ratios, name, rule, args.runs, rng) for name in _SHARES if name != SAME]
    content = {
        "rule": {"threshold": rule.threshold, "level": rule.level, "pairs": PAIRS},
        "pairs": {name: int(found.size) for name, found in ratios.items()},
        "scatter_percent": _scatter(ratios[SAME]),
        "resampled": curve,
        "real_extra_work": real,
        "live": _of_live(raw["live"]),
        "occasions": raw["conditions"],
    }
    path = write("gate", conditions(threads=1, seed=args.seed, runs=args.runs), content)
    _draw(content)
    print(_text(content))
    print(f"\nwritten to {path} and {PICTURE}")


def _ratios(raw: Mapping[str, Any], name: str) -> Floats:
    rows = [row for row in raw["pairs"] if row["head"] == name]
    return np.array([Pair(tuple(row["base_ns"]), tuple(row["head_ns"])).log_ratio for row in rows])


def _judged(pool: Floats, rule: Rule, slowdown: float, rng: np.random.Generator, *, exchanged: bool) -> Judgement:
    """One check: two disjoint blocks of consecutive pairs, the second used only where the first suspects something."""
    start = int(rng.integers(pool.size))
    block = pool[(start + np.arange(2 * PAIRS)) % pool.size]
    signs = rng.choice([-1.0, 1.0], block.size) if exchanged else 1.0
    shifted = signs * block + math.log1p(slowdown)
    first, second = shifted[:PAIRS], shifted[PAIRS:]
    return judge([first, second] if needs_confirmation(first, rule) else [first], rule)


def _resampled(pool: Floats, rule: Rule, slowdown: float, runs: int, rng: np.random.Generator) -> dict[str, Any]:
    found = [_judged(pool, rule, slowdown, rng, exchanged=True) for _ in range(runs)]
    return {"slowdown_percent": 100 * slowdown, **_rates(found)}


def _of_real_work(
    ratios: Mapping[str, Floats], name: str, rule: Rule, runs: int, rng: np.random.Generator
) -> dict[str, Any]:
    pool = ratios[name]
    if pool.size < 2 * PAIRS:
        return {"aimed_at": name, "pairs": int(pool.size)}
    low, high = (100 * math.expm1(end) for end in interval(pool))
    measured = {"percent": 100 * math.expm1(location(pool)), "low": low, "high": high}
    found = [_judged(pool, rule, 0.0, rng, exchanged=False) for _ in range(runs)]
    return {"aimed_at": name, "pairs": int(pool.size), "slowdown": measured, **_rates(found)}


def _rates(found: Sequence[Judgement]) -> dict[str, Any]:
    rows: dict[str, Any] = {"runs": len(found)}
    for key, change in (("called_slower", Change.SLOWER), ("called_faster", Change.FASTER)):
        rows[key] = _rate([judged.change is change for judged in found])
    rows["inconclusive"] = _rate([judged.change is Change.INCONCLUSIVE for judged in found])
    rows["second_round"] = _rate([judged.rounds == 2 for judged in found])
    return rows


def _rate(hits: Sequence[bool]) -> dict[str, Any]:
    """Percent with its 95 % interval."""
    estimate = wilson(sum(hits), len(hits))
    return {"hits": sum(hits), "percent": estimate.value, "low": estimate.low, "high": estimate.high}


def _scatter(pool: Floats) -> dict[str, float]:
    """How far pairs of one program with itself lie apart, percent: the standard deviation, and a robust one."""
    return {"sd": 100 * float(pool.std()), "robust": 148.26 * float(np.median(np.abs(pool - np.median(pool))))}


def _of_live(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    if not rows:
        return {"runs": 0}
    return {
        "runs": len(rows),
        "called_slower": _rate([row["change"] == Change.SLOWER.value for row in rows]),
        "called_faster": _rate([row["change"] == Change.FASTER.value for row in rows]),
        "inconclusive": _rate([row["change"] == Change.INCONCLUSIVE.value for row in rows]),
        "median_seconds": statistics.median(row["seconds"] for row in rows),
        "most_seconds": max(row["seconds"] for row in rows),
        "median_detectable_percent": statistics.median(row["detectable"] for row in rows),
        "each": list(rows),
    }


def _text(content: Mapping[str, Any]) -> str:
    header = ("slowdown", "of", "checks", "called slower", "95 %", "called faster", "inconclusive")
    rows = [_row(f"{row['slowdown_percent']:g} %", "scaled", row) for row in content["resampled"]]
    rows += [
        _row(f"{row['slowdown']['percent']:.1f} %", "real extra work", row)
        for row in content["real_extra_work"]
        if "slowdown" in row
    ]
    live = content["live"]
    if live["runs"]:
        rows.append(_row("0 %", "live", live))
    return table(header, rows)


def _row(slowdown: str, what: str, row: Mapping[str, Any]) -> tuple[object, ...]:
    slower, faster = row["called_slower"], row["called_faster"]
    between = f"{slower['low']:.2f} to {slower['high']:.2f}"
    shown = (
        f"{slower['percent']:.2f} %",
        between,
        f"{faster['percent']:.2f} %",
        f"{row['inconclusive']['percent']:.2f} %",
    )
    return (slowdown, what, row["runs"], *shown)


def _draw(content: Mapping[str, Any]) -> None:
    import io

    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    curve = content["resampled"]
    places = [row["slowdown_percent"] for row in curve]
    rates = [row["called_slower"] for row in curve]
    axes.fill_between(places, [r["low"] for r in rates], [r["high"] for r in rates], alpha=0.25, color="#0b6e99")
    axes.plot(places, [r["percent"] for r in rates], color="#0b6e99", label="pairs of equal programs, scaled")
    for index, row in enumerate(row for row in content["real_extra_work"] if "slowdown" in row):
        at, rate = row["slowdown"], row["called_slower"]
        axes.errorbar(
            at["percent"],
            rate["percent"],
            xerr=[[at["percent"] - at["low"]], [at["high"] - at["percent"]]],
            yerr=[[rate["percent"] - rate["low"]], [rate["high"] - rate["percent"]]],
            fmt="o",
            color="#d9730d",
            label=None if index else "real extra work",
        )
    axes.axhline(85, color="0.7", linewidth=0.8, linestyle="--")
    axes.axvline(100 * THRESHOLD, color="0.7", linewidth=0.8, linestyle=":")
    axes.set_xlabel("slowdown, %")
    axes.set_ylabel("checks that call a regression, %")
    axes.legend(frameon=False)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=150)
    write_atomic(PICTURE, picture.getvalue())


if __name__ == "__main__":
    main()
