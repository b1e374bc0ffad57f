"""Tables grow by networks that were measured later: on another day, at another speed of the machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from binas_deploy.errors import InputError
from binas_deploy.measurement import Measurement
from binas_deploy.space import Architecture, SearchSpace
from binas_deploy.steps.tables import table_of_digest
from binas_deploy.table import Anchor, LatencyTable, MeasuringRun, table_path
from binas_deploy.table.growth import ORIGIN, grown, next_run

TIME = "2026-11-22T09:30:00+00:00"
SLOWDOWN = 1.4


@pytest.fixture(scope="session")
def table(make_table: Callable[..., LatencyTable]) -> LatencyTable:
    return make_table()


def fresh(table: LatencyTable, seed: int = 3) -> Architecture:
    rng, known = np.random.default_rng(seed), {row.arch for row in table.anchors}
    return next(arch for arch in (table.space.sample(rng) for _ in range(1000)) if arch not in known)


def added(table: LatencyTable, arch: Architecture, off: float = 0.0, origin: str = "verify") -> LatencyTable:
    """Measured ``off`` from its prediction, on a machine slower by `SLOWDOWN`."""
    run = next_run(table)
    latency = round(table.predict(arch).value * (1 + off) * SLOWDOWN)
    samples = np.full(40, latency)
    anchor = Anchor(arch, "searched", Measurement(samples, np.full(40, run)), slowdown=SLOWDOWN)
    return grown(table, anchor, MeasuringRun(run, TIME, {ORIGIN: origin} if origin else {}))


def test_a_network_that_joins_pulls_its_own_prediction(table: LatencyTable) -> None:
    arch = fresh(table)
    before, after = table.predict(arch).value, added(table, arch, off=0.2).predict(arch).value
    assert before * 1.01 < after < before * 1.25


def test_one_that_was_predicted_rightly_changes_next_to_nothing(table: LatencyTable, tiny_space: SearchSpace) -> None:
    found, rng = added(table, fresh(table)), np.random.default_rng(0)
    for arch in (tiny_space.sample(rng) for _ in range(20)):
        assert found.predict(arch).value == pytest.approx(table.predict(arch).value, rel=0.01)


def test_it_is_kept_in_the_document(table: LatencyTable, tmp_path: Path) -> None:
    found = added(table, fresh(table))
    found.save(tmp_path / "table.json")
    loaded = LatencyTable.load(tmp_path / "table.json")
    assert (loaded, loaded.digest) == (found, found.digest)
    assert loaded.digests == (found.digest, table.digest)
    assert loaded.anchors[-1].location == pytest.approx(loaded.anchors[-1].measurement.location / SLOWDOWN)


def test_measured_again_it_takes_the_place_of_the_earlier_one(table: LatencyTable) -> None:
    first, second = fresh(table, 3), fresh(table, 4)
    found = added(added(added(table, first), second), first, off=0.1)
    assert [row.arch for row in found.anchors[-2:]] == [second, first]
    assert len(found.anchors) == len(table.anchors) + 2
    assert len(found.runs) == len(table.runs) + 2
    assert len(found.digests) == 4


def test_what_was_searched_with_the_table_before_is_still_of_it(table: LatencyTable, tmp_path: Path) -> None:
    found = added(added(table, fresh(table, 3)), fresh(table, 4))
    path = table_path(tmp_path / "latency_tables", table.device, table.space.name, table.conditions)
    found.save(path)
    assert table_of_digest(tmp_path, table.device, table.space, table.digest) == found
    with pytest.raises(InputError, match="is not in"):
        table_of_digest(tmp_path, table.device, table.space, "0" * 64)


def test_what_cannot_join(table: LatencyTable) -> None:
    with pytest.raises(InputError, match="stands twice"):
        added(table, table.anchors[0].arch)
    with pytest.raises(InputError, match="says no origin"):
        added(table, fresh(table), origin="")
    whole = LatencyTable.fit(table.space, [(row.arch, row.location) for row in table.anchors])
    with pytest.raises(InputError, match="rests on whole networks alone"):
        added(whole, fresh(whole))
    with pytest.raises(InputError, match="slowdown of 0"):
        replace(table.anchors[0], slowdown=0.0)
