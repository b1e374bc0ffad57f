from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binas_deploy.conditions import BACK_TO_BACK, IDENTITY_KEYS, Conditions, cadence_of, period_of
from binas_deploy.errors import DocumentError, InputError, MismatchError

IDENTITY = {key: f"{key} value" for key in IDENTITY_KEYS} | {"threads": "1", "batch": "1"}
CONTEXT = {"governor": "performance", "clock": "3.1 GHz"}


def conditions(**changes: str) -> Conditions:
    return Conditions(IDENTITY | changes, CONTEXT)


def test_the_same_identity_passes_whatever_the_context() -> None:
    conditions().require_same_identity(Conditions(IDENTITY, {}), "the table")


def test_a_different_identity_is_refused_naming_each_key_and_both_values() -> None:
    asked = conditions(threads="2", precision="int8")
    with pytest.raises(MismatchError) as refusal:
        conditions().require_same_identity(asked, "cpu/tiny.json")
    message = str(refusal.value)
    assert message.startswith("cpu/tiny.json")
    assert "threads: table 1, asked 2" in message
    assert "precision: table precision value, asked int8" in message
    assert "batch" not in message
    assert refusal.value.exit_code == 2


@pytest.mark.parametrize("swap", [False, True])
def test_a_key_that_only_one_side_states_is_a_difference(swap: bool) -> None:
    pair = (conditions(), conditions(power_mode="15W"))
    mine, asked = reversed(pair) if swap else pair
    with pytest.raises(MismatchError, match=r"power_mode: .*\(not stated\)"):
        mine.require_same_identity(asked)


def test_context_differences_are_listed_and_not_refused() -> None:
    other = Conditions(IDENTITY, {"governor": "powersave", "load": "0.1", "clock": "3.1 GHz"})
    assert conditions().differences(other) == {
        "governor": ("performance", "powersave"),
        "load": ("(not stated)", "0.1"),
    }
    assert not conditions().differences(conditions())


@pytest.mark.parametrize("key", IDENTITY_KEYS)
def test_an_incomplete_identity_is_refused(key: str) -> None:
    rest = {name: value for name, value in IDENTITY.items() if name != key}
    with pytest.raises(InputError, match=f"missing {key}"):
        Conditions(rest, {})


def test_only_text_is_taken() -> None:
    wrong: dict[str, Any] = {"load": 0.3}
    with pytest.raises(InputError, match=r"conditions\.context: 'load' is 0\.3"):
        Conditions(IDENTITY, wrong)


def test_is_read_only_and_independent_of_what_it_was_made_from() -> None:
    source = dict(IDENTITY)
    made = Conditions(source, CONTEXT)
    source["threads"] = "8"
    assert made == conditions()
    with pytest.raises(TypeError):
        made.identity["threads"] = "8"  # type: ignore[index]


def test_the_hash_follows_the_identity_alone() -> None:
    shuffled = Conditions(dict(reversed(IDENTITY.items())), {})
    assert shuffled.identity_hash == conditions().identity_hash
    assert conditions(threads="2").identity_hash != conditions().identity_hash
    assert len(conditions().identity_hash) == 8
    assert set(conditions().identity_hash) <= set("0123456789abcdef")


@given(st.dictionaries(st.text(max_size=8), st.text(max_size=8)), st.dictionaries(st.text(max_size=8), st.text()))
def test_json_round_trips(extra: dict[str, str], context: dict[str, str]) -> None:
    made = Conditions(extra | IDENTITY, context)
    assert Conditions.from_json(made.to_json()) == made


@pytest.mark.parametrize(
    ("document", "finding"),
    [
        (7, "valid dictionary"),
        ({"identity": IDENTITY}, "context: Field required"),
        ({"identity": IDENTITY | {"threads": 1}, "context": {}}, r"identity\.threads: Input should be a valid string"),
        ({"identity": IDENTITY, "context": {}, "mood": {}}, "mood"),
        ({"identity": {}, "context": {}}, "missing device"),
    ],
)
def test_a_malformed_document_is_refused_naming_the_field(document: Any, finding: str) -> None:
    with pytest.raises(DocumentError, match=f"(?s)table.json.*{finding}"):
        Conditions.from_json(document, Path("table.json"))


@given(st.integers(1, 3_600 * 10**9))
def test_a_cadence_reads_back(period: int) -> None:
    assert period_of(cadence_of(period)) == period


def test_back_to_back_has_no_period() -> None:
    assert cadence_of(0) == BACK_TO_BACK
    assert period_of(BACK_TO_BACK) == 0
    for text in ("", "33ms", "every", "every 33", "every -1ms"):
        with pytest.raises(InputError):
            period_of(text)
