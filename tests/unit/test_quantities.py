from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binas_deploy.errors import InputError
from binas_deploy.quantities import Quantity, format_quantity, parse_quantity

NS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9}


@pytest.mark.parametrize(
    ("text", "kind", "amount"),
    [
        ("30ms", "time", 30_000_000),
        ("0.5ms", "time", 500_000),
        (" 30 ms ", "time", 30_000_000),
        (".5us", "time", 500),
        ("5.s", "time", 5 * 10**9),
        ("1e3ns", "time", 1000),
        ("30\u00b5s", "time", 30_000),
        ("30\u03bcs", "time", 30_000),
        ("2MB", "size", 2_000_000),
        ("2MiB", "size", 2 * 2**20),
        ("1B", "size", 1),
        ("12mJ", "energy", 12_000_000),
        ("40uJ", "energy", 40_000),
        ("40\u00b5J", "energy", 40_000),
        ("1.5J", "energy", 1_500_000_000),
        ("2M", "count", 2_000_000),
        ("1.5k", "count", 1500),
        ("3 G", "count", 3 * 10**9),
        ("2000000", "count", 2_000_000),
        ("2e6", "count", 2_000_000),
        ("1ns", "time", 1),
        ("1000000000s", "time", 10**18),
    ],
)
def test_reads_a_number_and_its_unit(text: str, kind: str, amount: int) -> None:
    assert parse_quantity(text, kind) == Quantity(kind, amount)


@given(st.integers(1, 10**9), st.integers(0, 6), st.sampled_from(sorted(NS)))
def test_agrees_with_exact_fractions(digits: int, places: int, unit: str) -> None:
    exact = Fraction(digits, 10**places) * NS[unit]
    text = f"{digits / 10**places:.{places}f}{unit}" if places else f"{digits}{unit}"
    if exact < 1:
        with pytest.raises(InputError, match="out of range"):
            parse_quantity(text)
    else:
        assert parse_quantity(text).amount == round(exact)


def test_a_bare_number_is_refused_with_the_fix() -> None:
    with pytest.raises(InputError, match=r"'30' has no unit\. Write one of: 30ns, 30us, 30ms, 30s\."):
        parse_quantity("30")


@pytest.mark.parametrize("text", ["0ms", "-3ms", "0.4ns", "1000000001s", "1e30s"])
def test_zero_negative_and_absurd_are_refused_with_the_range(text: str) -> None:
    with pytest.raises(InputError, match=r"out of range: a time lies between 1 ns and 1000000000\.0 s"):
        parse_quantity(text)


@pytest.mark.parametrize("exponent", ["999999999", "-999999999", "99999999999999999999", "-99999999999999999999"])
def test_exponents_beyond_any_decimal_are_out_of_range(exponent: str) -> None:
    with pytest.raises(InputError, match="out of range"):
        parse_quantity(f"1e{exponent}ms")


@pytest.mark.parametrize("text", ["", "ms", "nan ms", "infms", "1_0ms", "30ms!", "3 0ms", "--3ms", "0x10ms"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"is not a quantity|unit"):
        parse_quantity(text)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("30MB", "time"),
        ("30MS", "time"),
        ("30ms", "size"),
        ("3hours", "time"),
        ("30M", "time"),
        ("30ms", "count"),
        ("30m", "count"),
    ],
)
def test_another_unit_is_refused_naming_those_allowed(text: str, kind: str) -> None:
    with pytest.raises(InputError, match=f"is not a unit of {kind}"):
        parse_quantity(text, kind)


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        quantity = parse_quantity(text)
    except InputError:
        return
    assert 1 <= quantity.amount <= 10**18


@pytest.mark.parametrize(
    ("amount", "kind", "text"),
    [
        (503_200, "time", "0.503 ms"),
        (10**10, "time", "10.0 s"),
        (2_500_000, "size", "2.50 MB"),
        (100, "size", "100 B"),
        (5_000_000, "energy", "5.000 mJ"),
        (40_000, "energy", "40.000 uJ"),
        (8_130_000, "count", "8.13 M"),
        (99_999, "count", "99999"),
    ],
)
def test_is_shown_readably(amount: int, kind: str, text: str) -> None:
    assert format_quantity(amount, kind) == text == str(Quantity(kind, amount))


@pytest.mark.parametrize("text", ["0", "-2M", "0.2", "2e18k"])
def test_counts_have_a_range_too(text: str) -> None:
    with pytest.raises(InputError, match=r"out of range: a count lies between 1 and "):
        parse_quantity(text, "count")


@pytest.mark.parametrize(
    ("amount", "kind", "text"),
    [
        (500_000, "time", "0.5ms"),
        (300_000, "size", "300kB"),
        (4_500_000, "size", "4.5MB"),
        (999, "size", "999B"),
        (2_000_000, "count", "2M"),
        (1_234, "count", "1.234k"),
        (7, "count", "7"),
        (5_000_000, "energy", "5mJ"),
        (1, "energy", "0.001uJ"),
    ],
)
def test_the_exact_text_has_a_fitting_unit(amount: int, kind: str, text: str) -> None:
    assert Quantity(kind, amount).text == text


@given(st.integers(1, 10**18), st.sampled_from(["time", "size", "energy", "count"]))
def test_the_exact_text_is_read_back(amount: int, kind: str) -> None:
    assert parse_quantity(Quantity(kind, amount).text, kind) == Quantity(kind, amount)
