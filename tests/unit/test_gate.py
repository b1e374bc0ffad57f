"""The gate's arithmetic: exact tests against their definitions, error rates by simulation, sealed documents."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from binas_deploy import documents
from binas_deploy.bundle.latency import AnchorMedians
from binas_deploy.conditions import IDENTITY_KEYS, Conditions
from binas_deploy.errors import DocumentError, InputError
from binas_deploy.gate.accepted import ACCEPTED_NAME, Accepted
from binas_deploy.gate.cause import Cause, Part
from binas_deploy.gate.comparison import Comparison, Pair, Side, low_ns
from binas_deploy.gate.judgement import Change, Rule, effect_of, judge, needs_confirmation
from binas_deploy.gate.report import BundleCheck, CheckReport, NotTimed, Numerics, Outcome
from binas_deploy.gate.signed_rank import interval, location, p_greater
from binas_deploy.gate.stored import Stored
from binas_deploy.report.check import check_markdown
from binas_deploy.report.check_junit import check_junit

GOLDEN = Path(__file__).parents[1] / "data" / "formats"
RULE = Rule.of(0.01)
whole = st.lists(st.integers(-8, 8), min_size=1, max_size=9)
spread = st.lists(st.floats(-1, 1).filter(lambda x: abs(x) > 1e-9), min_size=6, max_size=24, unique_by=abs)


@given(whole)
def test_p_is_the_share_of_sign_patterns_at_least_as_large(values: list[int]) -> None:
    differences = np.array(values, float)
    kept = differences[differences != 0]
    ranks = stats.rankdata(abs(kept)) if kept.size else kept
    found = float(ranks[kept > 0].sum())
    sums = [float(np.dot(ranks, signs)) for signs in itertools.product((0, 1), repeat=kept.size)]
    expected = np.mean([total >= found - 1e-9 for total in sums])
    assert p_greater(differences) == pytest.approx(expected)


@given(spread)
def test_p_location_and_interval_agree_with_scipy_and_each_other(values: list[float]) -> None:
    differences = np.array(values)
    known = stats.wilcoxon(differences, alternative="greater", method="exact").pvalue
    assert p_greater(differences) == pytest.approx(known)
    low, high = interval(differences)
    assert low <= location(differences) <= high
    assert location(-differences) == pytest.approx(-location(differences))
    assert location(differences + 3) == pytest.approx(location(differences) + 3)


def test_the_interval_inverts_the_test() -> None:
    differences = np.random.default_rng(0).normal(0.3, 1, 20)
    low, high = interval(differences)
    for end, step in ((low, -1e-6), (high, 1e-6)):
        outside, inside = differences - (end + step), differences - (end - step)
        assert min(p_greater(outside), p_greater(-outside)) <= 0.025 < min(p_greater(inside), p_greater(-inside))


def test_nothing_but_zeros_shows_nothing() -> None:
    assert p_greater(np.zeros(20)) == 1.0
    assert not needs_confirmation(np.zeros(20), RULE)
    with pytest.raises(InputError, match="at least 6 pairs"):
        interval(np.zeros(5))


def decided(rng: np.random.Generator, effect: float, sd: float, rule: Rule) -> Change:
    """A whole check of heavy-tailed pairs."""
    rounds = [math.log1p(effect) + sd * rng.standard_t(3, 20)]
    if needs_confirmation(rounds[0], rule):
        rounds.append(math.log1p(effect) + sd * rng.standard_t(3, 20))
    return judge(rounds, rule).change


@pytest.mark.parametrize("sd", [0.008, 0.03, 0.1])
def test_false_alarms_are_rare_however_noisy_the_machine(sd: float) -> None:
    rng = np.random.default_rng(1)
    found = [decided(rng, 0.0, sd, RULE) for _ in range(800)]
    alarms = sum(change is Change.SLOWER for change in found)
    assert alarms <= 7  # expected at most 2 of 800


def test_a_slowdown_is_called_and_its_mirror_is_an_improvement() -> None:
    rng = np.random.default_rng(2)
    assert np.mean([decided(rng, 0.03, 0.01, RULE) is Change.SLOWER for _ in range(200)]) > 0.9
    assert np.mean([decided(rng, 1 / 1.03 - 1, 0.01, RULE) is Change.FASTER for _ in range(200)]) > 0.9
    assert np.mean([decided(rng, 0.005, 0.005, RULE) is Change.NONE for _ in range(200)]) > 0.9  # below the threshold


def test_too_much_noise_is_inconclusive_and_says_what_could_be_seen() -> None:
    rng = np.random.default_rng(3)
    rounds = [0.1 * rng.standard_normal(20)]
    judged = judge(rounds, RULE)
    assert judged.change is Change.INCONCLUSIVE
    assert judged.effect.detectable > 5
    assert judge([rounds[0] / 100], RULE).change is Change.NONE


@given(st.integers(0, 10_000), st.floats(0.005, 0.05))
def test_what_is_called_detectable_is_detected(seed: int, sd: float) -> None:
    rng = np.random.default_rng(seed)
    effect = effect_of(sd * rng.standard_normal(20), RULE)
    assert effect.detectable > 100 * RULE.threshold
    assert effect.low <= effect.percent <= effect.high


def test_a_suspicion_needs_its_confirmation() -> None:
    slower = np.linspace(0.02, 0.06, 20)
    with pytest.raises(InputError, match="followed by a second"):
        judge([slower], RULE)
    with pytest.raises(InputError, match="one or two rounds"):
        judge([], RULE)
    assert judge([slower, slower / 2], RULE).change is Change.SLOWER
    not_confirmed = judge([slower, -slower / 2], RULE)
    assert (not_confirmed.change, not_confirmed.suspected) == (Change.NONE, Change.SLOWER)
    assert not_confirmed.effect.percent < 0  # the second round's, by which nothing was chosen


def test_the_rate_is_split_over_comparisons() -> None:
    assert Rule.of(0.01, 4).level == pytest.approx(RULE.level / 2)
    assert (RULE.least_pairs, Rule.of(0.01, 100).least_pairs) == (5, 8)
    with pytest.raises(InputError):
        Rule(0.0, 0.05)


def side(what: str = "base", version: str = "1.31.0", digest: str = "ab" * 32, simulated: bool = False) -> Side:
    identity = dict.fromkeys(IDENTITY_KEYS, "x") | {
        "batch": "1",
        "threads": "1",
        "runtime": "onnxruntime",
        "runtime_version": version[:4],
    }
    return Side(what, digest, "cd" * 32, "3.11.9", Conditions(identity, {"runtime_version_full": version}), simulated)


def pairs_of(effect: float, seed: int = 0) -> tuple[Pair, ...]:
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(20):
        host = rng.choice([270_000, 440_000], 8)  # its speed changes within a pair
        noise = np.exp(0.005 * rng.standard_normal((2, 8)))
        base, head = np.rint(host * noise[0]), np.rint((1 + effect) * host * noise[1])
        found.append(Pair(tuple(map(int, base)), tuple(map(int, head))))
    return tuple(found)


def comparison(effect: float = 0.0, **changes: Any) -> Comparison:
    rounds = (pairs_of(effect),) if abs(effect) < 0.005 else (pairs_of(effect), pairs_of(effect, 1))
    given = {"base": side(version="1.30.1"), "head": side("head", digest="ef" * 32)} | changes
    return Comparison(rule=RULE, rounds=rounds, seconds=31.5, **given)


NUMERICS = Numerics(8, 6.7e-7, "a difference of 0.0001 of the largest")
CAUSE = Cause(
    (
        Part("stage 2", "3x3 convolution", (100.0, 101.0), (101.0, 102.0)),
        Part("stage 3", "5x5 inverted residual", (100.0, 100.0), (118.0, 118.5)),
        Part("head", "", (10.0, 10.0), (10.0, 10.0)),
    ),
    since="since onnxruntime 1.31.0 (was 1.30.1)",
)


def bundle(effect: float = 0.0, **changes: Any) -> BundleCheck:
    made: dict[str, Any] = {"name": "net", "manifest_digest": "ef" * 32, "fault": "", "numerics": NUMERICS}
    return BundleCheck(**made | {"timing": comparison(effect)} | changes)


def report(*bundles: BundleCheck, **changes: Any) -> CheckReport:
    made = CheckReport(
        created="2026-11-22T09:30:00+00:00",
        against="main (0123456789)",
        threshold=0.01,
        pairs=20,
        report_only=False,
        seed=0,
        seconds=63.0,
        bundles=bundles,
        removed=("gone",),
    )
    return replace(made, **changes)


ACCEPTED = Accepted(
    head="ef" * 32,
    base="ab" * 32,
    head_runtime="onnxruntime 1.31.0",
    base_runtime="onnxruntime 1.30.1",
    percent=5.0,
    low=4.5,
    high=5.5,
    reason="two points more accuracy",
    created="2026-11-22T09:30:00+00:00",
    tool_version="0.1.0",
)
UNCHANGED, NEW = NotTimed("unchanged", "unchanged, byte for byte"), NotTimed("new", "no base")
UNCHECKED = Numerics(8, None, "a difference of 0.0001 of the largest", unchecked="the device only times")


@pytest.mark.parametrize(
    ("bundles", "outcome", "code", "code_report_only"),
    [
        ([bundle()], Outcome.FINE, 0, 0),
        ([bundle(0.05)], Outcome.REGRESSED, 1, 0),
        ([bundle(-0.05)], Outcome.IMPROVED, 0, 0),
        ([bundle(timing=UNCHANGED)], Outcome.UNCHANGED, 0, 0),
        ([bundle(timing=NEW)], Outcome.NOT_COMPARED, 3, 0),
        ([bundle(timing=NEW), bundle()], Outcome.FINE, 0, 0),
        ([bundle(), bundle(0.05)], Outcome.REGRESSED, 1, 0),
        ([bundle(0.05, accepted=ACCEPTED)], Outcome.ACCEPTED, 0, 0),
        ([bundle(0.10, accepted=ACCEPTED)], Outcome.REGRESSED, 1, 0),  # clearly more than was accepted
        ([bundle(0.05, accepted=replace(ACCEPTED, base="0" * 64))], Outcome.REGRESSED, 1, 0),
        ([bundle(fault="model.onnx: damaged", numerics=None, timing=NotTimed("unsound", ""))], Outcome.FAILED, 1, 1),
        ([bundle(timing=comparison(head=side(simulated=True)))], Outcome.INCONCLUSIVE, 4, 4),
        ([bundle(numerics=UNCHECKED)], Outcome.INCONCLUSIVE, 4, 0),
        ([], Outcome.NOT_COMPARED, 3, 3),
    ],
)
def test_outcomes_and_exit_codes(
    bundles: list[BundleCheck], outcome: Outcome, code: int, code_report_only: int
) -> None:
    made = report(*bundles)
    assert (made.outcome, made.exit_code) == (outcome, code)
    assert replace(made, report_only=True).exit_code == code_report_only


def test_a_host_that_changes_its_speed_within_a_pair_does_not_count() -> None:
    assert comparison(0.05).judgement.effect.percent == pytest.approx(5, abs=0.4)
    assert low_ns(np.array([1, 2, 3, 4, 100])) == 2


def test_a_pair_without_turns_cannot_be() -> None:
    with pytest.raises(InputError, match="turns on both sides"):
        Pair((), ())


def test_the_cause_names_the_piece_or_the_stage_or_says_that_it_is_spread() -> None:
    assert CAUSE.text == "stage 3, 5x5 inverted residual, +18 % since onnxruntime 1.31.0 (was 1.30.1)"
    everywhere = [replace(part, head_ns=tuple(1.1 * base for base in part.base_ns)) for part in CAUSE.parts]
    assert Cause(tuple(everywhere), "").text == "spread over all pieces, +10 % together"
    two = [
        Part("stage 1", "3x3", (100.0,), (103.0,)),
        Part("stage 2", "3x3", (100.0,), (110.0,)),
        Part("stage 2", "5x5", (100.0,), (111.0,)),
    ]
    assert Cause(tuple(two), "").text == "stage 2, +10 %"
    assert "no piece alone" in Cause((replace(two[0], head_ns=(99.0,)),), "").text
    deeper = (replace(two[0], head_ns=(100.0,)), Part("stage 2", "", (0.0,), (50.0,)))
    assert Cause(deeper, "").text == "stage 2, +0.1 us (one side does not have it)"


def stored(head_ns: float, anchors: int = 12, noise: float = 0.004) -> Stored:
    rows = tuple(
        AnchorMedians("random", 1e5 * (i + 1), 1.3e5 * (i + 1) * (1 + 0.004 * (-1) ** i)) for i in range(anchors)
    )
    return Stored(side("stored"), side("head"), RULE, 400_000.0, head_ns, rows, noise, 12.0)


def test_a_stored_latency_is_carried_over_by_anchors() -> None:
    same, slower = stored(520_000.0), stored(572_000.0)
    assert same.percent == pytest.approx(0, abs=0.5)
    assert (same.change, slower.change, stored(470_000.0).change) == (Change.NONE, Change.SLOWER, Change.FASTER)
    assert stored(572_000.0, noise=0.05).change is Change.INCONCLUSIVE
    assert "only relative to 12 networks" in check_markdown(report(bundle(timing=same)))


FULL = report(
    bundle(0.05, cause=CAUSE),
    bundle(0.05, name="meant", accepted=ACCEPTED),
    bundle(name="other"),
    bundle(name="same", timing=UNCHANGED),
    bundle(name="added", timing=NEW),
    bundle(name="far", timing=stored(520_000.0)),
    bundle(name="bad", fault="damaged", numerics=None, timing=NotTimed("unsound", "nothing was timed")),
)


def test_the_golden_files_are_read(tmp_path: Path) -> None:
    found = CheckReport.load(GOLDEN / "check-v1.json")
    assert found == FULL
    accepted = json.loads((GOLDEN / "accepted-v1.json").read_text())
    (tmp_path / ACCEPTED_NAME).write_text(json.dumps(accepted))
    assert Accepted.load(tmp_path) == ACCEPTED


def test_figures_that_do_not_follow_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "check.json"
    FULL.save(path)
    assert CheckReport.load(path) == FULL
    document = FULL.to_document()
    changes: list[dict[str, Any]] = [{"exit_code": 0}, {"bundles": []}, {"outcome": "unchanged"}]
    for change in changes:
        forged = {**document, **change}
        documents.write_document(path, forged | {"digest": documents.digest(forged)})
        with pytest.raises(DocumentError, match="do not follow"):
            CheckReport.load(path)
    documents.write_document(path, document | {"exit_code": 0})
    with pytest.raises(DocumentError, match="edited by hand"):
        CheckReport.load(path)
    broken = {**document, "bundles": [{}]}
    documents.write_document(path, broken | {"digest": documents.digest(broken)})
    with pytest.raises(DocumentError, match="bundles"):
        CheckReport.load(path)


def test_accepted_is_absent_whole_or_refused(tmp_path: Path) -> None:
    assert Accepted.load(tmp_path) is None
    ACCEPTED.save(tmp_path)
    assert Accepted.load(tmp_path) == ACCEPTED
    (tmp_path / ACCEPTED_NAME).write_text("{}")
    with pytest.raises(DocumentError):
        Accepted.load(tmp_path)


def test_markdown_has_the_table_and_takes_names_for_what_they_are() -> None:
    text = check_markdown(report(bundle(0.05, name="a|b<script>", cause=CAUSE)))
    assert "| a\\|b&lt;script&gt; | ❌ regressed |" in text
    assert "where: stage 3, 5x5 inverted residual, +18 % since onnxruntime 1.31.0" in text
    assert "<script>" not in text


def test_junit_has_two_cases_of_each_bundle() -> None:
    from junitparser import JUnitXml

    suite = next(iter(JUnitXml.fromstring(check_junit(FULL).encode())))
    assert (suite.tests, suite.failures, suite.skipped) == (14, 2, 3)
    only = next(iter(JUnitXml.fromstring(check_junit(replace(FULL, report_only=True)).encode())))
    assert only.failures == 1  # the damaged one
