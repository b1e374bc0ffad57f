"""Devices whose builds are slow: networks in place of pieces, the cost told first, what is kept beside the table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from binas_deploy.adapters.base import DeviceFacts
from binas_deploy.adapters.registry import ADAPTERS, Adapter
from binas_deploy.devices import DeviceSpec
from binas_deploy.progress import Advance
from binas_deploy.space import SearchSpace
from binas_deploy.steps import profile as profiling
from binas_deploy.steps import subjects
from binas_deploy.steps.profile import profile
from binas_deploy.table import LatencyTable
from binas_deploy.testing.fake_device import FakeDevice

ADVICE = "clocks float, so latencies will: sudo jetson_clocks"


class Board(FakeDevice):
    """A simulated board that advises, and keeps what it timed."""

    def facts(self) -> DeviceFacts:
        return replace(super().facts(), advice=(ADVICE,))

    def artefacts(self) -> Mapping[str, bytes]:
        return {"timing-cache": b"timed"}


class Notes:
    def __init__(self) -> None:
        self.found: list[str] = []

    @contextmanager
    def task(self, label: str, total: int) -> Iterator[Advance]:
        yield lambda steps: None

    def note(self, text: str) -> None:
        self.found.append(text)


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ADAPTERS, "simulated", Adapter("binas_deploy.testing.fake_device:FakeDevice", "binas_deploy"))
    monkeypatch.setattr(profiling, "open_device", lambda spec: Board(threads=spec.threads))


def without_pieces(spec: DeviceSpec, networks: int) -> DeviceSpec:
    return spec.model_copy(update={"timing": spec.timing.model_copy(update={"pieces": False, "networks": networks})})


def test_networks_alone_make_a_table(
    board: None, tiny_space: SearchSpace, fake_spec: DeviceSpec, tmp_path: Path
) -> None:
    path, table = profile(tiny_space, without_pieces(fake_spec, 30), workspace=tmp_path)
    assert not table.pieces
    assert len(table.anchors) == 30
    assert LatencyTable.load(path).to_document() == table.to_document()
    errors = [abs(table.predict(row.arch).value / row.measurement.median - 1) for row in table.anchors]
    assert sum(errors) / len(errors) < 0.05


def test_advice_is_told_and_what_was_timed_kept_beside_the_table(
    board: None, tiny_space: SearchSpace, fake_spec: DeviceSpec, tmp_path: Path
) -> None:
    notes = Notes()
    path, _ = profile(tiny_space, without_pieces(fake_spec, 24), workspace=tmp_path, progress=notes)
    assert ADVICE in notes.found
    assert path.with_suffix(".timing-cache").read_bytes() == b"timed"


def test_the_cost_of_compiling_is_told_where_it_is_long() -> None:
    notes = Notes()
    subjects._note_cost(24, 5.0, notes)
    assert notes.found == []
    subjects._note_cost(24, 40.0, notes)
    assert "compiling 24 networks and pieces will take about 4 min, by the first 4" in notes.found[0]
