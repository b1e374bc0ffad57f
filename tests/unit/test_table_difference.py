"""How two tables differ, and what that is said to be."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from binas_deploy.conditions import ABSENT
from binas_deploy.errors import MismatchError
from binas_deploy.measurement import Measurement
from binas_deploy.table import LatencyTable
from binas_deploy.table.difference import TableDifference
from binas_deploy.table.labels import Label
from binas_deploy.table.ratios import PieceChange, Ratios

MakeTable = Callable[..., LatencyTable]
LABEL = Label("key", "text", ())
TIMES = st.floats(1.0, 1e9)


@given(st.lists(st.tuples(TIMES, TIMES), min_size=1, max_size=40))
def test_ratios_are_quantiles_of_logarithms_and_invert_when_swapped(pairs: list[tuple[float, float]]) -> None:
    found, swapped = Ratios.of(pairs), Ratios.of([(b, a) for a, b in pairs])
    logs = np.log([b / a for a, b in pairs])
    quantiles = (found.least, found.p5, found.median, found.p95, found.most)
    assert quantiles == pytest.approx(np.exp(np.quantile(logs, [0, 0.05, 0.5, 0.95, 1])), rel=1e-9)
    assert quantiles == pytest.approx(
        [1 / value for value in (swapped.most, swapped.p95, swapped.median, swapped.p5, swapped.least)], rel=1e-9
    )
    assert found.spread_percent == pytest.approx(swapped.spread_percent, rel=1e-6, abs=1e-9)
    within = np.abs(logs - math.log(found.median)) <= math.log1p(found.spread_percent / 100) + 1e-9
    assert found.count == len(pairs)
    assert within.sum() >= math.floor(0.9 * (len(pairs) - 1)) + 1


def test_the_interval_of_a_ratio_holds_what_it_says() -> None:
    rng, inside, widths, trials = np.random.default_rng(5), 0, list[float](), 400
    truth = 1.3 / 1.2
    for _ in range(trials):
        a, b = (
            Measurement(np.rint(center * rng.lognormal(0, 0.05, 60)).astype(np.int64), np.zeros(60, dtype=np.int64))
            for center in (100_000, 130_000)
        )
        low, high = PieceChange.of(LABEL, a, b, 1.2).relative_interval or (0, 0)
        inside += low <= truth <= high
        widths.append(high / low - 1)
    assert inside >= 0.93 * trials
    assert np.median(widths) < 0.06  # two medians of 60 with sd 5 %: +- 2.3 % at best


def steady(*samples: int) -> Measurement:
    return Measurement(np.array(samples), np.zeros(len(samples), dtype=np.int64))


def test_a_change_is_relative_to_the_common_factor() -> None:
    a, b = steady(*range(1000, 1040)), steady(*range(1300, 1352))
    alike, apart = PieceChange.of(LABEL, a, b, 1.3), PieceChange.of(LABEL, a, b, 1.0)
    assert alike.ratio == apart.ratio == pytest.approx(1.3, rel=0.01)
    assert (alike.relative, apart.relative) == (pytest.approx(1, rel=0.01), pytest.approx(1.3, rel=0.01))
    assert (alike.excludes_no_change, apart.excludes_no_change) == (False, True)
    assert (alike.apart, apart.apart) == (False, True)
    swapped = PieceChange.of(LABEL, b, a, 1.0)
    assert swapped.distance == pytest.approx(apart.distance)
    assert swapped.relative_interval == pytest.approx([1 / end for end in (apart.relative_interval or ())][::-1])


def test_too_few_samples_prove_no_change() -> None:
    found = PieceChange.of(LABEL, steady(1000, 1001), steady(*range(2000, 2040)), 1.0)
    assert (found.relative_interval, found.excludes_no_change, found.apart) == (None, None, False)
    assert found.to_json()["relative_interval"] is None


def test_a_table_is_the_same_as_itself(make_table: MakeTable) -> None:
    found = TableDifference.of(make_table(), make_table())
    assert (found.kind, found.sentence) == ("same", "A and B are the same table.")
    assert found.pieces is not None
    assert (found.pieces.least, found.pieces.most, found.apart) == (1, 1, 0)
    assert [found.networks.least, found.networks.most] == [1, 1]


def difference(make_table: MakeTable, **b: Any) -> TableDifference:
    return TableDifference.of(make_table(), make_table(created="2026-11-23T09:30:00Z", **b))


def test_a_common_factor_is_the_host_s_speed(make_table: MakeTable) -> None:
    found = difference(make_table, factor=1.31)
    assert found.kind == "throughout"
    assert found.sentence == (
        "B is 1.31 times slower than A throughout (isolated pieces 1.31 times, nine in ten within 0.0 % of that): "
        "the host's speed, not the software."
    )
    for ratios in (found.pieces, found.anchors, found.networks):
        assert ratios is not None
        assert ratios.median == pytest.approx(1.31, rel=2e-3)
    back = TableDifference.of(found.b, found.a)
    assert back.sentence.startswith("B is 1.31 times faster than A throughout")


def test_a_factor_of_nothing_has_no_cause(make_table: MakeTable) -> None:
    found = difference(make_table, factor=1.004)
    assert found.kind == "alike"
    assert found.sentence == (
        "B is as fast as A throughout (isolated pieces 1.00 times, nine in ten within 0.0 % of that)."
    )


def test_pieces_that_changed_by_themselves_are_found_behind_a_common_factor(make_table: MakeTable) -> None:
    key = rarest(make_table())
    found = difference(make_table, factor=0.8, changed={key: 1.5})
    assert found.kind == "throughout"
    assert found.sentence.startswith("B is 1.25 times faster than A throughout")
    assert found.sentence.endswith(": the host's speed, not the software, but for 1 of 15 pieces.")
    first, *others = found.changes
    assert (first.label.key, first.apart, found.apart) == (key, True, 1)
    assert first.relative == pytest.approx(1.5, rel=1e-3)
    assert not any(change.excludes_no_change for change in others)


def rarest(table: LatencyTable) -> str:
    """The key of a piece in few of the whole networks, so that their median knows nothing of it."""
    used = Counter(piece.key for anchor in table.anchors for piece in table.space.pieces(anchor.arch))
    return min(table.pieces, key=lambda key: used[key])


def test_a_piece_that_slows_every_network_is_no_common_factor(make_table: MakeTable) -> None:
    stem = next(iter(make_table().pieces))
    found = difference(make_table, changed={stem: 3.0})
    assert found.kind == "uneven"
    assert found.sentence.startswith(
        "B differs from A between isolated pieces and whole networks: B is as fast as A for isolated pieces "
        "(nine in ten within 0.0 % of that, but for 1 of 15 pieces) and 1."
    )


def uneven(make_table: MakeTable, **b: Any) -> TableDifference:
    keys = list(make_table().pieces)
    return difference(make_table, changed={key: 1 + 0.1 * index for index, key in enumerate(keys)}, **b)


def test_an_uneven_difference_is_told_with_what_the_tables_say_of_it(make_table: MakeTable) -> None:
    start = "B differs from A by piece: B is 1.70 times slower than A for isolated pieces (nine in ten within "
    causes: dict[str, dict[str, Any]] = {
        "no condition explains it.": {},
        "the same conditions, but noisy runs (B: the speed drifted by -30 %).": {
            "hosts": [{"interval_percent": "1", "sentinel_trend": "0.70"}]
        },
        "other software (runtime_version_full).": {"context": {"runtime_version_full": "1.31.1", "clock_mhz": "1000"}},
        "another identity (threads).": {"identity": {"threads": "2"}, "context": {"driver": "9"}},
    }
    for cause, change in causes.items():
        found = uneven(make_table, **change)
        assert found.kind == "uneven"
        assert found.sentence.startswith(start)
        assert found.sentence.endswith(f"of that); {cause}")
        assert " times slower than A for whole networks (" in found.sentence


def test_another_identity_is_no_change_of_speed(make_table: MakeTable) -> None:
    sentence = difference(make_table, factor=1.5, identity={"threads": "2", "power": "low"}).sentence
    assert sentence.endswith("of that), under another identity (power, threads).")


def test_conditions_stand_side_by_side_identity_first(make_table: MakeTable) -> None:
    found = difference(make_table, identity={"threads": "2"}, context={"governor": "powersave"})
    rows = [(pair.kind, pair.key, pair.a, pair.b) for pair in found.conditions if pair.differs]
    assert rows == [
        ("identity", "threads", "1", "2"),
        ("context", "clock_mhz", "2000", ABSENT),
        ("context", "governor", ABSENT, "powersave"),
    ]
    assert [pair.differs for pair in found.conditions] == [True] * 3 + [False] * 10


def test_only_networks_that_both_measured_are_compared(make_table: MakeTable) -> None:
    a, b = make_table(), make_table(factor=2.0)
    fewer = TableDifference.of(a, cut(b, 5, 8))
    assert fewer.anchors is not None
    assert (fewer.anchors.count, fewer.anchors.median) == (3, pytest.approx(2, rel=1e-3))
    assert TableDifference.of(cut(a, 0, 7), cut(b, 7, 14)).anchors is None


def cut(table: LatencyTable, start: int, stop: int) -> LatencyTable:
    """With these whole networks only."""
    names = ("space", "device", "conditions", "created", "runs", "pieces", "simulated")
    parts = {name: getattr(table, name) for name in names}
    return LatencyTable.build(**parts, anchors=[replace(anchor, kind="random") for anchor in table.anchors[start:stop]])


def test_without_pieces_networks_are_what_there_is(make_table: MakeTable) -> None:
    found = TableDifference.of(make_table(pieces=False), make_table(factor=1.5))
    assert (found.pieces, found.changes, found.apart) == (None, (), 0)
    assert "pieces" not in found.sentence
    assert "host" not in found.sentence
    json.dumps(found.to_json(), allow_nan=False)


@pytest.mark.parametrize(
    ("spread", "start"),
    [
        (2.0, "B is 1.30 times slower than A throughout (nine in ten within 2.0 % of that)."),
        (
            9.0,
            "B differs from A by network: B is 1.30 times slower than A for whole networks (nine in ten within 9.0 %",
        ),
    ],
)
def test_without_pieces_the_spread_of_networks_decides(make_table: MakeTable, spread: float, start: str) -> None:
    found = TableDifference.of(make_table(pieces=False), make_table(pieces=False, factor=1.3))
    ratios = Ratios(9, 1.2, 1.25, 1.3, 1.35, 1.4, spread)
    assert replace(found, anchors=ratios).sentence.startswith(start)
    assert replace(found, anchors=None, networks=ratios).sentence.startswith(start)


def test_pieces_and_networks_that_disagree_have_no_factor_in_common(make_table: MakeTable) -> None:
    found = difference(make_table, factor=1.3)
    assert found.anchors is not None
    for factor, kind in ((1.3 * 1.02, "throughout"), (1.3 * 1.04, "uneven"), (1.3 / 1.04, "uneven")):
        assert replace(found, anchors=replace(found.anchors, median=factor)).kind == kind
    assert replace(found, anchors=replace(found.anchors, spread_percent=6.0)).kind == "uneven"
    sentence = replace(found, anchors=replace(found.anchors, median=0.9)).sentence
    assert sentence == (
        "B differs from A between isolated pieces and whole networks: "
        "B is 1.30 times slower than A for isolated pieces (nine in ten within 0.0 % of that) and "
        "1.11 times faster than A for whole networks (nine in ten within 0.0 % of that); no condition explains it."
    )


def test_the_seed_draws_the_networks(make_table: MakeTable) -> None:
    keys = list(make_table().pieces)
    a, b = make_table(), make_table(changed={keys[2]: 2.0})
    found = [TableDifference.of(a, b, seed=seed).networks for seed in (0, 0, 1)]
    assert found[0] == found[1] != found[2]
    assert found[0].count == 200


def test_the_document_holds_everything(make_table: MakeTable) -> None:
    found = uneven(make_table)
    content = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert (content["sentence"], content["kind"]) == (found.sentence, "uneven")
    assert content["a"]["table_digest"] == found.a.digest != content["b"]["table_digest"]
    assert len(content["changes"]) == 15
    assert content["changes"][0].keys() >= {"key", "text", "ratio", "relative_interval", "a_interval", "b_interval"}
    assert len(TableDifference.of(found.a, found.b, top=2).changes) == 2


def test_tables_of_two_spaces_are_refused_naming_both(make_table: MakeTable) -> None:
    ours = make_table()
    other = replace(ours.space, name="other", head=replace(ours.space.head, classes=6))
    with pytest.raises(MismatchError, match=r"table A is of space 'tiny' \(\w{8}\), table B of space 'other'"):
        TableDifference.of(ours, make_table(space=other))
