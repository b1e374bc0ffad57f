"""What `gate.py` has measured, put together: resampled checks, power and durations, as figures, text and a picture."""

from __future__ import annotations

import io
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from binas_deploy.cli.render import table
from binas_deploy.columns import Floats
from binas_deploy.documents import write_atomic
from binas_deploy.gate.comparison import Pair
from binas_deploy.gate.judgement import Change, Judgement, Rule, judge, needs_confirmation
from binas_deploy.gate.signed_rank import interval, location
from binas_deploy.proportion import wilson
from binas_deploy.steps.check import PAIRS, THRESHOLD

CURVE: Final = (0.0, 0.005, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05, 0.07, 0.10)
SAME: Final = "same"


def figures(raw: Mapping[str, Any], heads: Sequence[str], runs: int, seed: int) -> dict[str, Any]:
    """All of it; ``heads``: what the head of a pair may be, `SAME` first; ``runs``: resampled checks a point."""
    rule, rng = Rule.of(THRESHOLD), np.random.default_rng(seed)
    ratios = {name: _ratios(raw, name) for name in heads}
    curve = [_resampled(ratios[SAME], rule, slowdown, runs, rng) for slowdown in CURVE]
    real = [_of_real_work(ratios[name], name, rule, runs, rng) for name in heads if name != SAME]
    return {
        "rule": {"threshold": rule.threshold, "level": rule.level, "pairs": PAIRS},
        "pairs": {name: int(found.size) for name, found in ratios.items()},
        "scatter_percent": _scatter(ratios[SAME]),
        "resampled": curve,
        "real_extra_work": real,
        "live": _of_live(raw["live"]),
        "occasions": raw["conditions"],
    }


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


def _of_real_work(pool: Floats, name: str, rule: Rule, runs: int, rng: np.random.Generator) -> dict[str, Any]:
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


def text(content: Mapping[str, Any]) -> str:
    """The figures as a table."""
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


def draw(content: Mapping[str, Any], path: Path) -> None:
    """Power against slowdown."""
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
    write_atomic(path, picture.getvalue())
