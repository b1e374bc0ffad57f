"""What networks need, against the ONNX graphs that are deployed and by looking at every network of the tiny space."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from binas_deploy import graph
from binas_deploy.block import Activation, Block, Head, Op, Option, Piece
from binas_deploy.errors import InputError
from binas_deploy.model import OnnxModel
from binas_deploy.problem import LinearForm, Resource
from binas_deploy.resources import Footprint, Peak, Setting, Total, excluding, need, peak_memory
from binas_deploy.space import SearchSpace
from binas_deploy.space_file import load_space
from binas_deploy.testing.networks import random_network, small_space

SEEDS = st.integers(0, 2**32 - 1)
BATCHES = st.integers(1, 3)


def simulated_peak(model: OnnxModel) -> int:
    """Bytes at the peak: the nodes in order, each tensor from the node that makes it through the last that reads it."""
    traced = onnx.shape_inference.infer_shapes(onnx.load_model_from_string(model.payload), strict_mode=True).graph
    stated = {value.name: value for value in (*traced.input, *traced.value_info, *traced.output)}
    sizes = {
        name: 4 * math.prod(dim.dim_value for dim in value.type.tensor_type.shape.dim) for name, value in stated.items()
    }
    last_read = {name: index for index, node in enumerate(traced.node) for name in node.input}
    live, peak = {value.name for value in traced.input}, 0
    for index, node in enumerate(traced.node):
        live |= set(node.output)
        peak = max(peak, sum(sizes[name] for name in live))
        live = {name for name in live if last_read.get(name, len(traced.node)) > index}
    return peak


@st.composite
def blocks(draw: st.DrawFn) -> Block:
    """Blocks of every kind that has nodes, some so small that squeeze-and-excitation or the input is the largest."""
    op = draw(st.sampled_from([Op.CONV, Op.DEPTHWISE_SEPARABLE, Op.INVERTED_RESIDUAL]))
    ratio = 0.0 if op is Op.CONV else draw(st.sampled_from([0, 0.25, 1.0, 2.0]))
    expansion = draw(st.sampled_from([0.5, 1, 2, 3])) if op is Op.INVERTED_RESIDUAL else 1.0
    c_in, c_out = draw(st.sampled_from([(8, 8), (8, 24), (24, 8), (16, 16)]))
    option = Option(op, draw(st.sampled_from([1, 3, 5])), expansion, ratio)
    stride = draw(st.sampled_from([1, 1, 2]))
    return Block(option, c_in, c_out, draw(st.integers(1, 6)), stride, draw(st.sampled_from(Activation)))


HEADS = st.builds(
    Head,
    st.sampled_from([8, 24]),
    st.integers(1, 4),
    st.sampled_from([0, 8, 40]),
    st.sampled_from([1, 5, 100]),
    st.sampled_from(Activation),
)


@settings(max_examples=150)
@given(piece=st.one_of(blocks(), HEADS), batch=BATCHES)
def test_a_piece_needs_what_its_graph_needs(piece: Piece, batch: int) -> None:
    shapes = graph.weight_shapes(piece)
    assert piece.weight_count == sum(math.prod(shape) for shape in shapes.values())
    assert piece.bias_count == sum(math.prod(shape) for name, shape in shapes.items() if name.endswith(".bias"))
    model = graph.build_piece(piece, graph.random_weights(shapes, np.random.default_rng(0)), batch=batch)
    assert Setting(batch).peak_bytes(piece) == simulated_peak(model)


@settings(max_examples=60)
@given(seed=SEEDS, batch=BATCHES, tiny=st.booleans())
def test_the_peak_is_that_of_walking_the_graph(tiny_space: SearchSpace, seed: int, batch: int, tiny: bool) -> None:
    space = tiny_space if tiny else small_space(8)  # the other has swish, relu6 and a depthwise-separable block
    arch = space.sample(np.random.default_rng(seed))
    assert peak_memory(space, arch, batch) == simulated_peak(random_network(space, arch, 0, batch=batch))


@pytest.mark.parametrize("name", ["cifar10", "mobilenetv3"])
def test_the_shipped_spaces_have_what_their_graphs_have(name: str) -> None:
    space = load_space(name)
    for arch in (space.largest(), space.smallest()):
        shapes = graph.network_weight_shapes(space, arch)
        found = Footprint.of(space, arch, Setting())
        assert found.weights == 4 * sum(math.prod(shape) for shape in shapes.values())
        assert (found.params, found.macs) == (space.params(arch), space.macs(arch))
    if name == "cifar10":
        assert found.memory == simulated_peak(random_network(space, arch, 0))


def test_precisions_and_batches_change_bytes_alone(tiny_space: SearchSpace) -> None:
    arch = tiny_space.largest()
    fp32, fp16, int8 = (Footprint.of(tiny_space, arch, Setting(1, name)) for name in ("fp32", "fp16", "int8"))
    biases = sum(piece.bias_count for piece in tiny_space.pieces(arch))
    assert fp32.weights == 2 * fp16.weights
    assert int8.weights == fp32.weights // 4 + 3 * biases
    assert fp32.memory == 2 * fp16.memory == 4 * int8.memory
    batched = Footprint.of(tiny_space, arch, Setting(5))
    assert batched == replace(fp32, memory=5 * fp32.memory, batch=5)
    assert peak_memory(tiny_space, arch, 5, "int8") * 4 == batched.memory


@pytest.mark.parametrize(("batch", "precision", "message"), [(0, "fp32", "batch 0"), (1, "fp64", "'fp64' are not")])
def test_other_settings_are_refused(tiny_space: SearchSpace, batch: int, precision: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        peak_memory(tiny_space, tiny_space.smallest(), batch, precision)


@pytest.mark.parametrize("resource", ["params", "macs", "weights", "memory"])
def test_needs_hold_for_every_network(tiny_space: SearchSpace, resource: str) -> None:
    setting = Setting(2)
    found = need(resource, tiny_space, setting)
    amounts = {arch: getattr(Footprint.of(tiny_space, arch, setting), resource) for arch in tiny_space.networks()}
    assert {arch: found.amount(arch) for arch in amounts} == amounts
    assert amounts[found.least()] == min(amounts.values())
    assert found.most() == max(amounts.values())


def test_nothing_is_forbidden_exactly_where_the_peak_is_within_the_limit(tiny_space: SearchSpace) -> None:
    found = Peak(tiny_space, Setting())
    peaks = {arch: found.amount(arch) for arch in tiny_space.networks()}
    for limit in {1, *peaks.values(), *(peak - 1 for peak in peaks.values())}:
        forbidden = found.forbidden(limit)
        for arch, peak in peaks.items():
            assert (forbidden.of(arch, tiny_space.depths) == 0) == (peak <= limit)


def test_the_piece_at_the_peak_is_named(tiny_space: SearchSpace) -> None:
    largest, smallest = tiny_space.largest(), tiny_space.smallest()
    assert Peak(tiny_space, Setting()).where(largest) == f"block {tiny_space.block(1, 0, 3).key}"
    deep = replace(tiny_space, stem=replace(tiny_space.stem, c_in=64))
    assert Peak(deep, Setting()).where(smallest) == "the stem, which every network has"
    heavy = replace(tiny_space, head=replace(tiny_space.head, hidden=4000))
    assert Peak(heavy, Setting()).where(smallest) == "the head, which every network has"


def random_form(space: SearchSpace, rng: np.random.Generator, constant: int) -> LinearForm:
    def row(length: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return rng.integers(-50, 50, length)

    options = tuple(tuple(row(len(options)) for options in stage.options) for stage in space.stages)
    return LinearForm(constant, tuple(row(len(stage.depths)) for stage in space.stages), options)


@settings(max_examples=15)
@given(seed=SEEDS, limit=st.integers(-400, 400) | st.just(10**18), constant=st.integers(-9, 9))
def test_excluding_keeps_costs_and_adds_a_limit(tiny_space: SearchSpace, seed: int, limit: int, constant: int) -> None:
    depths = tiny_space.depths
    resource = Resource("any", random_form(tiny_space, np.random.default_rng(seed), constant), limit)
    found = Peak(tiny_space, Setting())
    peaks = sorted({found.amount(arch) for arch in tiny_space.networks()})
    forbidden = found.forbidden(peaks[seed % len(peaks)])
    joined = excluding(resource, forbidden, depths)
    for arch in tiny_space.networks():
        cost, allowed = resource.cost.of(arch, depths), forbidden.of(arch, depths) == 0
        assert (joined.cost.of(arch, depths) <= joined.limit) == (allowed and cost <= limit)
        assert not allowed or joined.cost.of(arch, depths) == cost


def test_forms_add_up(tiny_space: SearchSpace) -> None:
    macs, params = (need(name, tiny_space, Setting()) for name in ("macs", "params"))
    assert isinstance(macs, Total)
    assert isinstance(params, Total)
    joined = macs.form.plus(params.form, -3)
    for arch in list(tiny_space.networks())[::37]:
        assert joined.of(arch, tiny_space.depths) == macs.amount(arch) - 3 * params.amount(arch)
