from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binas_deploy.budget import LATENCY, RESOURCES, Budget
from binas_deploy.errors import InputError
from binas_deploy.quantities import Quantity

DEVICES = st.none() | st.from_regex(r"[a-z0-9][a-z0-9_-]{0,20}", fullmatch=True).filter(
    lambda name: name not in RESOURCES
)


def test_states_everything_that_a_bare_number_leaves_open() -> None:
    budget = Budget.parse("30ms")
    assert budget == Budget(Quantity("time", 30_000_000), None, "median", "back-to-back")
    assert (budget.resource, budget.limit) == ("latency", 30_000_000)


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
    "text",
    [
        "0ms",
        "-1ms",
        "cpu=0s",
        "1e99s",
        "1e999999999ms",
        "0.1ns",
        "2MB",
        "5mW",
        "0J",
        "30M",
        "cpu=8M",
        "",
        "cpu=",
        "fast",
    ],
)
def test_zero_negative_absurd_and_foreign_are_refused(text: str) -> None:
    with pytest.raises(InputError):
        Budget.parse(text)


@pytest.mark.parametrize("text", ["=30ms", "a=b=30ms", "../x=30ms", "My CPU=30ms"])
def test_a_malformed_device_is_refused_with_the_form(text: str) -> None:
    with pytest.raises(InputError, match=r"is not a device name.*30ms or cpu=30ms"):
        Budget.parse(text)


# What is not a latency


@pytest.mark.parametrize(
    ("text", "resource", "quantity"),
    [
        ("params=2M", "params", Quantity("count", 2_000_000)),
        ("params=2000000", "params", Quantity("count", 2_000_000)),
        (" macs = 8 M ", "macs", Quantity("count", 8_000_000)),
        ("weights=4MB", "weights", Quantity("size", 4_000_000)),
        ("memory=300kB", "memory", Quantity("size", 300_000)),
        ("energy=5mJ", "energy", Quantity("energy", 5_000_000)),
        ("latency=0.5ms", "latency", Quantity("time", 500_000)),
    ],
)
def test_names_its_resource(text: str, resource: str, quantity: Quantity) -> None:
    budget = Budget.parse(text)
    assert budget == Budget(quantity, resource=resource)
    assert (budget.device, budget.limit) == (None, quantity.amount)


def test_the_text_of_a_resource() -> None:
    assert str(Budget.parse("params=2000000")) == "params=2M"
    assert str(Budget.parse("memory=300kB")) == "memory=300kB"
    assert str(Budget.parse("latency=0.5ms")) == "0.5ms"


def test_joules_are_energy_and_may_have_a_device() -> None:
    assert Budget.parse("5mJ") == Budget.parse("energy=5mJ")
    on_cpu = Budget.parse("cpu=800uJ")
    assert (on_cpu.resource, on_cpu.device, on_cpu.limit) == ("energy", "cpu", 800_000)
    assert (str(on_cpu), Budget.parse(str(on_cpu))) == ("cpu=0.8mJ", on_cpu)


@given(st.integers(1, 10**18), st.sampled_from(sorted(RESOURCES)))
def test_text_of_every_resource_round_trips(amount: int, resource: str) -> None:
    budget = Budget(Quantity(RESOURCES[resource], amount), resource=resource)
    assert Budget.parse(str(budget)) == budget


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("macs=8ms", "'ms' is not a unit of count. Use one of: k, M, G"),
        ("weights=4M", "'M' is not a unit of size"),
        ("weights=4", "'4' has no unit"),
        ("memory=1s", "'s' is not a unit of size"),
        ("energy=5", "'5' has no unit"),
        ("macs=0", "out of range: a count"),
        ("params=", "not a quantity"),
    ],
)
def test_another_unit_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Budget.parse(text)


@pytest.mark.parametrize(
    ("kind", "device", "resource", "message"),
    [
        ("count", None, "speed", "unknown resource 'speed'. Known: latency, params"),
        ("count", None, LATENCY, "a budget of latency is of kind time, not count"),
        ("time", None, "macs", "a budget of macs is of kind count, not time"),
        ("count", "cpu", "macs", "holds on every device; leave out 'cpu'"),
    ],
)
def test_what_does_not_go_together_is_refused(kind: str, device: str | None, resource: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Budget(Quantity(kind, 1000), device, resource=resource)
