"""Spaces and networks: published figures, block strings, enumeration, and what is refused."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from binas_deploy.block import Activation, Block, Head, Op, Option, Piece, block_text, parse_block_text, round8
from binas_deploy.errors import InputError
from binas_deploy.space import LONGEST_TEXT, Architecture, SearchSpace
from binas_deploy.space_file import load_space

PUBLISHED = json.loads((Path(__file__).parents[1] / "data" / "binas_published.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def mobilenetv3() -> SearchSpace:
    return load_space("mobilenetv3")


@pytest.fixture(scope="module")
def cifar10() -> SearchSpace:
    return load_space("cifar10")


def test_the_paper_s_space_has_its_published_size(mobilenetv3: SearchSpace) -> None:
    elastic = [stage for stage in mobilenetv3.stages if stage.elastic]
    assert mobilenetv3.size == 22_608**5
    assert sum(stage.max_depth for stage in elastic) == 20
    assert sum(len(row) for stage in elastic for row in stage.options) == 240
    assert sum(len(stage.depths) for stage in elastic) == 15
    fixed: list[Piece] = [mobilenetv3.stem, mobilenetv3.block(0, 0, 0), mobilenetv3.block(6, 0, 0), mobilenetv3.head]
    assert len(mobilenetv3.blocks()) == 120 + len(fixed)
    assert sum(piece.params for piece in fixed) == pytest.approx(2.70e6, rel=1e-3)
    assert sum(piece.macs for piece in fixed) == pytest.approx(32.4e6, rel=1e-3)


def test_the_paper_s_extremes(mobilenetv3: SearchSpace) -> None:
    for arch, params, macs in ((mobilenetv3.smallest(), 3.25e6, 137e6), (mobilenetv3.largest(), 8.95e6, 521e6)):
        assert mobilenetv3.params(arch) == pytest.approx(params, rel=2e-3)
        assert mobilenetv3.macs(arch) == pytest.approx(macs, rel=2e-3)


@pytest.mark.parametrize("network", PUBLISHED["networks"], ids=lambda network: network["name"])
def test_published_networks_load_from_their_strings(mobilenetv3: SearchSpace, network: dict[str, object]) -> None:
    arch = mobilenetv3.architecture(str(network["arch"]))
    assert mobilenetv3.params(arch) == network["params"]
    assert mobilenetv3.macs(arch) == network["macs"]
    assert mobilenetv3.text(arch) == network["arch"]


def test_the_cifar10_space_is_as_wide_as_promised(cifar10: SearchSpace) -> None:
    elastic = [(s, stage) for s, stage in enumerate(cifar10.stages) if stage.elastic]
    assert cifar10.input_shape == (3, 32, 32)
    assert cifar10.size > 1e12
    assert sum(stage.max_depth for _, stage in elastic) >= 16
    assert {cifar10.block(s, 1, 0).resolution for s, _ in elastic} == {16, 8, 4}
    assert cifar10.macs(cifar10.smallest()) < 4e6
    assert 12e6 <= cifar10.macs(cifar10.largest()) <= 15e6


def test_enumeration_is_the_size_and_ordered(tiny_space: SearchSpace) -> None:
    networks = list(tiny_space.networks())
    assert len(networks) == len(set(networks)) == tiny_space.size
    keys = [tuple(itertools.chain(*zip(arch.depths, arch.options, strict=True))) for arch in networks]
    assert keys == sorted(keys)
    macs = [tiny_space.macs(arch) for arch in networks]
    assert min(macs) == tiny_space.macs(tiny_space.smallest())
    assert max(macs) == tiny_space.macs(tiny_space.largest())


@given(seed=st.integers(0, 2**32 - 1))
def test_text_and_json_are_inverses(tiny_space: SearchSpace, seed: int) -> None:
    arch = tiny_space.sample(np.random.default_rng(seed))
    assert tiny_space.architecture(tiny_space.text(arch)) == arch
    assert tiny_space.architecture(json.dumps(arch.to_json())) == arch


def test_sampling_is_uniform_for_each_decision(tiny_space: SearchSpace) -> None:
    rng = np.random.default_rng(0)
    drawn = [tiny_space.sample(rng) for _ in range(4000)]
    for s, stage in enumerate(tiny_space.stages):
        for depth in stage.depths:
            share = np.mean([arch.depths[s] == depth for arch in drawn])
            assert share == pytest.approx(1 / len(stage.depths), abs=0.03)
        first = [arch.options[s][0] for arch in drawn]
        for option in range(len(stage.options[0])):
            assert np.mean(np.equal(first, option)) == pytest.approx(1 / len(stage.options[0]), abs=0.03)


def test_equal_work_has_an_equal_key(mobilenetv3: SearchSpace) -> None:
    assert mobilenetv3.block(1, 1, 3).key == mobilenetv3.block(1, 3, 3).key
    assert mobilenetv3.block(1, 0, 3).key != mobilenetv3.block(1, 1, 3).key
    assert mobilenetv3.block(2, 1, 3).key != mobilenetv3.block(1, 1, 3).key


def test_pieces_fit_together(cifar10: SearchSpace) -> None:
    for arch in (cifar10.smallest(), cifar10.largest()):
        pieces = cifar10.pieces(arch)
        blocks = [piece for piece in pieces if isinstance(piece, Block)]
        for before, after in itertools.pairwise(blocks):
            assert (before.c_out, before.resolution_out) == (after.c_in, after.resolution)
        head = pieces[-1]
        assert isinstance(head, Head)
        assert (head.c_in, head.resolution) == (blocks[-1].c_out, blocks[-1].resolution_out)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("nonsense", "cannot read a network"),
        ("[1, 2]", "list of stages"),
        ("[['ir_r1_k3_s1_e1_c8_nre']]", "has 1 stages, space 'tiny' has 3"),
        ("[['what'], [], []]", "not a block string"),
        ("[['ir_r1_k3_s1_e9_c8_nre'], [], []]", "is not in space 'tiny'; allowed here are ir_r1_k3_s1_e1_c8_nre"),
        ('{"depths": [1, 1]}', "both lists of integers"),
        ('{"depths": [9, 1, 1], "options": [[0], [0], [0]]}', r"stages\[0\]: 1 blocks, .* allows depth 1, 2"),
        ('{"depths": [1, 1, 1], "options": [[7], [0], [0]]}', r"stages\[0\]\[0\]: option 7 of 5"),
    ],
)
def test_networks_of_elsewhere_are_refused(tiny_space: SearchSpace, text: str, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        tiny_space.architecture(text)


def test_too_deep_a_stage_is_refused(tiny_space: SearchSpace) -> None:
    rows = [["ir_r1_k3_s1_e1_c8_nre"] * 3, ["ir_r1_k3_s2_e2_c12"], ["cn_r1_k1_s1_c16"]]
    with pytest.raises(InputError, match="more than 2 blocks"):
        tiny_space.architecture(str(rows))
    with pytest.raises(InputError, match="has 0 stages"):
        tiny_space.validate(Architecture((), ()))


@given(st.floats(1, 5000))
def test_round8_stays_near(value: float) -> None:
    rounded = round8(value)
    assert rounded % 8 == 0
    assert rounded >= 0.9 * value
    assert abs(rounded - value) <= 8


@given(
    op=st.sampled_from(Op),
    kernel=st.sampled_from([1, 3, 5, 7]),
    expansion=st.sampled_from([1.0, 1.5, 3.0, 6.0]),
    se_ratio=st.sampled_from([0.0, 0.25]),
    stride=st.sampled_from([1, 2]),
    activation=st.sampled_from(Activation),
)
def test_block_strings_are_inverses(
    op: Op, kernel: int, expansion: float, se_ratio: float, stride: int, activation: Activation
) -> None:
    plain = {
        Op.CONV: Option(op, kernel),
        Op.IDENTITY: Option(op),
        Op.DEPTHWISE_SEPARABLE: Option(op, kernel, 1.0, se_ratio),
        Op.INVERTED_RESIDUAL: Option(op, kernel, expansion, se_ratio),
    }
    block = Block(plain[op], 16, 16, 32, 1 if op is Op.IDENTITY else stride, activation)
    stated = parse_block_text(block_text(block))
    assert (stated.option, stated.stride, stated.c_out) == (block.option, block.stride, 16)
    assert stated.activation is activation


HUGE = "0x" + "f" * 5000
"""More decimal digits than Python writes out."""
HUGE_IN_BLOCKS = [
    ("k", "_s1_e1_c8_nre"),
    ("k3_s", "_e1_c8_nre"),
    ("k3_s1_e", "_c8_nre"),
    ("k3_s1_e1.", "_c8_nre"),
    ("k3_s1_e1_c", "_nre"),
    ("k3_s1_e1_c8_nre_se", ""),
]


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"a":' * 50_000,
        "{[1]: 2}",
        '{"depths": [1e999], "options": [[0]]}',
        '{"depths": [1.0, 1, 1], "options": [[0], [0], [0]]}',
        '{"depths": ["1", 1, 1], "options": [[0], [0], [0]]}',
        '{"depths": [true, 1, 1], "options": [[0], [0], [0]]}',
        '{"depths": 1, "options": 2}',
        "[['ir_r1_k3_s1_e1.2.3_c8_nre'], [], []]",
        "[['ir_r1_k3_s1_e1_c8_nre_se0..5'], [], []]",
        "\0",
        *(f"[['ir_r1_{before}{'7' * 5000}{after}'], [], []]" for before, after in HUGE_IN_BLOCKS),
        "[['ir_r1_k\u0663_s1_e1_c8_nre'], [], []]",  # an Arabic digit
        "[['cn_r1_k1_s1_c1234567890'], [], []]",
        f"[[{HUGE}], [], []]",
        f"[['{'x' * 5000}'], [], []]",
        f"{{'depths': [{HUGE}, 1, 1], 'options': [[0], [0], [0]]}}",
        f"{{'depths': [1, 1, 1], 'options': [[{HUGE}], [0], [0]]}}",
        f"{{'depths': [1, 1, 1], 'options': [[-{HUGE}], [0], [0]]}}",
        f"{{'depths': [1, 1, 1], 'options': [[{10**9}], [0], [0]]}}",
        '{"depths": [' + "9" * 5000 + ', 1, 1], "options": [[0], [0], [0]]}',
        f"{{{HUGE}: 1, 'depths': '{HUGE}'}}",
        "[['\\d']]",  # Python's parser would warn of the escape
        "x" * (LONGEST_TEXT + 1),
    ],
    ids=lambda text: text[:20],
)
def test_hostile_networks_are_refused(tiny_space: SearchSpace, text: str) -> None:
    with pytest.raises(InputError) as caught:
        tiny_space.architecture(text)
    assert len(str(caught.value)) < 600


def test_the_deepest_network_that_a_space_may_have_is_not_too_long(tiny_space: SearchSpace) -> None:
    longest = "'ir_r1_k9_s2_e0.333333_c16384_nre_se0.333333', "
    assert len(parse_block_text(longest.strip("', ")).option.op.value) == 2
    assert 32 * (32 * len(longest) + len("[], ")) < LONGEST_TEXT
    with pytest.raises(InputError, match=rf"a network of {LONGEST_TEXT + 1} characters; at most {LONGEST_TEXT} are"):
        tiny_space.architecture(" " * (LONGEST_TEXT + 1))


def test_block_strings_are_shown_in_part() -> None:
    with pytest.raises(InputError, match=r"^'x{76}\.\.\. is not a block string"):
        parse_block_text("x" * 5000)
