"""What a table holds, in figures, and as rows."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from datetime import datetime, timezone

import numpy as np
import pytest

from binas_deploy.block import block_text
from binas_deploy.errors import InputError, NotMeasuredError
from binas_deploy.quality import noise_findings
from binas_deploy.space import Architecture, SearchSpace
from binas_deploy.table import LatencyTable, is_skip, measured_pieces
from binas_deploy.table.labels import labels
from binas_deploy.table.rows import ROWS, csv_text, table_rows
from binas_deploy.table.summary import TableSummary, piece_summaries

MakeTable = Callable[..., LatencyTable]
NOW = datetime(2026, 11, 24, 10, 30, tzinfo=timezone.utc)


@pytest.fixture(scope="module")
def table(make_table: MakeTable) -> LatencyTable:
    return make_table()


@pytest.fixture(scope="module")
def without_pieces(make_table: MakeTable) -> LatencyTable:
    return make_table(pieces=False)


def test_every_piece_has_a_label_that_says_where_it_stands(tiny_space: SearchSpace) -> None:
    found = labels(tiny_space)
    assert [label.key for label in found] == [piece.key for piece in measured_pieces(tiny_space)]
    assert (found[0].text, found[0].places) == ("stem cn_r1_k3_s1_c8", ())
    assert (found[-1].text, found[-1].places) == ("head", ())
    for label in found[1:-1]:
        at = [
            tiny_space.block(s, j, c)
            for s, j in label.places
            for c in range(len(tiny_space.stages[s].options[j]))
            if tiny_space.block(s, j, c).key == label.key
        ]
        assert {block_text(block) for block in at} == {label.text}
        assert len(label.places) == len(set(label.places)) > 0
    # Stage 0 keeps channels and resolution: its two positions do equal work.
    assert sum(label.places == ((0, 0), (0, 1)) for label in found) == 4


def test_the_costs_of_pieces_are_those_of_the_search(table: LatencyTable) -> None:
    space, form = table.space, table.cost_form()
    found = {(cost.stage, cost.position, cost.option): cost for piece in piece_summaries(table) for cost in piece.costs}
    places = [(s, j, c) for s, rows in enumerate(form.option) for j, row in enumerate(rows) for c in range(len(row))]
    assert set(found) == {place for place in places if not is_skip(space.block(*place))}
    for (s, j, c), cost in found.items():
        assert cost.cost_ns == form.option[s][j][c]


def test_pieces_are_ranked_and_their_intervals_are_those_of_their_samples(table: LatencyTable) -> None:
    summary = TableSummary.of(table, now=NOW, top=4)
    locations = sorted((piece.location for piece in table.pieces.values()), reverse=True)
    assert [piece.location_ns for piece in summary.dearest] == locations[:4]
    widths = {}
    for key, measured in table.pieces.items():
        low, high = measured.interval(0.5)
        widths[key] = 100 * max(high / measured.location - 1, 1 - low / measured.location)
    assert [piece.interval_percent for piece in summary.noisiest] == pytest.approx(
        sorted(widths.values(), reverse=True)[:5]
    )
    assert (summary.noise.measured, summary.noise.unknown) == (len(table.pieces), 0)
    assert summary.noise.median_percent == pytest.approx(np.median(list(widths.values())))
    assert summary.noise.widest_percent == pytest.approx(max(widths.values()))


def test_the_span_is_that_of_all_networks(table: LatencyTable, without_pieces: LatencyTable) -> None:
    for each in (table, without_pieces):
        costs = [each.predict(arch).value for arch in each.space.networks()]
        summary = TableSummary.of(each, now=NOW)
        assert (summary.least.latency.value, summary.most.latency.value) == (min(costs), max(costs))
        for end in (summary.least, summary.most):
            assert each.predict(each.space.architecture(end.network)) == end.latency


def test_the_width_of_intervals_is_that_of_predictions(table: LatencyTable) -> None:
    found, estimate = TableSummary.of(table, now=NOW).width, table.predict(table.space.largest())
    assert found.median_percent == pytest.approx(100 * (estimate.high / estimate.value - 1), rel=0.05)
    assert found.median_percent <= found.widest_percent
    assert (found.confidence, found.method) == (estimate.confidence, estimate.method)


def test_networks_are_counted_by_kind(table: LatencyTable) -> None:
    anchors = TableSummary.of(table, now=NOW).anchors
    assert anchors["designed"] == 2
    assert sum(anchors.values()) == len(table.anchors)


@pytest.mark.parametrize(
    ("created", "seconds"),
    [
        ("2026-11-24T10:29:00+00:00", 60),
        ("2026-11-24T10:29:00Z", 60),
        ("2026-11-24T12:29:59.5+02:00", 0.5),
        ("2026-11-24T10:31:00Z", -60),
        ("2026-13-24T10:29:00Z", None),
    ],
)
def test_age(make_table: MakeTable, created: str, seconds: float | None) -> None:
    assert TableSummary.of(make_table(created=created), now=NOW).age_seconds == seconds


QUIET = {"interval_percent": "1.20", "sentinel_trend": "0.9900", "contention_cpus": "0.02"}
HALF = "half of all latencies are known to ±13 % only"


@pytest.mark.parametrize(
    ("host", "findings"),
    [
        (QUIET, ()),
        ({"interval_percent": "0.8", "sentinel_trend": "1.0"}, ()),
        (QUIET | {"interval_percent": "inf"}, ()),
        (QUIET | {"interval_percent": "13.1"}, (HALF,)),
        (QUIET | {"contention_cpus": "0.84"}, ("other processes kept 0.8 CPUs busy",)),
        (QUIET | {"sentinel_trend": "1.3200"}, ("the speed drifted by +32 %",)),
        (QUIET | {"clock_mhz": "2000", "clock_mhz_end": "1400"}, ("its clock went from 2000 to 1400 MHz",)),
        (QUIET | {"clock_mhz": "2000", "clock_mhz_end": "2010"}, ()),
        (QUIET | {"throttle_count": "3", "throttle_count_end": "4"}, ("the CPU throttled",)),
        (QUIET | {"timer_resolution_ns": "1000", "least_ns": "9000"}, ("the clock's steps of 1000 ns are coarse",)),
        ({}, None),
        ({"clock_mhz": "2000"}, None),
        (QUIET | {"sentinel_trend": "nan"}, None),
    ],
)
def test_noise_of_a_run_in_words(host: Mapping[str, str], findings: tuple[str, ...] | None) -> None:
    assert noise_findings(host) == findings


def test_each_run_says_what_was_noisy(make_table: MakeTable) -> None:
    runs = TableSummary.of(make_table(hosts=({}, QUIET, QUIET | {"interval_percent": "13.1"})), now=NOW).runs
    assert [run.findings for run in runs] == [None, (), (HALF,)]
    assert [run.to_json()["findings"] for run in runs] == [None, [], [HALF]]


def test_too_few_samples_are_said_to_tell_nothing(make_table: MakeTable) -> None:
    summary = TableSummary.of(make_table(samples=5), now=NOW)
    assert (summary.noise.unknown, summary.noise.median_percent, summary.noisiest) == (summary.noise.measured, None, ())
    assert all(piece.interval_percent is None for piece in summary.dearest)
    json.dumps(summary.to_json(), allow_nan=False)


def test_a_table_without_isolated_pieces_ranks_by_what_the_search_reckons(without_pieces: LatencyTable) -> None:
    summary = TableSummary.of(without_pieces, now=NOW)
    assert (summary.noise.measured, summary.noisiest) == (0, ())
    greatest = max(int(row.max()) for rows in without_pieces.cost_form().option for row in rows)
    assert max(cost.cost_ns for cost in summary.dearest[0].costs) == greatest
    assert {piece.location_ns for piece in summary.dearest} == {None}
    json.dumps(summary.to_json(), allow_nan=False)


def test_the_document_holds_everything(table: LatencyTable) -> None:
    content = json.loads(json.dumps(TableSummary.of(table, now=NOW, top=2).to_json(), allow_nan=False))
    assert content["table_digest"] == table.digest
    assert content["conditions"]["identity"] == dict(table.conditions.identity)
    assert (len(content["dearest"]), content["pieces"]["measured"]) == (2, len(table.pieces))
    assert content["least"]["latency"]["unit"] == "ns"


# Rows


def read_back(table: LatencyTable, what: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(csv_text(table_rows(table, what)))))


def test_rows_of_pieces_read_back(table: LatencyTable) -> None:
    rows = read_back(table, "pieces")
    assert [row["key"] for row in rows] == list(table.pieces)
    for row in rows:
        measured = table.pieces[row["key"]]
        assert float(row["location_ns"]) == measured.location
        assert (float(row["median_ns"]), float(row["p90_ns"])) == (measured.median, measured.p90)
        assert (int(row["low_ns"]), int(row["high_ns"])) == measured.interval(0.5)
        assert int(row["samples"]) == len(measured)
    stem, block, head = rows[0], rows[1], rows[-1]
    assert (stem["op"], stem["kernel"], stem["c_out"], stem["resolution"]) == ("cn", "3", "8", "8")
    assert (block["op"], block["kernel"], block["expansion"], block["stride"]) == ("ir", "3", "1.0", "1")
    assert (head["op"], head["kernel"], head["mid"], head["c_out"]) == ("head", "", "24", "5")


def test_rows_of_networks_read_back(table: LatencyTable) -> None:
    rows = read_back(table, "networks")
    for row, anchor in zip(rows, table.anchors, strict=True):
        assert table.space.architecture(row["network"]) == anchor.arch
        assert (row["kind"], float(row["median_ns"])) == (anchor.kind, anchor.measurement.median)
        assert (int(row["low_ns"]), int(row["high_ns"])) == anchor.measurement.interval(0.5)
        assert float(row["predicted_ns"]) == table.predict(anchor.arch).value


def test_rows_of_costs_add_up_to_every_prediction(table: LatencyTable, without_pieces: LatencyTable) -> None:
    for each in (table, without_pieces):
        rows = {
            tuple(row[key] for key in ("term", "stage", "depth", "position", "option")): int(row["cost_ns"])
            for row in read_back(each, "costs")
        }
        for arch in each.space.networks():
            assert sum(rows[key] for key in cost_keys(arch)) == each.predict(arch).value


def cost_keys(arch: Architecture) -> list[tuple[str, ...]]:
    keys: list[tuple[str, ...]] = [("base", "", "", "", "")]
    for s, (depth, row) in enumerate(zip(arch.depths, arch.options, strict=True)):
        keys.append(("depth", str(s), str(depth), "", ""))
        keys += [("option", str(s), "", str(j), str(c)) for j, c in enumerate(row)]
    return keys


def test_what_is_not_known_stays_empty(make_table: MakeTable) -> None:
    few = make_table(samples=5)
    for what in ("pieces", "networks"):
        assert {(row["low_ns"], row["high_ns"]) for row in read_back(few, what)} == {("", "")}


def test_rows_that_are_not_there_are_refused(table: LatencyTable, without_pieces: LatencyTable) -> None:
    with pytest.raises(NotMeasuredError, match=r"no isolated pieces: .* Ask for networks or costs\."):
        table_rows(without_pieces, "pieces")
    assert [len(table_rows(without_pieces, what)) for what in ("networks", "costs")] == [
        len(table.anchors),
        len(table_rows(table, "costs")),
    ]
    with pytest.raises(InputError, match=r"no rows of 'secrets'\. Known: pieces, networks, costs"):
        table_rows(table, "secrets")
    assert list(ROWS) == ["pieces", "networks", "costs"]
