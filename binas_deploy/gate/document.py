"""The document of a check: its fields as they stand in the file, and the way to the parts of a report.

Format history of ``binas-deploy/check``:

1. The first: each bundle with its numerics, the turns of all pairs of processes, both sides' conditions, the effect and
   the verdict; why one was not timed; where a regression lies; and what was accepted.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from binas_deploy.bundle.latency import AnchorMedians
from binas_deploy.bundle.manifest_document import Noise
from binas_deploy.conditions import Conditions, ConditionsDocument
from binas_deploy.gate.accepted import AcceptedDocument
from binas_deploy.gate.cause import Cause, Part
from binas_deploy.gate.comparison import Comparison, Pair, Side
from binas_deploy.gate.judgement import Rule
from binas_deploy.gate.report import BundleCheck, CheckReport, NotTimed, Numerics, Outcome, Timing
from binas_deploy.gate.stored import Stored
from binas_deploy.table.names import NAME_PATTERN, TIME_PATTERN

_Number = Annotated[float, Field(allow_inf_nan=False)]
_Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Share = Annotated[float, Field(gt=0, lt=1)]
_Ns = Annotated[int, Field(ge=1, le=10**18)]
_Time = Annotated[float, Field(ge=1, le=1e18)]
_Text = Annotated[str, Field(max_length=4000)]
_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Outcome = Annotated[Outcome, Field(strict=False)]
"""By its value: strict reading takes an enumeration only as such."""
_Change = Literal["slower", "faster", "no change", "inconclusive"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _Side(_Strict):
    what: _Text
    manifest_digest: _Digest
    program: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]
    python: Annotated[str, Field(max_length=64)]
    simulated: bool
    conditions: ConditionsDocument

    def side(self) -> Side:
        conditions = Conditions(self.conditions.identity, self.conditions.context)
        return Side(self.what, self.manifest_digest, self.program, self.python, conditions, self.simulated)


class _Pair(_Strict):
    base_ns: Annotated[list[_Ns], Field(min_length=1, max_length=1000)]
    head_ns: Annotated[list[_Ns], Field(min_length=1, max_length=1000)]

    def pair(self) -> Pair:
        return Pair(tuple(self.base_ns), tuple(self.head_ns))


class _Rule(_Strict):
    threshold: _Share
    level: _Share


class _Effect(_Strict):
    percent: _Number
    low: _Number
    high: _Number
    p_slower: _Amount
    p_faster: _Amount
    detectable: _Number


class _Compared(_Strict):
    kind: Literal["pairs"]
    change: _Change
    suspected: _Change
    effect: _Effect
    base_ns: _Time
    head_ns: _Time
    rule: _Rule
    base: _Side
    head: _Side
    rounds: Annotated[list[Annotated[list[_Pair], Field(min_length=1)]], Field(min_length=1, max_length=2)]
    seconds: _Amount

    def timing(self) -> Timing:
        rounds = tuple(tuple(pair.pair() for pair in pairs) for pairs in self.rounds)
        return Comparison(self.base.side(), self.head.side(), Rule(**self.rule.model_dump()), rounds, self.seconds)


class _Anchor(_Strict):
    kind: Annotated[str, Field(pattern=NAME_PATTERN)]
    then_ns: _Time
    now_ns: _Time


class _Stored(_Strict):
    kind: Literal["relative to anchors"]
    change: _Change
    percent: _Number
    half_width: _Amount
    detectable: _Number
    base_ns: _Number
    base_then_ns: _Time
    head_ns: _Time
    anchors: Annotated[list[_Anchor], Field(min_length=1)]
    noise: Noise
    rule: _Rule
    base: _Side
    head: _Side
    seconds: _Amount

    def timing(self) -> Timing:
        anchors = tuple(AnchorMedians(**row.model_dump()) for row in self.anchors)
        rule = Rule(**self.rule.model_dump())
        sides = self.base.side(), self.head.side()
        return Stored(*sides, rule, self.base_then_ns, self.head_ns, anchors, self.noise, self.seconds)


class _NotTimed(_Strict):
    kind: Literal["unchanged", "new", "unsound"]
    why: _Text

    def timing(self) -> Timing:
        return NotTimed(self.kind, self.why)


class _Numerics(_Strict):
    vectors: Annotated[int, Field(ge=0)]
    relative: _Amount | None
    tolerance: Annotated[str, Field(max_length=200)]
    fault: Annotated[str, Field(max_length=2000)]
    unchecked: _Text


class _Part(_Strict):
    stage: Annotated[str, Field(max_length=64)]
    what: Annotated[str, Field(max_length=200)]
    percent: _Number | None
    lost_ns: _Number
    base_ns: Annotated[list[_Amount], Field(min_length=1)]
    head_ns: Annotated[list[_Amount], Field(min_length=1)]


class _Cause(_Strict):
    text: _Text
    since: _Text
    untold: _Text
    parts: list[_Part]

    def cause(self) -> Cause:
        rows = [Part(row.stage, row.what, tuple(row.base_ns), tuple(row.head_ns)) for row in self.parts]
        return Cause(tuple(rows), self.since, self.untold)


class _Bundle(_Strict):
    name: Annotated[str, Field(min_length=1, max_length=255)]
    manifest_digest: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]
    outcome: _Outcome
    fault: _Text
    numerics: _Numerics | None
    latency: Annotated[_Compared | _Stored | _NotTimed, Field(discriminator="kind")]
    cause: _Cause | None
    accepted: AcceptedDocument | None

    def bundle(self) -> BundleCheck:
        return BundleCheck(
            name=self.name,
            manifest_digest=self.manifest_digest,
            fault=self.fault,
            numerics=Numerics(**self.numerics.model_dump()) if self.numerics else None,
            timing=self.latency.timing(),
            cause=self.cause.cause() if self.cause else None,
            accepted=self.accepted.accepted() if self.accepted else None,
        )


class CheckDocument(_Strict):
    """The whole document."""

    format: str
    version: int
    digest: str
    created: Annotated[str, Field(pattern=TIME_PATTERN)]
    against: _Text
    outcome: _Outcome
    exit_code: Annotated[int, Field(ge=0, le=255)]
    threshold: _Share
    pairs: Annotated[int, Field(ge=1, le=10_000)]
    report_only: bool
    seed: Annotated[int, Field(ge=0)]
    seconds: _Amount
    removed: list[_Text]
    bundles: list[_Bundle]

    def report(self) -> CheckReport:
        """The report that it is of."""
        return CheckReport(
            created=self.created,
            against=self.against,
            threshold=self.threshold,
            pairs=self.pairs,
            report_only=self.report_only,
            seed=self.seed,
            seconds=self.seconds,
            bundles=tuple(row.bundle() for row in self.bundles),
            removed=tuple(self.removed),
        )
