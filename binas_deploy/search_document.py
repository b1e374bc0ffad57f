"""The document of a search result: its fields as they stand in the file."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from binas_deploy.estimate import EstimateDocument

_Number = Annotated[float, Field(allow_inf_nan=False)]
_Amount = Annotated[float, Field(allow_inf_nan=False, ge=0)]
_Whole = Annotated[int, Field(ge=0)]
_Limit = Annotated[int, Field(gt=0)]
_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Text = Annotated[str, Field(max_length=1000)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class NetworkDocument(_Strict):
    """The network, as block strings and as indices."""

    text: str
    depths: list[int]
    options: list[list[int]]


class _Latency(_Strict):
    budget: _Text
    limit_ns: _Limit
    device: _Text
    statistic: _Text
    cadence: _Text
    confidence: Annotated[float, Field(gt=0, lt=1)] | None
    most_predicted_ns: _Whole
    predicted: EstimateDocument
    as_made: EstimateDocument
    table_digest: _Digest
    simulated: bool
    every_network_meets_it: bool


class _Energy(_Strict):
    budget: _Text
    limit_nj: _Limit
    device: _Text
    sensor: _Text
    confidence: Annotated[float, Field(gt=0, lt=1)] | None
    most_predicted_nj: _Whole
    predicted: EstimateDocument
    table_digest: _Digest
    simulated: bool
    every_network_meets_it: bool


class _Computed(_Strict):
    resource: Literal["params", "macs", "weights", "memory"]
    budget: _Text
    limit: _Limit
    used: _Whole
    every_network_meets_it: bool


class _Footprint(_Strict):
    params: _Whole
    macs: _Whole
    weights: _Whole
    memory: _Whole
    batch: _Limit
    precision: Literal["fp32", "fp16", "int8"]


class ResultDocument(_Strict):
    """The whole document."""

    format: str
    version: int
    digest: str
    space: dict[str, str]
    architecture: NetworkDocument
    latencies: list[_Latency]
    energies: Annotated[list[_Energy], Field(min_length=1, default_factory=list)]
    computed: list[_Computed]
    footprint: _Footprint
    accuracy: EstimateDocument
    accuracy_digest: _Digest
    supernet_digest: Annotated[str, Field(max_length=128)]
    status: Literal["optimal", "feasible"]
    bound: _Number | None
    gap: _Amount | None
    solver: _Text
    tie_rule: _Text
    seed: _Whole
    solve_seconds: _Amount
    notes: list[_Text]

    @model_validator(mode="after")
    def _limited(self) -> ResultDocument:
        if not (self.latencies or self.energies or self.computed):
            raise ValueError("a search has at least one budget: latencies, energies and computed are all empty")
        return self
