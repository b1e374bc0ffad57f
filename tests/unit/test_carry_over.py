"""A stored table meets the machine as it is now."""

from __future__ import annotations

from dataclasses import replace

import pytest

from binas_deploy.devices import DeviceSpec
from binas_deploy.quality import Quality
from binas_deploy.steps.carry_over import LEAST_ANCHORS, MOST_ANCHORS, carry_over, chosen_anchors, explanation
from binas_deploy.table import LatencyTable
from binas_deploy.table.parts import spread
from binas_deploy.testing import fake_device

pytestmark = pytest.mark.usefixtures("fake_adapter")


def quality(contention: float | None = 0.0) -> Quality:
    return Quality(12, 1.0, "rounds", {}, (), 1.0, 1.0, contention, 1.0, 50, 10**6)


def test_the_speed_of_the_machine_is_found(
    fake_table: LatencyTable, fake_spec: DeviceSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = carry_over(fake_table, fake_spec)
    assert usual.found.scale == pytest.approx(1.0, abs=0.03)
    assert usual.note == ""
    for name in ("CALL_NS", "NODE_NS", "NS_PER_MAC", "NS_PER_BYTE"):
        monkeypatch.setattr(fake_device, name, 1.3 * getattr(fake_device, name))
    slow = carry_over(fake_table, fake_spec)
    assert slow.found.scale == pytest.approx(1.3, abs=0.04)
    assert slow.note.startswith("the machine is 1.3")


@pytest.mark.parametrize(("noise", "count"), [(0.0, LEAST_ANCHORS), (0.011, 10), (0.015, 18), (0.2, MOST_ANCHORS)])
def test_a_noisy_table_is_carried_over_by_more_of_its_networks(
    fake_table: LatencyTable, noise: float, count: int
) -> None:
    spreads = {**fake_table.calibration.spreads, "noise": noise}
    noisy = replace(fake_table, calibration=replace(fake_table.calibration, spreads=spreads))
    assert len(chosen_anchors(noisy)) == min(count, len(noisy.anchors))


def test_few_anchors_stand_for_the_whole_range(fake_table: LatencyTable) -> None:
    latencies = [anchor.measurement.location for anchor in fake_table.anchors]
    chosen = [anchor.measurement.location for anchor in spread(fake_table.anchors, 5)]
    assert len(chosen) == 5
    assert chosen == sorted(chosen)
    assert chosen[-1] - chosen[0] > 0.5 * (max(latencies) - min(latencies))


@pytest.mark.parametrize(
    ("scale", "contention", "then", "now", "part"),
    [
        (1.05, 2.0, "2000", "1000", ""),
        (
            1.40,
            1.7,
            "2000",
            "1000",
            "1.40 times as slow as when the table was made: other processes keep 1.7 CPUs busy",
        ),
        (1.40, 0.0, "2000", "1400", "its clock was at 2000 MHz then and is at 1400 MHz now"),
        (0.70, 0.0, "1400", "2000", "1.43 times as fast as when the table was made: its clock was at 1400 MHz"),
        (1.40, None, "2000", "2010", "shared hosts change their speed"),
        (1.40, 0.0, "unknown", "2000", "shared hosts change their speed"),
    ],
)
def test_a_large_change_is_explained(scale: float, contention: float | None, then: str, now: str, part: str) -> None:
    said = explanation(scale, quality(contention), {"clock_mhz": then}, {"clock_mhz": now})
    assert part in said
    assert bool(said) == bool(part)
