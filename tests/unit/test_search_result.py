from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from binas_deploy import documents
from binas_deploy.errors import DocumentError, InputError
from binas_deploy.estimate import Estimate
from binas_deploy.problem import Status
from binas_deploy.resources import Footprint, Setting
from binas_deploy.search_result import ComputedAnswer, LatencyAnswer, SearchResult
from binas_deploy.space import SearchSpace

GOLDEN = Path(__file__).parents[1] / "data" / "formats" / "search-result-v1.json"


def result_of(space: SearchSpace) -> SearchResult:
    answer = LatencyAnswer(
        budget="0.5ms",
        limit_ns=500_000,
        device="cpu",
        statistic="median",
        cadence="back-to-back",
        confidence=None,
        most_predicted_ns=500_000,
        predicted=Estimate(480_123, 470_000.5, 490_000.5, "ns", 0.95, "median; t, 10 anchors"),
        as_made=Estimate(470_123, 460_000.5, 480_000.5, "ns", 0.95, "median; t, 10 anchors"),
        table_digest="12" * 32,
        simulated=False,
        every_network_meets_it=False,
    )
    return SearchResult(
        space=space,
        architecture=space.largest(),
        latencies=(answer,),
        computed=(
            ComputedAnswer("macs", "8M", 8_000_000, space.macs(space.largest()), True),
            ComputedAnswer("memory", "300kB", 300_000, 12_288, True),
        ),
        footprint=Footprint.of(space, space.largest(), Setting()),
        accuracy=Estimate(71.25, 70.0, 72.5, "%", 0.95, "ridge"),
        accuracy_digest="34" * 32,
        supernet_digest="",
        status=Status.OPTIMAL,
        bound=71.25,
        gap=0.0,
        solver="frontier",
        tie_rule="highest value, then lowest cost",
        seed=3,
        solve_seconds=0.0625,
    )


@pytest.fixture
def result(tiny_space: SearchSpace) -> SearchResult:
    return result_of(tiny_space)


@pytest.fixture
def path(result: SearchResult, tmp_path: Path) -> Path:
    target = tmp_path / "search.json"
    result.save(target)
    return target


def test_round_trip(result: SearchResult, path: Path, tmp_path: Path) -> None:
    again = SearchResult.load(path)
    assert again == result
    assert again.digest == result.digest
    again.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == path.read_bytes()


def test_speaks_of_the_first_budget(result: SearchResult) -> None:
    assert (result.device, result.latency.value, result.simulated) == ("cpu", 480_123, False)
    assert not result.every_network_meets_it
    assert result.space.architecture(result.text) == result.architecture


def test_all_budgets_count(result: SearchResult) -> None:
    assert result.budgets == (*result.latencies, *result.computed)
    assert replace(result, latencies=()).every_network_meets_it
    assert result.computed[1].text == "12.288kB used, budget 300kB"


def test_without_a_budget_of_latency_none_is_predicted(result: SearchResult, tmp_path: Path) -> None:
    alone = replace(result, latencies=())
    alone.save(tmp_path / "alone.json")
    again = SearchResult.load(tmp_path / "alone.json")
    assert (again, again.simulated) == (alone, False)
    for ask in (lambda: again.latency, lambda: again.device):
        with pytest.raises(InputError, match=r"without a budget of latency.*--budget 0\.5ms"):
            ask()


def test_the_first_version_is_still_read() -> None:
    golden = SearchResult.load(GOLDEN)
    assert golden == result_of(golden.space)


def rewritten(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the content and seal it again, as a foreign program would that knows the format."""
    content = json.loads(path.read_text())
    change(content)
    rest = {key: value for key, value in content.items() if key not in ("format", "version", "digest")}
    documents.write_document(path, documents.seal("search-result", 1, rest))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["architecture"].update(depths=[1, 1, 1]), "architecture: stages"),
        (lambda c: c["architecture"]["options"][0].__setitem__(0, 0), "its text and its indices are different"),
        (lambda c: c["architecture"].update(text="[["), "architecture: cannot read"),
        (lambda c: c["space"].update(fingerprint="0" * 64), "fingerprint"),
        (lambda c: c.update(latencies=[], computed=[]), "at least one budget"),
        (lambda c: c["latencies"][0].update(limit_ns=0), r"latencies\[0\].limit_ns"),
        (lambda c: c["latencies"][0].update(table_digest="xyz"), r"latencies\[0\].table_digest"),
        (lambda c: c["latencies"][0]["predicted"].update(value="480123"), r"latencies\[0\].predicted.value"),
        (lambda c: c["computed"][0].update(resource="energy"), r"computed\[0\].resource"),
        (lambda c: c["computed"][0].update(used=0.5), r"computed\[0\].used"),
        (lambda c: c["footprint"].update(batch=0), r"footprint.batch"),
        (lambda c: c["footprint"].pop("memory"), r"footprint.memory"),
        (lambda c: c.update(status="infeasible"), "status"),
        (lambda c: c.update(gap=-1.0), "gap"),
        (lambda c: c.update(extra=1), "extra"),
        (lambda c: c.update(notes="x"), "notes"),
        (lambda c: c.pop("seed"), "seed"),
    ],
)
def test_a_wrong_field_is_named(path: Path, change: Callable[[dict[str, Any]], object], message: str) -> None:
    rewritten(path, change)
    with pytest.raises(DocumentError, match=message) as caught:
        SearchResult.load(path)
    assert str(path) in str(caught.value)


def test_an_edit_by_hand_is_noticed(path: Path) -> None:
    path.write_text(path.read_text().replace("71.25", "91.25"))
    with pytest.raises(DocumentError, match="edited by hand"):
        SearchResult.load(path)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        SearchResult.load(tmp_path / "search.json")
