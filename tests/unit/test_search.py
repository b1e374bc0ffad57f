from __future__ import annotations

import dataclasses
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from binas_deploy.accuracy import UNITS_PER_POINT, AccuracyModel, fit_ridge
from binas_deploy.block import Piece
from binas_deploy.budget import Budget
from binas_deploy.columns import Columns
from binas_deploy.conditions import IDENTITY_KEYS, Conditions
from binas_deploy.errors import (
    BinasError,
    InconclusiveError,
    InfeasibleBudgetError,
    InputError,
    MismatchError,
    NotMeasuredError,
)
from binas_deploy.extremes import cheapest, dearest
from binas_deploy.graph import network_weight_shapes
from binas_deploy.measurement import Measurement
from binas_deploy.problem import Limits, LinearForm, SelectionProblem, Solution, Status
from binas_deploy.quantities import Quantity
from binas_deploy.resources import Footprint, Setting, peak_memory, piece_form
from binas_deploy.search_result import SearchResult
from binas_deploy.space import Architecture, SearchSpace
from binas_deploy.space_file import load_space
from binas_deploy.steps.search import frontier_of, search
from binas_deploy.table import Anchor, LatencyTable, MeasuringRun, is_skip, measured_pieces

CREATED = "2026-11-22T09:30:00+00:00"


def table_of(
    space: SearchSpace, *, device: str = "cpu", per_mac: float = 0.2, cadence: str = "back-to-back", drawn: int = 4
) -> LatencyTable:
    """Latencies by formula: a piece takes 2 us and its work, which ``per_mac`` says in ns."""

    def around(center: float) -> Measurement:
        return Measurement(np.array([int(center * (1 + 0.002 * i)) for i in range(8)]), np.zeros(8, int))

    def time_of(pieces: tuple[Piece, ...]) -> float:
        return sum(2_000 + piece.macs * per_mac for piece in pieces if not is_skip(piece))

    rng = np.random.default_rng(0)
    networks = [space.largest(), space.smallest(), *(space.sample(rng) for _ in range(drawn))]
    identity = dict.fromkeys(IDENTITY_KEYS, "simulated") | {"precision": "fp32", "batch": "1", "threads": "1"}
    return LatencyTable.build(
        space=space,
        device=device,
        conditions=Conditions(identity | {"cadence": cadence}, {}),
        created=CREATED,
        runs=[MeasuringRun(0, CREATED, {})],
        pieces={piece.key: around(time_of((piece,))) for piece in measured_pieces(space)},
        anchors=[Anchor(arch, "random", around(time_of(space.pieces(arch)))) for arch in dict.fromkeys(networks)],
        simulated=True,
    )


def accuracy_of(space: SearchSpace) -> AccuracyModel:
    """More work is better, with diminishing returns and some noise."""
    rng = np.random.default_rng(1)
    archs = [space.sample(rng) for _ in range(80)]
    values = [60 + 2 * np.log(space.macs(arch)) + rng.normal(scale=0.3) for arch in archs]
    return replace(fit_ridge(space, archs, values), supernet_digest="ab" * 32)


@dataclass(frozen=True)
class World:
    space: SearchSpace
    accuracy: AccuracyModel
    table: LatencyTable

    @property
    def depths(self) -> tuple[tuple[int, ...], ...]:
        return tuple(stage.depths for stage in self.space.stages)

    def cost(self, arch: Architecture) -> int:
        return self.table.cost_form().of(arch, self.depths)

    def value(self, arch: Architecture) -> int:
        return self.accuracy.value_form().of(arch, self.depths)

    def best(self, limit: int) -> Architecture | None:
        """By looking at every network, in lexicographic order."""
        within = [arch for arch in self.space.networks() if self.cost(arch) <= limit]
        return min(within, key=lambda arch: (-self.value(arch), self.cost(arch)), default=None)


@pytest.fixture(scope="module")
def world(tiny_space: SearchSpace) -> World:
    return World(tiny_space, accuracy_of(tiny_space), table_of(tiny_space))


@pytest.fixture(scope="module")
def costs(world: World) -> list[int]:
    return sorted(world.cost(arch) for arch in world.space.networks())


def of(nanoseconds: int, device: str = "") -> Budget:
    return Budget.parse(f"{device}={nanoseconds}ns" if device else f"{nanoseconds}ns")


# The answer


@settings(max_examples=25)
@given(data=st.data())
def test_finds_the_best_of_every_network(world: World, costs: list[int], data: st.DataObject) -> None:
    limit = data.draw(st.sampled_from(costs)) + data.draw(st.integers(0, 3))
    result = search(world.space, accuracy=world.accuracy, budgets=[of(limit)], tables=[world.table])
    assert result.architecture == world.best(limit)
    assert result.latency.value == world.cost(result.architecture) <= limit
    assert result.accuracy.value == result.bound == world.value(result.architecture) / UNITS_PER_POINT
    assert (result.status, result.gap) == (Status.OPTIMAL, 0.0)


def test_both_solvers_agree(world: World, costs: list[int]) -> None:
    for limit in costs[:: len(costs) // 5]:
        found = [
            search(world.space, accuracy=world.accuracy, budgets=[of(limit)], tables=[world.table], solver=name)
            for name in ("frontier", "milp")
        ]
        assert found[0].accuracy == found[1].accuracy
        assert found[0].latency == found[1].latency


def test_says_what_it_was_made_from(world: World, costs: list[int]) -> None:
    result = search(world.space, accuracy=world.accuracy, budgets=[of(costs[300], "cpu")], tables=[world.table], seed=5)
    answer = result.latency_budget
    assert (result.accuracy_digest, answer.table_digest) == (world.accuracy.digest, world.table.digest)
    assert (result.supernet_digest, result.seed, result.solver) == ("ab" * 32, 5, "frontier")
    assert (answer.device, answer.limit_ns, answer.statistic) == ("cpu", costs[300], "median")
    assert result.simulated
    assert "lowest cost" in result.tie_rule
    assert result.solve_seconds > 0


def test_a_budget_that_every_network_meets_says_so(world: World, costs: list[int]) -> None:
    def met(limit: int) -> bool:
        found = search(world.space, accuracy=world.accuracy, budgets=[of(limit)], tables=[world.table])
        return found.every_network_meets_it

    assert met(costs[-1])
    assert not met(costs[-1] - 1)


def test_several_devices_at_once(world: World, costs: list[int]) -> None:
    other = table_of(world.space, device="npu", per_mac=0.01)
    limits = {"cpu": costs[400], "npu": world.table.cost_form().constant + costs[0]}
    slow = {arch: other.cost_form().of(arch, world.depths) for arch in world.space.networks()}
    limits["npu"] = sorted(slow.values())[200]
    within = [arch for arch in slow if world.cost(arch) <= limits["cpu"] and slow[arch] <= limits["npu"]]
    result = search(
        world.space,
        accuracy=world.accuracy,
        budgets=[of(limit, device) for device, limit in limits.items()],
        tables=[other, world.table],
    )
    assert world.value(result.architecture) == max(world.value(arch) for arch in within)
    assert [answer.device for answer in result.latencies] == ["cpu", "npu"]
    assert result.solver == "milp"
    with pytest.raises(InputError, match="'milp'"):
        search(
            world.space,
            accuracy=world.accuracy,
            budgets=[of(limit, device) for device, limit in limits.items()],
            tables=[other, world.table],
            solver="frontier",
        )


def test_frontier_of_has_the_best_for_every_budget(world: World, costs: list[int]) -> None:
    frontier = frontier_of(world.space, world.accuracy, world.table)
    for limit in costs[::60]:
        index = frontier.best(limit)
        assert index is not None
        assert frontier.architecture(index) == world.best(limit)
        assert frontier.costs[index] == world.cost(frontier.architecture(index))


def negative(form: LinearForm) -> LinearForm:
    return form.plus(form, -2)


def test_extremes(world: World, costs: list[int]) -> None:
    form = world.table.cost_form()
    assert world.cost(cheapest(form, world.depths)) == costs[0]
    assert world.cost(dearest(form, world.depths)) == costs[-1]
    assert cheapest(negative(form), world.depths) == dearest(form, world.depths)


# Several resources, by looking at every network

RESOURCES = ("latency", "params", "macs", "weights", "memory")
Grid = dict[str, dict[Architecture, int]]


@pytest.fixture(scope="module")
def grid(world: World) -> Grid:
    """What every network needs, in lexicographic order of the networks."""
    archs, space = list(world.space.networks()), world.space
    shapes = {arch: network_weight_shapes(space, arch).values() for arch in archs}
    return {
        "latency": {arch: world.cost(arch) for arch in archs},
        "params": {arch: space.params(arch) for arch in archs},
        "macs": {arch: space.macs(arch) for arch in archs},
        "weights": {arch: 4 * sum(math.prod(shape) for shape in shapes[arch]) for arch in archs},
        "memory": {arch: peak_memory(space, arch, 1) for arch in archs},
    }


def budget_of(resource: str, limit: int) -> Budget:
    kind = {"latency": "time", "weights": "size", "memory": "size"}.get(resource, "count")
    return Budget(Quantity(kind, limit), resource=resource)


def ask(world: World, limits: dict[str, int], solver: str = "auto", setting: Setting | None = None) -> SearchResult:
    budgets = [budget_of(resource, limit) for resource, limit in limits.items()]
    tables = [world.table] if "latency" in limits else []
    return search(world.space, accuracy=world.accuracy, budgets=budgets, tables=tables, solver=solver, setting=setting)


@settings(max_examples=60)
@given(
    asked=st.dictionaries(
        st.sampled_from(RESOURCES), st.tuples(st.integers(0, 599), st.sampled_from([-1, 0, 1])), min_size=1
    ),
    solver=st.sampled_from(["auto", "milp"]),
)
def test_finds_the_best_of_every_network_under_several_budgets(
    world: World, grid: Grid, asked: dict[str, tuple[int, int]], solver: str
) -> None:
    amounts = {resource: sorted(set(grid[resource].values())) for resource in asked}
    limits = {r: amounts[r][rank % len(amounts[r])] + beside for r, (rank, beside) in asked.items()}
    within = [arch for arch in grid["macs"] if all(grid[r][arch] <= limit for r, limit in limits.items())]
    totals = [resource for resource in limits if resource != "memory"]
    totals.sort(key=lambda resource: resource != "latency")
    if not within:
        with pytest.raises(InfeasibleBudgetError):
            ask(world, limits, solver)
        return
    best = min(within, key=lambda arch: (-world.value(arch), grid[totals[0]][arch] if totals else 0))
    result = ask(world, limits, solver)
    found = result.architecture
    assert found in within
    assert (result.status, world.value(found)) == (Status.OPTIMAL, world.value(best))
    assert not totals or grid[totals[0]][found] == grid[totals[0]][best]
    assert result.solver == ("milp" if solver == "milp" or len(totals) > 1 else "frontier")
    assert result.solver == "milp" or found == best
    assert {answer.resource: (answer.limit, answer.used) for answer in result.computed} == {
        resource: (limit, grid[resource][found]) for resource, limit in limits.items() if resource != "latency"
    }
    needs = result.footprint
    assert (needs.params, needs.macs, needs.weights, needs.memory) == tuple(grid[r][found] for r in RESOURCES[1:])
    for answer in result.computed:
        assert answer.every_network_meets_it == (answer.limit >= amounts[answer.resource][-1])


@pytest.mark.parametrize("solver", ["auto", "frontier", "milp"])
@pytest.mark.parametrize("resource", RESOURCES[1:])
def test_a_computed_budget_alone_needs_no_table(world: World, grid: Grid, resource: str, solver: str) -> None:
    limit = sorted(grid[resource].values())[200]
    result = ask(world, {resource: limit}, solver)
    within = [arch for arch, amount in grid[resource].items() if amount <= limit]
    assert world.value(result.architecture) == max(world.value(arch) for arch in within)
    assert (result.latencies, result.simulated) == ((), False)
    assert result.solver == ("milp" if solver == "milp" else "frontier")
    with pytest.raises(InputError, match="without a budget of latency"):
        _ = result.latency


@pytest.mark.parametrize("solver", ["auto", "milp"])
@pytest.mark.parametrize("resource", RESOURCES[1:])
def test_infeasible_names_the_least_of_a_computed_resource(
    world: World, grid: Grid, resource: str, solver: str
) -> None:
    least = min(grid[resource].values())
    with pytest.raises(InfeasibleBudgetError) as caught:
        ask(world, {"latency": 10**9, resource: least - 1}, solver)
    text = str(caught.value)
    stated = budget_of(resource, least)
    assert f"{budget_of(resource, least - 1)} asked; the least that a network of space 'tiny' needs is {stated}" in text
    arch = world.space.architecture(text[text.index("[[") : text.index("]]") + 2])
    assert grid[resource][arch] == least
    assert "asked on device" not in text
    assert ("(the peak is in " in text) == (resource == "memory")


def test_a_fixed_piece_over_the_memory_is_named(world: World) -> None:
    space = dataclasses.replace(world.space, head=dataclasses.replace(world.space.head, hidden=4000))
    with pytest.raises(
        InfeasibleBudgetError, match=r"memory=20kB asked; .* memory=32kB .the peak is in the head, which"
    ):
        search(space, accuracy=accuracy_of(space), budgets=[Budget.parse("memory=20kB")])


def costing(table: LatencyTable, form: LinearForm) -> LatencyTable:
    """The table with other costs."""
    return replace(table, calibration=replace(table.calibration, costs=Columns(table.space).flat(form)))


@given(st.floats(0, 1), st.sampled_from([0.5, 0.8, 0.95]))
def test_a_confidence_holds_the_upper_bound_and_not_the_mean(world: World, share: float, confidence: float) -> None:
    margin, costs = world.table.model.margin.upper(confidence).share, sorted(map(world.cost, world.space.networks()))
    limit = round((costs[0] + share * (costs[-1] - costs[0])) * (1 + margin)) + 2
    budget = replace(of(limit), confidence=confidence)
    found = search(world.space, accuracy=world.accuracy, budgets=[budget], tables=[world.table])
    (answer,) = found.latencies
    assert answer.predicted.value * (1 + margin) <= limit
    assert (answer.confidence, answer.predicted.confidence) == (confidence, confidence)
    allowed = [arch for arch in world.space.networks() if world.cost(arch) <= answer.most_predicted_ns]
    assert found.accuracy.value == max(world.accuracy.predict(arch).value for arch in allowed)


def test_a_budget_that_no_bound_meets_says_what_the_confidence_allows(world: World, costs: list[int]) -> None:
    budget = replace(of(costs[0]), confidence=0.95)
    with pytest.raises(InfeasibleBudgetError, match=r"which with confidence 0.95 allows a prediction of"):
        search(world.space, accuracy=world.accuracy, budgets=[budget], tables=[world.table])


def test_budgets_that_exclude_each_other_name_the_least_of_each(world: World, grid: Grid) -> None:
    # A device that is the faster the more there is to do: latency and MACs add up to the same for every network.
    macs = piece_form(world.space, lambda piece: piece.macs)
    both = min(grid["macs"].values()) + max(grid["macs"].values())
    mirrored = dataclasses.replace(negative(macs), constant=both - macs.constant)
    limit, other = both // 2 - 1, replace(world, table=costing(world.table, mirrored))
    with pytest.raises(InfeasibleBudgetError, match=r"(?s)meets all of them together\.\n.* on device 'cpu'.*\nmacs="):
        ask(other, {"latency": limit, "macs": limit})


def test_the_setting_is_that_of_the_table_unless_told(world: World, grid: Grid) -> None:
    identity = dict(world.table.conditions.identity) | {"batch": "3", "precision": "fp16"}
    table = replace(world.table, conditions=Conditions(identity, {}))
    other = replace(world, table=table)
    needs = ask(other, {"latency": 10**9}).footprint
    assert (needs.batch, needs.precision) == (3, "fp16")
    arch = ask(other, {"latency": 10**9}).architecture
    assert needs == Footprint.of(world.space, arch, Setting(3, "fp16"))
    assert ask(other, {"macs": 10**9}).footprint.memory == grid["memory"][arch]
    told = ask(other, {"memory": 10**9}, setting=Setting(2))
    assert (told.footprint.batch, told.computed[0].used) == (2, 2 * grid["memory"][arch])


def test_a_table_without_energy_says_how_to_get_it(world: World) -> None:
    with pytest.raises(NotMeasuredError, match=r"budget energy=5mJ: .* 'cpu' holds no energy.*--space tiny .*--energy"):
        search(
            world.space,
            accuracy=world.accuracy,
            budgets=[Budget.parse("1ms"), Budget.parse("energy=5mJ")],
            tables=[world.table],
        )


# No answer


@pytest.mark.parametrize("solver", ["frontier", "milp"])
def test_infeasible_names_the_least_and_who_reaches_it(world: World, costs: list[int], solver: str) -> None:
    with pytest.raises(InfeasibleBudgetError) as caught:
        search(world.space, accuracy=world.accuracy, budgets=[of(costs[0] - 1)], tables=[world.table], solver=solver)
    text = str(caught.value)
    assert f"({costs[0]} ns)" in text
    arch = world.space.architecture(text[text.index("[[") : text.index("]]") + 2])
    assert world.cost(arch) == costs[0]
    assert caught.value.exit_code == 5


def test_budgets_that_cannot_be_met_together(world: World, costs: list[int]) -> None:
    # Made so that each device is fast on what the other is slow on: the sum of both is the same for every network.
    form = world.table.cost_form()
    mirrored = dataclasses.replace(negative(form), constant=costs[0] + costs[-1] - form.constant)
    other = costing(table_of(world.space, device="npu"), mirrored)
    budgets = [of(costs[100], "cpu"), of(costs[100], "npu")]
    with pytest.raises(InfeasibleBudgetError, match="no network meets all of them together"):
        search(world.space, accuracy=world.accuracy, budgets=budgets, tables=[world.table, other], solver="milp")


@pytest.mark.parametrize(
    ("budgets", "message"),
    [
        ([], "at least one budget"),
        (["gpu=1ms"], "no latency table of that device was given .given: 'cpu'"),
        (["cpu=1ms", "1ms"], "device 'cpu' has 2 budgets"),
        (["1ms", "macs=8M", "macs=9M"], "macs has 2 budgets"),
    ],
)
def test_budgets_that_fit_no_table_are_refused(world: World, budgets: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        search(
            world.space,
            accuracy=world.accuracy,
            budgets=[Budget.parse(text) for text in budgets],
            tables=[world.table],
        )


def test_a_budget_without_a_device_needs_one_table(world: World) -> None:
    tables = [world.table, table_of(world.space, device="npu")]
    with pytest.raises(InputError, match=r"2 latency tables fit .'cpu', 'npu'.*cpu=1ms"):
        search(world.space, accuracy=world.accuracy, budgets=[Budget.parse("1ms")], tables=tables)


def test_another_space_is_refused_naming_both(world: World) -> None:
    other = load_space("cifar10")
    with pytest.raises(MismatchError, match=r"accuracy model.*'cifar10'.*asked for 'tiny'"):
        search(world.space, accuracy=accuracy_of(other), budgets=[of(10**6)], tables=[world.table])
    with pytest.raises(MismatchError, match=r"latency table of device 'cpu'.*'tiny'.*asked for 'cifar10'"):
        search(other, accuracy=accuracy_of(other), budgets=[of(10**6)], tables=[world.table])


def test_another_meaning_of_the_budget_is_refused(world: World) -> None:
    def ask(budget: Budget, table: LatencyTable) -> None:
        search(world.space, accuracy=world.accuracy, budgets=[budget], tables=[table])

    with pytest.raises(NotMeasuredError, match=r"the p99 of a network takes at least 100 samples, this table has 8"):
        ask(replace(of(10**6), statistic="p99"), world.table)
    with pytest.raises(MismatchError, match=r"asked for calls back-to-back, .*with calls 30-per-second"):
        ask(of(10**6), table_of(world.space, cadence="30-per-second"))


def test_an_unknown_solver_is_refused(world: World) -> None:
    with pytest.raises(InputError, match="unknown solver 'simplex'"):
        search(world.space, accuracy=world.accuracy, budgets=[of(10**6)], tables=[world.table], solver="simplex")


# Solvers that are not believed


@dataclass(frozen=True)
class Liar:
    """Gives an answer whatever the problem."""

    answer: Callable[[SelectionProblem], Solution]
    ties: str = "none"

    def solve(self, problem: SelectionProblem, *, limits: Limits, seed: int) -> Solution:
        return self.answer(problem)


def claims(arch: Architecture, *, extra: int = 0, bound: int = 0, status: Status = Status.OPTIMAL) -> Liar:
    def answer(problem: SelectionProblem) -> Solution:
        value = problem.value.of(arch, problem.depths)
        return Solution(status, arch, value + extra, value + bound)

    return Liar(answer)


def test_a_solver_that_lies_is_not_believed(world: World, costs: list[int]) -> None:
    def ask(liar: Liar, limit: int) -> None:
        search(world.space, accuracy=world.accuracy, budgets=[of(limit)], tables=[world.table], solver=liar)

    large, small = world.space.largest(), world.space.smallest()
    nowhere = Architecture((9, 9, 9), ((0,) * 9,) * 3)
    with pytest.raises(BinasError, match=r"not believed: its network takes .*, the budget is "):
        ask(claims(large), world.cost(large) - 1)
    with pytest.raises(BinasError, match="not believed: it claims the value"):
        ask(claims(small, extra=1), costs[-1])
    with pytest.raises(BinasError, match="not believed: it claims status optimal and bound"):
        ask(claims(small, bound=1), costs[-1])
    with pytest.raises(BinasError, match="not believed: it claims status feasible and bound"):
        ask(claims(small, bound=-1, status=Status.FEASIBLE), costs[-1])
    with pytest.raises(BinasError, match="not believed: stages"):
        ask(Liar(lambda _: Solution(Status.OPTIMAL, nowhere, 0, 0)), costs[-1])
    with pytest.raises(BinasError, match="without a bound"):
        ask(Liar(lambda p: Solution(Status.OPTIMAL, small, p.value.of(small, p.depths), None)), costs[-1])
    with pytest.raises(BinasError, match="says infeasible and is not believed") as caught:
        ask(Liar(lambda _: Solution(Status.INFEASIBLE, None, None, None)), costs[0])
    assert not isinstance(caught.value, InfeasibleBudgetError)


def test_out_of_time_is_not_infeasible(world: World, costs: list[int]) -> None:
    with pytest.raises(InconclusiveError, match="no network within its time limit"):
        search(
            world.space,
            accuracy=world.accuracy,
            budgets=[of(costs[0] - 1)],
            tables=[world.table],
            limits=Limits(seconds=-1.0),
        )


def test_a_network_without_proof_carries_its_gap(world: World, costs: list[int]) -> None:
    small = world.space.smallest()
    liar = claims(small, bound=10**9, status=Status.FEASIBLE)
    result = search(world.space, accuracy=world.accuracy, budgets=[of(costs[-1])], tables=[world.table], solver=liar)
    assert (result.status, result.gap, result.solver) == (Status.FEASIBLE, 1.0, "Liar")


def test_the_frontier_path_needs_neither_scipy_nor_torch(world: World, tmp_path: Path) -> None:
    table_of(world.space, drawn=40).save(tmp_path / "table.json")  # enough for intervals without Student's t
    world.accuracy.save(tmp_path / "accuracy.json")
    code = (
        "import sys; from pathlib import Path; from binas_deploy import AccuracyModel, Budget, LatencyTable, search; "
        "t = LatencyTable.load(Path('table.json')); a = AccuracyModel.load(Path('accuracy.json')); "
        "r = search(t.space, accuracy=a, budgets=[Budget.parse('1s')], tables=[t]); r.save(Path('search.json')); "
        "assert not {'scipy', 'torch', 'onnx', 'onnxruntime'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
    assert (tmp_path / "search.json").exists()
