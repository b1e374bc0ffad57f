from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binas_deploy.budget import Budget
from binas_deploy.errors import InputError
from binas_deploy.quantities import Quantity

DEVICES = st.none() | st.from_regex(r"[a-z0-9][a-z0-9_-]{0,20}", fullmatch=True)


def test_states_everything_that_a_bare_number_leaves_open() -> None:
    budget = Budget.parse("30ms")
    assert budget == Budget(Quantity("time", 30_000_000), None, "median", "back-to-back")
    assert budget.limit_ns == 30_000_000


def test_names_its_device() -> None:
    assert Budget.parse("cpu=30ms").device == "cpu"
    assert Budget.parse(" cpu = 30 ms ") == Budget.parse("cpu=30ms")


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (30_000_000, "30ms"),
        (500_000, "0.5ms"),
        (100_000, "0.1ms"),
        (99_999, "99.999us"),
        (999, "999ns"),
        (1, "1ns"),
        (10**10, "10s"),
        (9_999_999_999, "9999.999999ms"),
        (10**18, "1000000000s"),
    ],
)
def test_text_is_exact(amount: int, text: str) -> None:
    assert Budget(Quantity("time", amount)).text == text


@given(st.integers(1, 10**18), DEVICES)
def test_text_round_trips(amount: int, device: str | None) -> None:
    budget = Budget(Quantity("time", amount), device)
    assert Budget.parse(str(budget)) == budget


@pytest.mark.parametrize("text", ["30", "cpu=30"])
def test_a_bare_number_is_refused_with_the_fix(text: str) -> None:
    with pytest.raises(InputError, match=r"'30' has no unit\. Write one of: 30ns, 30us, 30ms, 30s\.") as refusal:
        Budget.parse(text)
    assert refusal.value.exit_code == 2


@pytest.mark.parametrize(
    "text", ["0ms", "-1ms", "cpu=0s", "1e99s", "1e999999999ms", "0.1ns", "2MB", "5mJ", "", "cpu=", "fast"]
)
def test_zero_negative_absurd_and_foreign_are_refused(text: str) -> None:
    with pytest.raises(InputError):
        Budget.parse(text)


@pytest.mark.parametrize("text", ["=30ms", "a=b=30ms", "../x=30ms", "My CPU=30ms"])
def test_a_malformed_device_is_refused_with_the_form(text: str) -> None:
    with pytest.raises(InputError, match=r"is not a device name.*30ms or cpu=30ms"):
        Budget.parse(text)
