from __future__ import annotations

import csv
import io
import itertools
import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from binas_deploy.block import Op
from binas_deploy.errors import BinasError, DocumentError, EnvironmentFault, InputError
from binas_deploy.samples import CheckedSamples, Finding, SampleRows, check_samples, file, read_samples
from binas_deploy.samples.containment import contained_pairs, non_monotone_findings, work
from binas_deploy.samples.finding import lines_text
from binas_deploy.samples.points import Floats, Points, robust_line
from binas_deploy.samples.repeats import merge, rounding_step
from binas_deploy.space import Architecture, SearchSpace
from binas_deploy.space_file import load_space

CIFAR10 = load_space("cifar10")
SEEDS = st.integers(0, 10**6)
NANOSECONDS = {"ns": 1.0, "us": 1e3, "ms": 1e6, "s": 1e9}


def drawn(space: SearchSpace, count: int, seed: int) -> list[Architecture]:
    """Distinct random networks, in the order drawn."""
    rng = np.random.default_rng(seed)
    found: dict[Architecture, None] = {}
    while len(found) < count:
        found[space.sample(rng)] = None
    return list(found)


def power_law(space: SearchSpace, archs: Sequence[Architecture], seed: int = 0, noise: float = 0.002) -> Floats:
    """Latencies in ns that follow the MACs, about 5e9 MAC/s, with a relative noise."""
    macs = np.array([space.macs(arch) for arch in archs], dtype=np.float64)
    return np.asarray(macs**0.9 * np.exp(np.random.default_rng(seed).normal(scale=noise, size=len(archs))))


def rows_of(
    archs: Sequence[Architecture | None], latency_ns: Floats, runs: Iterable[str] | None = None, unit: str = "ms"
) -> SampleRows:
    n = len(archs)
    lines = np.arange(2, n + 2)
    return SampleRows(
        tuple(archs), ("?",) * n, latency_ns, (unit,) * n, lines, tuple(runs or [""] * n), Path("samples.csv")
    )


def kinds(checked: CheckedSamples) -> list[str]:
    return [finding.kind for finding in checked.findings]


def only(checked: CheckedSamples, kind: str) -> Finding:
    """The single finding there is, which must be of that kind."""
    assert kinds(checked) == [kind], [finding.text for finding in checked.findings]
    return checked.findings[0]


@pytest.fixture
def archs(tiny_space: SearchSpace) -> list[Architecture]:
    return drawn(tiny_space, 60, 1)


@pytest.fixture
def latency(tiny_space: SearchSpace, archs: list[Architecture]) -> Floats:
    return power_law(tiny_space, archs)


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    """Writes records (header first) or raw bytes to a CSV file."""

    def write(content: bytes | Sequence[Sequence[object]]) -> Path:
        path = tmp_path / "samples.csv"
        if not isinstance(content, bytes):
            stream = io.StringIO(newline="")
            csv.writer(stream).writerows(content)
            content = stream.getvalue().encode()
        path.write_bytes(content)
        return path

    return write


# Reading


def test_a_file_is_read_with_its_lines_runs_and_the_names_of_other_columns(
    tiny_space: SearchSpace, written: Callable[..., Path]
) -> None:
    one, two = drawn(tiny_space, 2, 0)
    path = written(
        [
            ["host", " Network ", "latency_ms", "run", ""],
            ["a", tiny_space.text(one), "12.5", "monday", ""],
            [],
            ["", "", "", "", ""],
            ["b", json.dumps(two.to_json(), indent=1), " 3e-2 ", " tuesday ", "x"],
            ["c", tiny_space.text(one), "7", "", ""],
        ]
    )
    rows = read_samples(path, tiny_space)
    assert len(rows) == 3
    assert rows.archs == (one, two, one)
    assert rows.texts[0] == tiny_space.text(one)
    np.testing.assert_allclose(rows.latency_ns, [12.5e6, 3e4, 7e6])
    assert rows.units == ("ms",) * 3
    lines_of_json = 1 + json.dumps(two.to_json(), indent=1).count("\n")
    assert rows.lines.tolist() == [2, 5, 5 + lines_of_json]
    assert rows.runs == ("monday", "tuesday", "")
    assert (rows.source, rows.ignored) == (path, ("host", ""))
    with pytest.raises(ValueError, match="read-only"):
        rows.latency_ns[0] = 1.0
    with pytest.raises(FrozenInstanceError):
        rows.source = Path()  # type: ignore[misc]


@pytest.mark.parametrize("name", ["network", "architecture", "arch", "ARCH"])
@pytest.mark.parametrize("unit", list(NANOSECONDS))
def test_the_unit_may_stand_in_the_column_s_name(
    tiny_space: SearchSpace, written: Callable[..., Path], name: str, unit: str
) -> None:
    text = tiny_space.text(tiny_space.smallest())
    rows = read_samples(written([[name, f"latency_{unit}"], [text, "2.5"]]), tiny_space)
    assert rows.archs == (tiny_space.smallest(),)
    assert rows.latency_ns.tolist() == pytest.approx([2.5 * NANOSECONDS[unit]])
    assert rows.units == (unit,)
    assert rows.runs == ("",)


@pytest.mark.parametrize(
    ("cell", "latency_ns", "unit"),
    [
        ("12.3ms", 12.3e6, "ms"),
        ("1e3 us", 1e6, "us"),
        ("4\u00b5s", 4e3, "us"),
        ("4\u03bcs", 4e3, "us"),
        ("0.25ns", 0.25, "ns"),
        ("+2s", 2e9, "s"),
        ("-3ms", -3e6, "ms"),
        ("0s", 0.0, "s"),
        ("5", 5e6, "ms"),
    ],
)
def test_the_unit_may_stand_in_the_cell_and_bare_numbers_take_the_given_one(
    tiny_space: SearchSpace, written: Callable[..., Path], cell: str, latency_ns: float, unit: str
) -> None:
    text = tiny_space.text(tiny_space.smallest())
    rows = read_samples(written([["latency", "arch"], [cell, text]]), tiny_space, unit="ms")
    assert rows.latency_ns.tolist() == pytest.approx([latency_ns])
    assert rows.units == (unit,)


@pytest.mark.parametrize("column", ["latency", "latency_us"])
@pytest.mark.parametrize(
    "cell", ["", "fast", "nan", "inf", "1e999", "1_000us", "1,5us", "2 parsecs", "3MB", "us", "1.5ms"]
)
def test_a_latency_that_cannot_be_read_is_nan_and_one_that_contradicts_its_column_too(
    tiny_space: SearchSpace, written: Callable[..., Path], column: str, cell: str
) -> None:
    path = written([["arch", column], [tiny_space.text(tiny_space.smallest()), cell]])
    read = read_samples(path, tiny_space).latency_ns
    assert read.tolist() == [1.5e6] if (column, cell) == ("latency", "1.5ms") else np.isnan(read).all()


def test_a_bare_number_is_refused(tiny_space: SearchSpace, written: Callable[..., Path]) -> None:
    text = tiny_space.text(tiny_space.smallest())
    path = written([["arch", "latency"], [text, "3ms"], [text, "12.5"]])
    with pytest.raises(InputError, match=r"samples.csv: line 3: latency '12.5' has no unit.*latency_ms.*12.3ms"):
        read_samples(path, tiny_space)


@pytest.mark.parametrize("unit", ["", "parsecs", "MB", "0ms", "e3ms", "1"])
def test_a_given_unit_is_one_of_time(tiny_space: SearchSpace, written: Callable[..., Path], unit: str) -> None:
    for column in ("latency", "latency_ms"):
        with pytest.raises(InputError, match="Use one of: ns, us, ms, s"):
            read_samples(written([["arch", column], ["", "1"]]), tiny_space, unit=unit)


def test_a_given_unit_may_repeat_the_column_s_name_but_not_contradict_it(
    tiny_space: SearchSpace, written: Callable[..., Path]
) -> None:
    path = written([["arch", "latency_us"], [tiny_space.text(tiny_space.smallest()), "8"]])
    assert read_samples(path, tiny_space, unit="\u00b5s").latency_ns.tolist() == [8e3]
    with pytest.raises(InputError, match="unit 'ms' was given, and the column is 'latency_us'"):
        read_samples(path, tiny_space, unit="ms")


HOSTILE_NETWORKS = [
    "",
    "[" * 10_000,
    "-" * 10_000 + "1",
    "{[1]: 2}",
    "[['\\d']]",
    "0x1for x in y",
    "[['ir_r1_k5_s2_e1.2.3_c24']]",
    '{"depths": [1e999], "options": [[1]]}',
    '{"depths": 3, "options": null}',
    "[" + "1," * 30_000 + "]",
    "9" * 5_000,
]


@pytest.mark.parametrize("text", HOSTILE_NETWORKS, ids=range(len(HOSTILE_NETWORKS)))
def test_no_network_text_stops_the_reading(
    tiny_space: SearchSpace, written: Callable[..., Path], text: str, archs: list[Architecture], latency: Floats
) -> None:
    good = [[tiny_space.text(arch), f"{ns}ns"] for arch, ns in zip(archs, latency, strict=True)]
    rows = read_samples(written([["arch", "latency"], *good, [text, "1ms"]]), tiny_space)
    assert rows.archs[-1] is None
    finding = only(check_samples(tiny_space, rows), "foreign" if "e999" in text else "unreadable")
    assert finding.lines == (62,)
    assert len(finding.text) < 500


BAD_FILES = [
    (b"", InputError, "line 1: .*exactly one column of network, architecture, arch; it has nothing"),
    (b"arch;latency_ms\nx;1\n", InputError, ".*it has 'arch;latency_ms'. Columns are separated by commas"),
    (b"arch,time\nx,1\n", InputError, ".*one column of latency_ns, .*; it has 'arch', 'time'"),
    (b"\narch,network,latency_ms\n", InputError, "line 2: .*it has 'arch', 'network'"),
    (b"arch,latency_ms,latency\n", InputError, ".*it has 'latency_ms', 'latency'"),
    (b"arch,latency_ms,note,Note\n", DocumentError, "line 1: the header has 'note' twice"),
    (b"arch,latency_ms\nx,1\nx\n", DocumentError, "line 3: 1 cells, the header has 2.*double quotes"),
    (b"arch,latency_ms\n[['a','b']],1\n", DocumentError, "line 2: 3 cells, the header has 2"),
    (b'arch,latency_ms\nx,1\n"x,1\n', DocumentError, r"line 3: not CSV \(unexpected end of data\)"),
    (b'arch,latency_ms\n"x"y,1\n', DocumentError, "line 2: not CSV"),
    (b"arch,latency_ms\n" + b"x" * 140_000 + b",1\n", DocumentError, "line 2: not CSV .*limit"),
    (b"arch,latency_ms\nx,1\nx\0,1\n", DocumentError, "line 3: a NUL byte; samples are CSV in UTF-8"),
    ("arch,latency_ms\n".encode("utf-16"), DocumentError, "line 1: a NUL byte"),
    (b"arch,latency_ms\nx,1\n\xff\xfe,1\n", DocumentError, "line 3: not text in UTF-8"),
]


@pytest.mark.parametrize(("content", "error", "message"), BAD_FILES, ids=range(len(BAD_FILES)))
def test_a_malformed_file_is_refused_by_line(
    tiny_space: SearchSpace, written: Callable[..., Path], content: bytes, error: type[BinasError], message: str
) -> None:
    with pytest.raises(error, match=f"samples.csv: {message}"):
        read_samples(written(content), tiny_space)


@settings(max_examples=60)
@given(content=st.one_of(st.binary(max_size=80), st.text(max_size=80).map(str.encode)), headed=st.booleans())
def test_whatever_bytes_there_are_only_our_errors_come_out(
    tiny_space: SearchSpace, tmp_path_factory: pytest.TempPathFactory, content: bytes, headed: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.csv"
    path.write_bytes(b"arch,latency\n" * headed + content)
    try:
        check_samples(tiny_space, read_samples(path, tiny_space))
    except InputError:
        return
    pytest.fail("eight networks out of nothing")


def test_a_byte_order_mark_is_no_part_of_the_header(tiny_space: SearchSpace, written: Callable[..., Path]) -> None:
    assert len(read_samples(written(b"\xef\xbb\xbfarch,latency_ms\r\nx,1\r\n"), tiny_space)) == 1


def test_size_rows_and_places_are_limited(
    tiny_space: SearchSpace, written: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(b"arch,latency_ms\n" + b"x,1\n" * 4)
    monkeypatch.setattr(file, "MAX_ROWS", 3)
    with pytest.raises(DocumentError, match="line 5: over 3 rows"):
        read_samples(path, tiny_space)
    monkeypatch.setattr(file, "MAX_DOCUMENT_BYTES", 31)
    with pytest.raises(DocumentError, match=r"samples\.csv: over 0 MiB"):
        read_samples(path, tiny_space)
    with pytest.raises(InputError, match="no such file"):
        read_samples(tmp_path / "none.csv", tiny_space)
    with pytest.raises(EnvironmentFault, match="cannot read"):
        read_samples(tmp_path, tiny_space)


@pytest.mark.skipif(os.name != "posix", reason="needs /dev/zero")
def test_a_file_without_an_end_is_refused(tiny_space: SearchSpace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file, "MAX_DOCUMENT_BYTES", 2**20)
    with pytest.raises(DocumentError, match="over 1 MiB"):
        read_samples(Path("/dev/zero"), tiny_space)


def test_rows_of_unequal_fields_are_refused(tiny_space: SearchSpace) -> None:
    with pytest.raises(InputError, match="every row has"):
        rows_of([tiny_space.smallest()], np.array([1.0, 2.0]))


# What a clean file gives


@settings(max_examples=25)
@given(seed=SEEDS, count=st.integers(8, 80))
def test_a_clean_file_gives_no_findings(seed: int, count: int) -> None:
    archs = drawn(CIFAR10, count, seed)
    latency = power_law(CIFAR10, archs, seed)
    checked = check_samples(CIFAR10, rows_of(archs, latency))
    assert [finding.text for finding in checked.findings] == []
    assert set(checked.archs) == set(archs)
    assert dict(zip(checked.archs, checked.latency_ns, strict=True)) == dict(zip(archs, latency, strict=True))
    assert checked.counts.tolist() == [1] * count
    assert checked.noise == 0.0


def test_where_macs_say_little_no_row_is_blamed_and_drift_has_its_stated_error_rate() -> None:
    """Each option has a speed of its own, so residuals are large, but the order is random."""
    alarms = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        speed = rng.uniform(0.5, 2.0, size=(len(CIFAR10.stages), 12))
        archs = drawn(CIFAR10, 50, seed)
        latency = np.array([_own_speeds(arch, speed) for arch in archs])
        found = kinds(check_samples(CIFAR10, rows_of(archs, latency)))
        assert set(found) <= {"drift"}
        alarms += bool(found)
    assert alarms <= 5


def _own_speeds(arch: Architecture, speed: Floats) -> float:
    blocks = [(s, j, c) for s, row in enumerate(arch.options) for j, c in enumerate(row)]
    return 1e5 + sum(CIFAR10.block(s, j, c).macs * float(speed[s, c]) for s, j, c in blocks)


def test_the_whole_way_from_a_file(tiny_space: SearchSpace, written: Callable[..., Path]) -> None:
    archs = drawn(tiny_space, 20, 3)
    latency = power_law(tiny_space, archs)
    records = [[tiny_space.text(arch), repr(float(ns) / 1e6)] for arch, ns in zip(archs, latency, strict=True)]
    checked = check_samples(tiny_space, read_samples(written([["network", "latency_ms"], *records]), tiny_space))
    assert checked.findings == ()
    assert list(checked.archs) == sorted(archs, key=lambda arch: (arch.depths, arch.options))
    np.testing.assert_allclose(sorted(checked.latency_ns), sorted(latency))
    with pytest.raises(ValueError, match="read-only"):
        checked.latency_ns[0] = 1.0


# Rows that cannot be used


def test_unreadable_foreign_and_non_positive_rows_are_dropped_and_told(
    tiny_space: SearchSpace, archs: list[Architecture], latency: Floats
) -> None:
    latency[[3, 5]] = np.nan
    latency[[7, 9]] = 0.0, -2e6
    cifar10 = CIFAR10.text(CIFAR10.smallest())
    rows = rows_of([*archs, None, None, CIFAR10.smallest()], np.append(latency, [1e5, 1e5, 1e5]))
    rows = replace(rows, texts=("?",) * 60 + ("not a network", cifar10, "?"))
    checked = check_samples(tiny_space, rows)
    assert kinds(checked) == ["unreadable", "foreign", "non-positive"]
    unreadable, foreign, non_positive = checked.findings
    assert unreadable.lines == (5, 7, 62)
    assert foreign.lines == (63, 64)
    assert foreign.text == (
        "foreign: 2 rows with a network that space 'tiny' does not have (the first: the network has 6 stages, space "
        "'tiny' has 3) (lines 63 and 64); dropped."
    )
    assert non_positive.lines == (9, 11)
    assert "(the first: 0 ms)" in non_positive.text
    assert len(checked.archs) == 56
    assert not {archs[i] for i in (3, 5, 7, 9)} & set(checked.archs)


def test_a_network_that_is_no_option_of_the_space_is_foreign_and_its_reason_short(
    tiny_space: SearchSpace, archs: list[Architecture], latency: Floats
) -> None:
    text = CIFAR10.text(CIFAR10.smallest())
    rows = rows_of([*drawn(CIFAR10, 20, 0), None], power_law(CIFAR10, [*drawn(CIFAR10, 20, 0), CIFAR10.smallest()]))
    rows = replace(rows, texts=("?",) * 20 + (text.replace("_k3_s2_e2", "_k7_s2_e2"),))
    finding = only(check_samples(CIFAR10, rows), "foreign")
    assert "is not in space 'cifar10'; allowed here are" in finding.found
    assert len(finding.text) < 400


def test_over_half_dropped_is_refused_with_the_findings(
    tiny_space: SearchSpace, archs: list[Architecture], latency: Floats
) -> None:
    latency[:30] = 0.0
    assert only(check_samples(tiny_space, rows_of(archs, latency)), "non-positive").done == "dropped"
    latency[30] = np.nan
    with pytest.raises(InputError, match=r"(?s)31 of 60 rows had to be dropped.*unreadable: 1 row .*non-positive: 30"):
        check_samples(tiny_space, rows_of(archs, latency))


def test_fewer_than_eight_networks_are_refused(tiny_space: SearchSpace) -> None:
    archs = drawn(tiny_space, 8, 0)
    latency = power_law(tiny_space, archs)
    assert len(check_samples(tiny_space, rows_of(archs, latency)).archs) == 8
    with pytest.raises(InputError, match="7 usable networks in 14 rows; at least 8 different ones are needed"):
        check_samples(tiny_space, rows_of(archs[:7] * 2, np.tile(latency[:7], 2)))
    with pytest.raises(InputError, match="0 usable networks in 0 rows"):
        check_samples(tiny_space, rows_of([], np.zeros(0)))
    latency[0] *= 1000
    with pytest.raises(InputError, match=r"(?s)7 usable networks in 8 rows.*mis-scaled: 1 row"):
        check_samples(tiny_space, rows_of(archs, latency))


# Units


@settings(max_examples=25)
@given(seed=SEEDS, power=st.sampled_from([3, -3, 6, -6]), off=st.floats(0.5, 2.0), count=st.integers(1, 12))
def test_rows_in_another_unit_are_dropped_with_the_unit_that_fits(
    seed: int, power: int, off: float, count: int
) -> None:
    archs = drawn(CIFAR10, 30, seed)
    clean = power_law(CIFAR10, archs, seed)
    latency, chosen = clean.copy(), np.random.default_rng(seed).permutation(30)[:count]
    latency[chosen] *= off * 10.0**power
    finding = only(check_samples(CIFAR10, rows_of(archs, latency, unit="us")), "mis-scaled")
    assert finding.lines == tuple(sorted(int(i) + 2 for i in chosen))
    assert f"10^{abs(power)} times {'slower' if power > 0 else 'faster'}" in finding.found
    assert {3: "would fit in ns", -3: "would fit in ms", -6: "would fit in s"}.get(power, "says") in finding.found
    assert finding.done == "dropped"


def test_eight_rows_are_enough_to_find_one_in_another_unit(tiny_space: SearchSpace) -> None:
    archs = drawn(tiny_space, 9, 4)
    latency = power_law(tiny_space, archs)
    latency[4] *= 1000
    assert only(check_samples(tiny_space, rows_of(archs, latency)), "mis-scaled").lines == (6,)


def test_a_file_half_in_another_unit_is_refused(
    tiny_space: SearchSpace, archs: list[Architecture], latency: Floats
) -> None:
    latency[::2] *= 1000
    with pytest.raises(InputError, match=r"mis-scaled: 30 of 60 rows .*the file mixes units"):
        check_samples(tiny_space, rows_of(archs, latency))


def test_an_implausible_file_is_refused_with_the_units_that_would_do(
    tiny_space: SearchSpace, archs: list[Architecture], latency: Floats
) -> None:
    assert check_samples(tiny_space, rows_of(archs, latency * 1e3, unit="s")).findings == ()
    with pytest.raises(InputError, match=r"read as s, mean about 10\^[345].*in ns .* or us .* or ms .*seconds"):
        check_samples(tiny_space, rows_of(archs, latency * 1e6, unit="s"))
    with pytest.raises(InputError, match=r"read as ns, mean about 10\^1[678].*plausible in us"):
        check_samples(tiny_space, rows_of(archs, latency / 1e8, unit="ns"))
    with pytest.raises(InputError, match=r"State the unit"):
        check_samples(tiny_space, rows_of(archs, latency * 1e-200))


# Outliers


@settings(max_examples=25)
@given(seed=SEEDS, factor=st.sampled_from([0.05, 0.5, 1.7, 40.0]))
def test_a_single_row_far_away_is_dropped(seed: int, factor: float) -> None:
    archs = drawn(CIFAR10, 40, seed)
    latency = power_law(CIFAR10, archs, seed)
    latency[11] *= factor
    finding = only(check_samples(CIFAR10, rows_of(archs, latency)), "outlier")
    assert finding.lines == (13,)
    assert finding.done == "dropped as accidents of measuring"
    assert ("slower" if factor > 1 else "faster") in finding.found


def test_many_rows_far_away_are_a_property_of_the_device_and_stay(
    tiny_space: SearchSpace, archs: list[Architecture], latency: Floats
) -> None:
    order = np.random.default_rng(0).permutation(60)
    latency[order[:4]] *= 2
    checked = check_samples(tiny_space, rows_of(archs, latency))
    finding = next(finding for finding in checked.findings if finding.kind == "outlier")
    assert finding.lines == tuple(sorted(int(i) + 2 for i in order[:4]))
    assert finding.done.startswith("kept")
    assert len(checked.archs) == 60


def test_the_line_is_the_median_of_all_slopes_and_a_quarter_of_wild_points_does_not_move_it() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(10, 20, size=40)
    y = 3 + 0.7 * x + rng.normal(scale=0.01, size=40)
    pairs = itertools.combinations(range(40), 2)
    slope = np.median([(y[j] - y[i]) / (x[j] - x[i]) for i, j in pairs])
    assert robust_line(x, y).slope == pytest.approx(slope)
    y[:10] += rng.uniform(5, 50, size=10)
    line = robust_line(x, y)
    assert line.slope == pytest.approx(0.7, abs=0.02)
    assert line.intercept + 15 * line.slope == pytest.approx(13.5, abs=0.03)
    assert robust_line(np.full(9, 2.0), np.arange(9.0)).slope == 0.0
    many = rng.uniform(10, 20, size=5_000)
    assert robust_line(many, 2 * many).slope == pytest.approx(2)


# Repeated and rounded rows


def test_repeated_networks_are_merged_by_the_median(
    tiny_space: SearchSpace, archs: list[Architecture], latency: Floats
) -> None:
    rng = np.random.default_rng(5)
    repeats = np.exp(rng.normal(scale=0.01, size=(60, 5))) * latency[:, None]
    order = rng.permutation(300)
    rows = rows_of([archs[i // 5] for i in order], repeats.ravel()[order])
    checked = check_samples(tiny_space, rows)
    finding = next(finding for finding in checked.findings if finding.kind == "duplicate")
    assert "60 networks measured more than once" in finding.found
    assert len(finding.lines) == 300
    assert "lines 2, 3, 4, 5, 6 and 295 more, 300 in all" in finding.text
    assert checked.noise == pytest.approx(0.01, rel=0.15)
    assert checked.counts.tolist() == [5] * 60
    expected = dict(zip(archs, np.median(repeats, axis=1), strict=True))
    assert dict(zip(checked.archs, checked.latency_ns, strict=True)) == expected


def test_networks_that_disagree_with_themselves_are_told_apart(
    tiny_space: SearchSpace, archs: list[Architecture], latency: Floats
) -> None:
    rows = rows_of([*archs, archs[0], archs[1]], np.append(latency, [latency[0] * 1.01, latency[1] * 1.2]))
    checked = check_samples(tiny_space, rows)
    merged, apart = (finding for finding in checked.findings if finding.kind == "duplicate")
    assert merged.lines == (2, 3, 62, 63)
    assert apart.lines == (3, 63)
    assert "1 network whose own rows disagree by over 10 %" in apart.text
    place = checked.archs.index(archs[1])
    assert checked.latency_ns[place] == pytest.approx(1.1 * latency[1])
    assert checked.counts[place] == 2


@settings(max_examples=25)
@given(seed=SEEDS, step=st.sampled_from([0.1, 0.2, 0.5, 1.0, 2.0]))
def test_rounded_latencies_are_told_with_their_step(seed: int, step: float) -> None:
    archs = drawn(CIFAR10, 60, seed)
    milliseconds = power_law(CIFAR10, archs, seed)
    milliseconds *= 14.0 / np.median(milliseconds)
    rounded = np.rint(milliseconds / step) * step * 1e6
    checked = check_samples(CIFAR10, rows_of(archs, rounded))
    finding = next(finding for finding in checked.findings if finding.kind == "rounded")
    assert f"multiples of {f'{step:g} ms' if step >= 1 else f'{1000 * step:g} us'}, " in finding.found
    assert finding.lines == ()
    assert checked.noise == pytest.approx(step * 1e6 / np.sqrt(12) / np.median(rounded))


@given(
    values=st.lists(st.integers(1, 2_000), min_size=8, max_size=30), exponent=st.integers(-3, 9), whole=st.booleans()
)
def test_the_step_is_the_largest_decimal_one_that_divides_all(values: list[int], exponent: int, whole: bool) -> None:
    scaled = np.array(values, dtype=np.float64) * 10.0**exponent
    steps = [m * 10**k for k in range(4) for m in (1, 2, 5)]
    fitting = [step for step in steps if all(value % step == 0 for value in values)]
    coarse = [step for step in fitting if step > 0.005 * float(np.median(values))]
    assert rounding_step(scaled) == pytest.approx(max(coarse, default=0) * 10.0**exponent)
    assert rounding_step(scaled * (1 + 1e-4 * np.arange(len(values)))) == 0.0 or not whole


# Networks that contain others


def contains(space: SearchSpace, outer: Architecture, inner: Architecture) -> bool:
    """The definition: blocks that do nothing aside, each stage begins like the inner one's, and one is longer."""
    longer = False
    for s, (big, small) in enumerate(zip(outer.options, inner.options, strict=True)):
        big_work, small_work = (
            [option for j, c in enumerate(row) if (option := space.stages[s].options[j][c]).op is not Op.IDENTITY]
            for row in (big, small)
        )
        if len(small_work) > len(big_work) or any(a != b for a, b in zip(small_work, big_work, strict=False)):
            return False
        longer |= len(big_work) > len(small_work)
    return longer


@settings(max_examples=15)
@given(seed=SEEDS, count=st.integers(1, 150))
def test_containment_is_what_brute_force_says(tiny_space: SearchSpace, seed: int, count: int) -> None:
    archs = drawn(tiny_space, count, seed)
    found = list(contained_pairs(work(tiny_space, archs)))
    both = itertools.permutations(range(count), 2)
    expected = {(inner, outer) for inner, outer in both if contains(tiny_space, archs[outer], archs[inner])}
    assert len(found) == len(set(found))
    assert set(found) == expected


def test_containment_stays_quick_in_a_large_space() -> None:
    archs = drawn(CIFAR10, 1_500, 0)
    for arch in archs[:500]:  # each with its first stage cut short, where it can be
        row = arch.options[1][:2]
        archs.append(Architecture((1, 2, *arch.depths[2:]), (arch.options[0], row, *arch.options[2:])))
    archs = list(dict.fromkeys(archs))
    pairs = list(contained_pairs(work(CIFAR10, archs)))
    assert len(pairs) >= 300
    assert all(contains(CIFAR10, archs[outer], archs[inner]) for inner, outer in pairs)


def test_a_network_faster_than_one_it_contains_is_named(
    tiny_space: SearchSpace, archs: list[Architecture], latency: Floats
) -> None:
    pairs = contained_pairs(work(tiny_space, archs))
    inner, outer = min(pairs, key=lambda pair: latency[pair[1]] / latency[pair[0]])
    latency[outer] = 0.9 * latency[inner]
    checked = check_samples(tiny_space, rows_of(archs, latency))
    finding = next(finding for finding in checked.findings if finding.kind == "non-monotone")
    assert {inner + 2, outer + 2} <= set(finding.lines)
    assert "%) in which a network is over 3 % faster than one that it contains; at most" in finding.found
    assert set(checked.archs) == set(archs)


def test_pairs_within_three_times_the_noise_are_not_blamed_and_a_cap_is_told(tiny_space: SearchSpace) -> None:
    archs = list(tiny_space.networks())
    latency = 1e6 / np.array([tiny_space.macs(arch) for arch in archs])  # the more work, the faster
    rows = rows_of(archs, latency)
    networks = merge(Points.of(tiny_space, rows, np.arange(len(rows))))
    (finding,) = non_monotone_findings(tiny_space, networks, noise=0.0)
    assert "only" not in finding.found
    (stricter,) = non_monotone_findings(tiny_space, networks, noise=0.05)
    assert int(stricter.found.split()[0]) < int(finding.found.split()[0])
    assert "over 15 % faster" in stricter.found
    assert non_monotone_findings(tiny_space, networks, noise=1.0) == ()
    (capped,) = non_monotone_findings(tiny_space, networks, noise=0.0, most=50)
    assert "of 50 (" in capped.found
    assert "only 50 such pairs were compared" in capped.found


# Drift


@pytest.mark.parametrize("runs", [1, 3])
def test_a_trend_is_told_and_kept(runs: int) -> None:
    archs = drawn(CIFAR10, 90, 0)
    latency = power_law(CIFAR10, archs)
    names = [f"run {i % runs}" for i in range(90)]
    drifted = latency * np.exp(np.linspace(0, 0.05, 90))
    checked = check_samples(CIFAR10, rows_of(archs, drifted, names))
    finding = only(checked, "drift")
    assert "a trend of +" in finding.found
    assert "in random order, interleaved" in finding.done
    assert "ordered" not in finding.found
    assert len(checked.archs) == 90


def test_a_speed_that_wanders_is_told_and_a_step_between_runs_is_no_drift() -> None:
    archs = drawn(CIFAR10, 80, 1)
    latency = power_law(CIFAR10, archs)
    wandering = latency * np.exp(0.05 * np.sin(np.arange(80) / 4))
    assert "lag-1 autocorrelation of 0.9" in only(check_samples(CIFAR10, rows_of(archs, wandering)), "drift").found
    stepped = latency * np.repeat([1.0, 1.1], 40)
    assert kinds(check_samples(CIFAR10, rows_of(archs, stepped))) == ["drift"]
    runs = ["a"] * 40 + ["b"] * 40
    assert check_samples(CIFAR10, rows_of(archs, stepped, runs)).findings == ()


def test_an_order_by_size_is_named_as_a_possible_reason() -> None:
    archs = sorted(drawn(CIFAR10, 80, 2), key=CIFAR10.macs)
    latency = power_law(CIFAR10, archs) + 1e6  # an offset bends the line
    bent = np.asarray(latency * np.exp(0.5 * np.log([CIFAR10.macs(arch) / 1e7 for arch in archs]) ** 2))
    assert "also ordered by the size" in only(check_samples(CIFAR10, rows_of(archs, bent)), "drift").found


def test_rows_of_one_network_that_follow_each_other_are_one_visit() -> None:
    """Five rows in turn share the misfit of their network, which is no drift."""
    archs = drawn(CIFAR10, 30, 3)
    latency = power_law(CIFAR10, archs, noise=0.05)
    repeats = np.exp(np.random.default_rng(0).normal(scale=0.002, size=150)) * np.repeat(latency, 5)
    repeated = [arch for arch in archs for _ in range(5)]
    assert kinds(check_samples(CIFAR10, rows_of(repeated, repeats))) == ["duplicate"]


def test_the_end_of_a_file_slowed_down_is_drift_and_a_single_row_there_is_not() -> None:
    archs = drawn(CIFAR10, 60, 5)
    latency = power_law(CIFAR10, archs)
    throttled, accident = latency.copy(), latency.copy()
    throttled[-8:] *= 1.3
    accident[-1] *= 1.2
    found = only(check_samples(CIFAR10, rows_of(archs, throttled)), "drift").found
    assert float(found.split("trend of +")[1].split(" %")[0]) > 10
    assert check_samples(CIFAR10, rows_of(archs, accident)).findings == ()


def test_runs_too_short_to_show_anything_show_no_drift() -> None:
    archs = drawn(CIFAR10, 20, 4)
    latency = power_law(CIFAR10, archs) * np.exp(np.linspace(0, 0.3, 20))
    assert check_samples(CIFAR10, rows_of(archs, latency, [str(i // 2) for i in range(20)])).findings == ()


# The order of rows, and findings as text


@settings(max_examples=25)
@given(seed=SEEDS)
def test_the_order_of_rows_changes_nothing_but_drift(tiny_space: SearchSpace, seed: int) -> None:
    rng = np.random.default_rng(seed)
    archs: list[Architecture | None] = [*drawn(tiny_space, 40, seed)]
    archs += archs[:10]
    latency = power_law(tiny_space, [arch for arch in archs if arch], seed, noise=0.02)
    latency[rng.permutation(50)[:5]] *= rng.choice([1e3, 1e-6, -1.0, 30.0, np.nan], size=5)
    order = rng.permutation(50)
    rows = rows_of(archs, latency)
    moved = replace(rows, archs=tuple(archs[i] for i in order), latency_ns=latency[order], lines=rows.lines[order])
    one, two = check_samples(tiny_space, rows), check_samples(tiny_space, moved)
    assert one.archs == two.archs
    assert one.latency_ns.tolist() == two.latency_ns.tolist()
    assert one.counts.tolist() == two.counts.tolist()
    assert one.noise == pytest.approx(two.noise)

    def told(checked: CheckedSamples) -> set[tuple[str, frozenset[int]]]:
        return {(f.kind, frozenset(f.lines)) for f in checked.findings if f.kind not in ("drift", "non-monotone")}

    assert told(one) == told(two)


def test_a_finding_reads_as_one_sentence_and_writes_all_its_lines() -> None:
    finding = Finding("outlier", tuple(range(2, 12)), "10 rows far away", "kept")
    assert finding.text == "outlier: 10 rows far away (lines 2, 3, 4, 5, 6 and 5 more, 10 in all); kept."
    assert finding.to_json() == {
        "kind": "outlier",
        "lines": list(range(2, 12)),
        "found": "10 rows far away",
        "done": "kept",
    }
    assert Finding("rounded", (), "all", "kept").text == "rounded: all; kept."
    assert [lines_text(range(n)) for n in (1, 2, 3)] == ["line 0", "lines 0 and 1", "lines 0, 1 and 2"]
    with pytest.raises(FrozenInstanceError):
        finding.done = ""  # type: ignore[misc]
