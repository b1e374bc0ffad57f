"""The candidates of a deployment: a shortlist around its budget, and around lower ones as measuring calls for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Final

from binas_deploy.errors import InfeasibleBudgetError
from binas_deploy.search_result import SearchResult
from binas_deploy.space import Architecture
from binas_deploy.steps.rounds import MARGIN, MOST_ROUNDS
from binas_deploy.steps.shortlist import Candidate, Find, chosen, listed, unmeasured

Weigh = Callable[[Sequence[SearchResult]], tuple[tuple[Candidate, ...], float]]
"""Candidates as measured, and the room that they need below the budget (`shortlist.room_of`)."""
MOST_LISTS: Final = MOST_ROUNDS


@dataclass
class Candidates:
    """``find``: the best network for a budget in ns; ``weigh`` measures networks (None: each is taken at its
    prediction, one at a time). A list of ``length`` reaches ``share`` to either side of its budget.
    """

    find: Find
    weigh: Weigh | None
    share: float
    length: int
    found: tuple[Candidate, ...] = ()
    gave_up: str = ""
    _apart: float = 1.0
    _settled: bool = False
    _lists: int = 0
    _tried: list[Architecture] = field(default_factory=list)

    def begin(self, limit_ns: int) -> None:
        """The list for a budget.

        Raises:
            InfeasibleBudgetError: no network is predicted to be within it.
        """
        if self.weigh is None:
            self.found = (unmeasured(self.find(limit_ns)),)
        else:
            self.found, self._apart = self.weigh(listed(self.find, limit_ns, self.share, self.length))
        self._lists += 1

    def next(self, aim_ns: float) -> Candidate | None:
        """The next one to export and verify: the most accurate that is likely to be shown within ``aim_ns``.

        None where there is none any more; ``gave_up`` then says why, where it was proved. The first time there always
        is one: the fastest of the list, if need be.
        """
        pick = self._chosen(aim_ns)
        while pick is None and self._lists < MOST_LISTS:
            below = self._below(aim_ns)
            try:
                self.begin(below)
            except InfeasibleBudgetError as error:
                what = f"no network is predicted to take at most {below / 1e6:.4f} ms"
                self.gave_up = f"{what}, which measuring calls for: {error}"
                break
            pick = self._chosen(aim_ns)
        if pick is None and not self._tried:
            pick = min(self.found, key=lambda row: row.expected_ns)
        if pick is not None:
            self._tried.append(pick.result.architecture)
        return pick

    def learnt(self) -> None:
        """What is aimed at from now on has been corrected by a verification: it holds the room already."""
        self._settled = True

    @property
    def _room(self) -> float:
        return 1.0 if self._settled else self._apart

    def _chosen(self, aim_ns: float) -> Candidate | None:
        return chosen(self.found, aim_ns / self._room, tried=self._tried)

    def _below(self, aim_ns: float) -> int:
        """The budget in predicted ns at which networks are expected within ``aim_ns``, below all on the list."""
        pace = median(row.expected_ns / row.result.latency.value for row in self.found)
        lowest = min(row.result.latency.value for row in self.found)
        return max(1, int(min(aim_ns / pace / self._room, lowest * (1 - MARGIN))))
