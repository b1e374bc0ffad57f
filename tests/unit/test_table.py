from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from binas_deploy import documents
from binas_deploy.block import Piece
from binas_deploy.columns import Columns
from binas_deploy.conditions import IDENTITY_KEYS, Conditions
from binas_deploy.errors import DocumentError, InputError, MismatchError, NotMeasuredError
from binas_deploy.measurement import SAMPLES_KEPT, Measurement
from binas_deploy.space import Architecture, SearchSpace
from binas_deploy.space_file import load_space, parse_space
from binas_deploy.table import Anchor, LatencyTable, MeasuringRun, is_skip, measured_pieces, table_path
from binas_deploy.table.reconcile import reconcile
from binas_deploy.table.terms import work_sources

GOLDEN = Path(__file__).parents[1] / "data" / "formats" / "latency-table-v1.json"
CREATED = "2026-11-22T09:30:00+00:00"
CONDITIONS = Conditions(
    dict.fromkeys(IDENTITY_KEYS, "simulated")
    | {"precision": "fp32", "batch": "1", "threads": "1", "cadence": "back-to-back"},
    {"governor": "performance"},
)


def simulated(space: SearchSpace, *, samples: int = 12, anchors: int = 6) -> LatencyTable:
    """Latencies by formula, alike on every machine: a piece takes 2 us and its work, 1.5 us more alone."""

    def alone(piece: Piece) -> Measurement:
        return around(2_000 + 1_500 + piece.macs / 7)

    def together(arch: Architecture) -> Measurement:
        return around(sum(2_000 + piece.macs / 7 for piece in space.pieces(arch) if not is_skip(piece)))

    def around(center: float) -> Measurement:
        spread = [int(center * (1 + 0.002 * (i * 37 % 23))) for i in range(samples)]
        return Measurement(np.array(spread), np.arange(samples) * 2 // samples)

    networks = networks_of(space, anchors)
    kinds = ["designed", "designed"] + ["random"] * anchors
    return LatencyTable.build(
        space=space,
        device="cpu",
        conditions=CONDITIONS,
        created=CREATED,
        runs=[MeasuringRun(0, CREATED, {"load": "0.1"}), MeasuringRun(1, "2026-11-22T09:31:00Z", {})],
        pieces={piece.key: alone(piece) for piece in measured_pieces(space)},
        anchors=[Anchor(arch, kind, together(arch)) for arch, kind in zip(networks, kinds, strict=False)],
        simulated=True,
    )


def networks_of(space: SearchSpace, count: int) -> list[Architecture]:
    every = list(space.networks())
    middle = every[len(every) // (count + 1) :: len(every) // (count + 1)]
    return list(dict.fromkeys([space.largest(), space.smallest(), *middle]))[:count]


@pytest.fixture(scope="module")
def table(tiny_space: SearchSpace) -> LatencyTable:
    return simulated(tiny_space)


@pytest.fixture
def path(table: LatencyTable, tmp_path: Path) -> Path:
    target = tmp_path / "table.json"
    table.save(target)
    return target


def rewritten(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the content and seal it again, as a foreign program would that knows the format."""
    content = json.loads(path.read_text())
    change(content)
    rest = {key: value for key, value in content.items() if key not in ("format", "version", "digest")}
    documents.write_document(path, documents.seal("latency-table", 1, rest))


# Prediction


def by_hand(table: LatencyTable, arch: Architecture) -> int:
    costs = json.loads(json.dumps(table.to_document()))["calibration"]["costs"]
    total = costs["fixed_ns"]
    for s, (depth, row) in enumerate(zip(arch.depths, arch.options, strict=True)):
        total += costs["depth_ns"][s][table.space.stages[s].depths.index(depth)]
        total += sum(costs["option_ns"][s][j][c] for j, c in enumerate(row))
    return int(total)


def test_predicts_exactly_the_sum_of_the_costs_in_its_file(table: LatencyTable) -> None:
    depths = tuple(stage.depths for stage in table.space.stages)
    for arch in table.space.networks():
        value = table.predict(arch).value
        assert value == by_hand(table, arch) == table.cost_form().of(arch, depths)


@given(st.integers(0, 10**9))
@settings(max_examples=30)
def test_predicts_exactly_the_sum_of_the_costs_of_a_shipped_space(seed: int) -> None:
    arch = CIFAR10.space.sample(np.random.default_rng(seed))
    assert CIFAR10.predict(arch).value == by_hand(CIFAR10, arch)


def cifar10() -> LatencyTable:
    space, rng = load_space("cifar10"), np.random.default_rng(0)

    def around(center: float) -> Measurement:
        return Measurement((center * rng.lognormal(0, 0.05, 30)).astype(np.int64), np.zeros(30, int))

    networks = [space.largest(), space.smallest(), *(space.sample(rng) for _ in range(8))]
    return LatencyTable.build(
        space=space,
        device="cpu",
        conditions=CONDITIONS,
        created=CREATED,
        runs=[MeasuringRun(0, CREATED, {})],
        pieces={piece.key: around(3_000 + piece.macs / 20) for piece in measured_pieces(space)},
        anchors=[Anchor(arch, "random", around(space.macs(arch) / 20)) for arch in networks],
        simulated=True,
    )


CIFAR10 = cifar10()


def test_costs_are_integers_and_skips_are_free(table: LatencyTable) -> None:
    form = table.cost_form()
    assert isinstance(form.constant, int)
    for s, stage in enumerate(table.space.stages):
        assert form.depth[s].shape == (len(stage.depths),)
        assert len(form.option[s]) == len(stage.options)
        for j, row in enumerate(form.option[s]):
            assert row.dtype == np.int64
            skips = [is_skip(table.space.block(s, j, c)) for c in range(len(row))]
            assert [bool(cost == 0) for cost in row] == skips
            assert (row >= 0).all()


def test_recovers_the_simulated_device(tiny_space: SearchSpace) -> None:
    table = simulated(tiny_space, anchors=30)
    for anchor in table.anchors:
        assert table.predict(anchor.arch).value == pytest.approx(anchor.measurement.median, rel=0.01)
    assert max(abs(error) for error in table.calibration.errors if error is not None) < 0.01


def test_an_estimate_says_what_it_is(table: LatencyTable) -> None:
    estimate = table.predict(table.space.largest())
    half = table.model.margin.two_sided(0.95).share * estimate.value
    assert (estimate.low, estimate.high) == (estimate.value - half, estimate.value + half)
    assert (estimate.unit, estimate.confidence) == ("ns", 0.95)
    assert estimate.method == "median, as the table was made; t, 4 random"
    assert table.statistic == "median"


def test_more_confidence_is_a_wider_interval(table: LatencyTable) -> None:
    wide, narrow = (table.predict(table.space.largest(), confidence) for confidence in (0.99, 0.5))
    assert wide.low < narrow.low < narrow.value == wide.value
    for absurd in (0, 1, 2):
        with pytest.raises(InputError, match="a confidence lies between 0 and 1"):
            table.predict(table.space.largest(), absurd)


def test_the_interval_stops_at_zero(table: LatencyTable) -> None:
    wide = replace(table, calibration=replace(table.calibration, errors=(None, None, 3.0, 3.0, -0.9, 2.0)))
    assert wide.predict(table.space.largest()).low == 0


def test_a_network_of_another_space_is_refused(table: LatencyTable) -> None:
    with pytest.raises(InputError, match="has 1 stages"):
        table.predict(Architecture((1,), ((0,),)))


def test_another_space_is_refused_naming_both(table: LatencyTable) -> None:
    table.require_space(replace(table.space, name="renamed"))
    other = replace(table.space, name="other", head=replace(table.space.head, classes=6))
    with pytest.raises(MismatchError, match=r"measured for space 'tiny' .* asked for 'other'"):
        table.require_space(other)


# Building


def parts_of(table: LatencyTable, **changes: Any) -> dict[str, Any]:
    names = ("space", "device", "conditions", "created", "runs", "pieces", "anchors", "simulated")
    return {name: getattr(table, name) for name in names} | changes


def test_building_again_gives_the_same_table(table: LatencyTable) -> None:
    assert LatencyTable.build(**parts_of(table)) == table


def test_a_missing_piece_is_named(table: LatencyTable) -> None:
    key = measured_pieces(table.space)[3].key
    pieces = {name: value for name, value in table.pieces.items() if name != key}
    with pytest.raises(NotMeasuredError, match=f"1 of 15 pieces of space 'tiny' are not measured: {key}") as refusal:
        LatencyTable.build(**parts_of(table, pieces=pieces))
    assert refusal.value.exit_code == 3


def test_many_missing_pieces_are_counted(table: LatencyTable) -> None:
    with pytest.raises(NotMeasuredError, match=r"14 of 15 .* and 11 more"):
        LatencyTable.build(**parts_of(table, pieces=dict(list(table.pieces.items())[:1])))


def test_a_table_of_whole_networks_alone_needs_another_source(table: LatencyTable, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least one source"):
        LatencyTable.build(**parts_of(table, pieces={}))
    made = LatencyTable.build(**parts_of(table, pieces={}), sources=work_sources(Columns(table.space)))
    made.save(tmp_path / "table.json")
    again = LatencyTable.load(tmp_path / "table.json")
    assert again == made
    assert not again.pieces
    assert again.predict(table.space.largest()).value > again.predict(table.space.smallest()).value > 0


def test_an_unknown_piece_is_refused(table: LatencyTable) -> None:
    extra = dict(table.pieces) | {"cn-strange": next(iter(table.pieces.values()))}
    with pytest.raises(InputError, match="cn-strange do not belong to space 'tiny'"):
        LatencyTable.build(**parts_of(table, pieces=extra))


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_table_without_calibration_is_refused(table: LatencyTable, count: int) -> None:
    with pytest.raises(NotMeasuredError, match=f"at least 3 whole networks, {count} were measured"):
        LatencyTable.build(**parts_of(table, anchors=table.anchors[:count]))


def test_anchors_that_do_not_fit_are_refused(table: LatencyTable) -> None:
    first = table.anchors[0]
    foreign = Anchor(Architecture((9, 1, 1), ((0,), (0,), (0,))), "random", first.measurement)
    cases = [
        ([*table.anchors, first], "a network stands twice"),
        ([*table.anchors, foreign], r"anchors\[6\]: stages\[0\]"),
        ([replace(first, kind="Any Kind"), *table.anchors[1:]], r"anchors\[0\]\.kind: 'Any Kind' is not a name"),
    ]
    for anchors, finding in cases:
        with pytest.raises(InputError, match=finding):
            LatencyTable.build(**parts_of(table, anchors=anchors))


def test_runs_names_and_times_that_do_not_fit_are_refused(table: LatencyTable) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"runs": table.runs[:1]}, r"samples name \[1\], listed are \[0\]"),
        ({"runs": [*table.runs, table.runs[0]]}, "same id"),
        ({"device": "../cpu"}, "device: '../cpu' is not a name"),
        ({"created": "yesterday"}, "created: 'yesterday' is not a time"),
        ({"created": "2026-11-22T09:30:00"}, "is not a time"),
    ]
    for change, finding in cases:
        with pytest.raises(InputError, match=finding):
            LatencyTable.build(**parts_of(table, **change))
    with pytest.raises(InputError, match="below zero"):
        MeasuringRun(-1, CREATED, {})
    with pytest.raises(InputError, match=r"calibration\.errors: 9, there are 6 anchors"):
        replace(table, calibration=replace(table.calibration, errors=(0.0,) * 9))


def test_keeps_what_a_document_keeps_of_many_samples(tiny_space: SearchSpace) -> None:
    full = simulated(tiny_space, samples=1000)
    for measurement in [*full.pieces.values(), *(anchor.measurement for anchor in full.anchors)]:
        assert (len(measurement), measurement.total) == (SAMPLES_KEPT, 1000)


def test_is_read_only(table: LatencyTable) -> None:
    with pytest.raises(TypeError):
        table.pieces["x"] = table.anchors[0].measurement  # type: ignore[index]


# Files


def test_file_round_trips(table: LatencyTable, path: Path, tmp_path: Path) -> None:
    again = LatencyTable.load(path)
    assert again == table
    assert again.digest == table.digest == json.loads(path.read_text())["digest"]
    again.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == path.read_bytes()


@given(st.integers(3, 12), st.integers(1, 40))
@settings(max_examples=15)
def test_any_table_round_trips(tmp_path_factory: pytest.TempPathFactory, anchors: int, samples: int) -> None:
    made = simulated(parse_space(LatencyTable.load(GOLDEN).space.source, GOLDEN), samples=samples, anchors=anchors)
    target = tmp_path_factory.mktemp("tables") / "table.json"
    made.save(target)
    assert LatencyTable.load(target) == made


def test_each_piece_and_network_has_its_line(table: LatencyTable, path: Path) -> None:
    lines = path.read_text().splitlines()
    for key in table.pieces:
        assert sum(line.startswith(f'  "{key}": {{"samples_ns": [') for line in lines) == 1
    assert sum(line.startswith('  {"arch": ') for line in lines) == len(table.anchors)


@given(st.floats(0, 1, exclude_max=True), st.sampled_from('0123456789aez,.:-+"\\{}[] \n\0\u00e9'))
@settings(max_examples=300)
def test_no_edit_of_one_character_changes_a_table(
    tmp_path_factory: pytest.TempPathFactory, place: float, character: str
) -> None:
    text = GOLDEN.read_text()
    index = int(place * len(text))
    target = tmp_path_factory.getbasetemp() / "edited.json"
    target.write_text(text[:index] + character + text[index + 1 :], encoding="utf-8")
    try:
        edited = LatencyTable.load(target)
    except DocumentError:
        return
    # What is still read is the same table: white space, or the same number written otherwise.
    assert edited == LatencyTable.load(GOLDEN)
    assert character in " \n0" or text[index] == character


@given(st.floats(0, 1, exclude_max=True))
@settings(max_examples=60)
def test_no_truncated_table_is_read(tmp_path_factory: pytest.TempPathFactory, place: float) -> None:
    text = GOLDEN.read_text().rstrip()
    target = tmp_path_factory.getbasetemp() / "short.json"
    target.write_text(text[: int(place * len(text))])
    with pytest.raises(DocumentError, match=r"short\.json"):
        LatencyTable.load(target)


def test_newer_foreign_and_missing_files_are_refused(path: Path, tmp_path: Path) -> None:
    content = json.loads(path.read_text())
    newer = {key: value for key, value in content.items() if key not in ("format", "version", "digest")}
    documents.write_document(path, documents.seal("latency-table", 2, newer))
    with pytest.raises(DocumentError, match=r"version 2 of latency-table, this tool reads up to 1\. Upgrade"):
        LatencyTable.load(path)
    documents.write_document(path, documents.seal("accuracy-model", 1, newer))
    with pytest.raises(DocumentError, match=r"expected .*latency-table', found 'binas-deploy/accuracy-model'"):
        LatencyTable.load(path)
    with pytest.raises(InputError, match="no such file"):
        LatencyTable.load(tmp_path / "none.json")


CHANGES: list[tuple[Callable[[dict[str, Any]], object], str]] = [
    (lambda d: d.update(unit="ms"), "unit: .*'ns'.*found 'ms'"),
    (lambda d: d.update(simulated="no"), "simulated: .*valid boolean"),
    (lambda d: d.update(device="CPU 0"), "device: .*pattern.*found 'CPU 0'"),
    (lambda d: d.update(created="2026"), "created: .*pattern"),
    (lambda d: d.update(extra=1), "extra: Extra inputs"),
    (lambda d: d.pop("calibration"), "calibration: Field required"),
    (lambda d: d["calibration"]["spreads"].pop("noise"), "spreads: the noise of one network is missing"),
    (lambda d: d["calibration"]["spreads"].update(scale=-1.0), "spreads.scale: .*greater than 0 .found -1.0"),
    (lambda d: d["calibration"]["ratios"].update(pieces="1"), "ratios.pieces: .*valid number"),
    (lambda d: d["calibration"]["errors"].pop(), "calibration.errors: 5, there are 6 anchors"),
    (lambda d: d["calibration"]["errors"].__setitem__(3, -1.0), r"errors\[3\]: .*greater than -1"),
    (lambda d: d["calibration"]["costs"]["depth_ns"].pop(), "not one for each depth and option"),
    (lambda d: d["calibration"]["costs"]["option_ns"][0][1].pop(), "not one for each depth and option"),
    (lambda d: d["calibration"]["costs"].update(fixed_ns=0.5), r"costs\.fixed_ns: .*valid integer"),
    (lambda d: d.update(runs=[]), "runs: .*at least 1"),
    (lambda d: d["runs"].pop(), "samples name .1., listed are .0."),
    (lambda d: d["runs"][0].update(host={"load": 1}), r"runs\[0\]\.host\.load: .*valid string"),
    (lambda d: d["conditions"]["identity"].pop("threads"), "missing threads"),
    (lambda d: next(iter(d["pieces"].values()))["samples_ns"].__setitem__(2, 0), r"samples_ns\[2\]: .*equal to 1"),
    (lambda d: next(iter(d["pieces"].values())).update(runs=[[0, 3]]), "runs cover 3 samples, samples_ns has 12"),
    (lambda d: d["pieces"].update({"cn-strange": next(iter(d["pieces"].values()))}), "cn-strange do not belong"),
    (lambda d: d["anchors"][1]["arch"].update(depths=[9, 9, 9]), r"anchors\[1\]: stages\[0\]"),
    (lambda d: d["anchors"].__setitem__(1, d["anchors"][0]), "stands twice"),
    (lambda d: d["space"].update(fingerprint="0"), "space.fingerprint does not match"),
    (lambda d: d["space"].update(source="name = 1"), "format: missing"),
    (lambda d: d.update(space={}), "space: expected name, fingerprint and source"),
]


@pytest.mark.parametrize(("change", "finding"), CHANGES, ids=[finding for _, finding in CHANGES])
def test_a_sealed_file_of_wrong_content_is_refused_naming_it(
    path: Path, change: Callable[[dict[str, Any]], object], finding: str
) -> None:
    rewritten(path, change)
    with pytest.raises(DocumentError, match=f"(?s)table.json.*{finding}"):
        LatencyTable.load(path)


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        (lambda d: d["pieces"].popitem(), "1 of 15 pieces"),
        (lambda d: d.update(anchors=[]), "at least 3 whole networks, 0 were measured"),
        (lambda d: d["calibration"].update(errors=[None] * 6), "at least 3 held-out networks of one kind, there are 0"),
    ],
    ids=["pieces", "anchors", "errors"],
)
def test_a_sealed_file_that_lacks_what_it_rests_on_is_not_measured(
    path: Path, change: Callable[[dict[str, Any]], object], finding: str
) -> None:
    rewritten(path, change)
    with pytest.raises(NotMeasuredError, match=rf"table\.json: .*{finding}"):
        LatencyTable.load(path)


# The first version, read for ever. Made by simulated(tiny_space).save(GOLDEN).


def test_version_1_is_read_for_ever() -> None:
    golden = LatencyTable.load(GOLDEN)
    assert golden.simulated
    assert golden.digest == json.loads(GOLDEN.read_text())["digest"]
    assert (golden.space.name, golden.space.size, len(golden.pieces), len(golden.anchors)) == ("tiny", 600, 15, 6)
    assert golden.conditions.identity_hash == "613a9ed0"
    assert golden.predict(golden.space.smallest()).value == 12685
    assert golden.predict(golden.space.largest()).value == 35433


def test_loading_and_predicting_need_no_heavy_package() -> None:
    code = f"""
import sys
from pathlib import Path
from binas_deploy.table import LatencyTable
table = LatencyTable.load(Path({str(GOLDEN)!r}))
table.predict(table.space.largest())
heavy = {{"scipy.optimize", "onnx", "onnxruntime", "torch"}} & set(sys.modules)
sys.exit(f"imported {{heavy}}" if heavy else 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# Paths


def test_path_says_what_the_table_holds() -> None:
    found = table_path(Path("latency_tables"), "cpu", "cifar10", CONDITIONS)
    assert found == Path(f"latency_tables/cpu/cifar10/fp32-b1-t1-{CONDITIONS.identity_hash}.json")


@pytest.mark.parametrize("name", ["", ".", "..", "../up", "a/b", "Upper", "-dash", "a\n", "x" * 65, "c:\\x"])
def test_names_that_could_leave_the_folder_are_refused(name: str) -> None:
    precise = Conditions(dict(CONDITIONS.identity) | {"precision": name}, {})
    for device, space, conditions in (
        (name, "cifar10", CONDITIONS),
        ("cpu", name, CONDITIONS),
        ("cpu", "cifar10", precise),
    ):
        with pytest.raises(InputError, match="is not a name"):
            table_path(Path("t"), device, space, conditions)


# Other statistics, other runs


def skewed(space: SearchSpace, *, samples: int = 200) -> LatencyTable:
    """As `simulated`, with one call in ten 1.5 times as slow."""
    usual = simulated(space, samples=samples, anchors=30)

    def slowed(anchor: Anchor) -> Anchor:
        values = np.where(np.arange(samples) % 10 == 9, anchor.measurement.median * 1.5, anchor.measurement.median)
        return replace(anchor, measurement=Measurement(values.astype(np.int64), np.zeros(samples, int)))

    return LatencyTable.build(**parts_of(usual, anchors=[slowed(anchor) for anchor in usual.anchors]))


def test_another_statistic_is_the_median_times_a_measured_factor(tiny_space: SearchSpace) -> None:
    table = skewed(tiny_space)
    assert table.statistic_factor("p95").factor.value == pytest.approx(1.5, rel=1e-3)
    assert table.statistic_factor("p25").factor.value == pytest.approx(1.0, rel=1e-3)
    arch = tiny_space.largest()
    p95 = table.model_of("p95").predict(arch)
    assert p95.value == pytest.approx(1.5 * table.predict(arch).value, rel=1e-3)
    assert p95.method.startswith("p95, as the table was made; conformal, 28 random")
    assert table.model_of("median") is table.model


def test_an_unknown_statistic_and_too_few_samples_are_refused(tiny_space: SearchSpace) -> None:
    table = skewed(tiny_space, samples=50)
    with pytest.raises(InputError, match="'mean' is not a statistic; use one of p25, median, p90, p95, p99"):
        table.model_of("mean")
    with pytest.raises(NotMeasuredError, match="the p99 of a network takes at least 100 samples, this table has 50"):
        table.model_of("p99")


def test_the_bound_of_a_search_leaves_the_margin_unused(tiny_space: SearchSpace) -> None:
    model = simulated(tiny_space, anchors=30).model
    share = model.margin.upper(0.95).share
    assert model.most_predicted(10_000, 0.95) == int(10_000 / (1 + share))


def test_a_table_is_carried_over_to_a_slower_machine(tiny_space: SearchSpace) -> None:
    table = simulated(tiny_space, anchors=30)
    then = [anchor.measurement.median for anchor in table.anchors[:3]]
    found = reconcile(then, [1.4 * value for value in then], noise=table.calibration.noise)
    now, arch = table.model.now(found), tiny_space.largest()
    assert now.predict(arch).value == pytest.approx(1.4 * table.predict(arch).value, rel=0.01)
    assert "as the machine is now" in now.predict(arch).method
    assert now.margin.two_sided().share > table.model.margin.two_sided().share
