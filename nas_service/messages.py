"""The bodies of requests and responses, shared by the API, the client and the workers."""

from datetime import datetime
from typing import Annotated, Generic, Literal, TypeVar

from pydantic import BeforeValidator, ConfigDict, Field, Strict, field_validator, model_validator

from nas_service.domain.architecture import Architecture
from nas_service.domain.digests import DIGEST_PATTERN
from nas_service.domain.faults import Fault
from nas_service.domain.objectives import Direction, Objective
from nas_service.domain.records import StoredSearch
from nas_service.domain.roles import Quotas, Role, Usage
from nas_service.domain.search import Recipe
from nas_service.domain.states import FailureReason, TrialState
from nas_service.domain.stopping import Standing
from nas_service.domain.tasks import Dataset, Task
from nas_service.domain.transfer import LrTransfer
from nas_service.domain.trial import LearningRates, Trial
from nas_service.domain.values import Value

Item = TypeVar("Item")
Name = Annotated[str, Field(min_length=1, max_length=64)]
Text = Annotated[str, Field(max_length=4000)]
MetricName = Annotated[str, Field(max_length=64)]


def _without_fraction(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


# A number is neither text nor true, and 3.0 is a whole one, as the schema says.
Whole = Annotated[int, Strict(), Field(gt=-(2**53), lt=2**53), BeforeValidator(_without_fraction)]
Count = Annotated[Whole, Field(ge=0, lt=2**31)]
Memory = Annotated[Whole, Field(ge=0)]  # in bytes
Number = Annotated[float, Strict()]
Metrics = Annotated[dict[MetricName, Number], Field(max_length=50)]
# a number that is none reaches the verb, which names it together with all other faults
OutsideMetrics = Annotated[dict[MetricName, Annotated[Number, Field(allow_inf_nan=True)]], Field(max_length=50)]
MAX_RESULTS = 5_000  # measured elsewhere, in one call
MAX_REPORTS = 10_000  # of epochs, in one heartbeat
Sha256 = Annotated[str, Field(pattern=DIGEST_PATTERN)]


class Sent(Value):
    """What a caller sends, held strictly to its schema."""

    model_config = ConfigDict(strict=True)


class Page(Value, Generic[Item]):
    """One page of a list, newest first."""

    items: list[Item]
    next_cursor: str | None = Field(description="pass it as `cursor` for the next page; null on the last one")


class Problem(Value):
    """The body of every error."""

    error: str = Field(description="what was wrong, what was expected and what to do, in one sentence")
    faults: list[Fault] = Field(default=[], description="every faulty field, when a body was refused")


# ---- what people see


class Me(Value):
    """The key of a call."""

    name: str
    role: Role
    expires_at: datetime | None
    quotas: Quotas
    usage: Usage | None = Field(description="what its searches take; null where no key of the table stands behind it")


class ArmProgress(Value):
    """How far an arm is."""

    name: str
    spent: float = Field(description="spent and promised, in the budget's unit")
    budget: float = Field(
        description="what it may spend: its own budget, or with adaptive allocation the purse that all arms share; the "
        "last trial may take it over the edge"
    )
    trials: dict[TrialState, int] = Field(description="how many of its trials stand in each state")
    imported: int = Field(description="how many of the completed ones were measured elsewhere, outside the budget")
    exhausted: str | None = Field(description="why no shape is left to propose; null while there are some")


class SearchDetail(StoredSearch):
    """A search, how far it is, and why nothing runs when nothing runs."""

    arms: list[ArmProgress]
    owner: str | None = Field(
        default=None, description="the key that it belongs to; null: submitted while there were no keys"
    )
    waiting_because: str | None = Field(description="why no worker trains for it; null when one does or it has ended")


class FrontPart(Value):
    """The non-dominated completed trials of an arm or of the union, cheapest first."""

    points: list[Trial]
    hypervolume: float | None = Field(description="null while the reference point is not known")


class Front(Value):
    """The fronts of a search. Hypervolume is in the objectives' units, log10 where the scale is log."""

    objectives: list[Objective]
    reference_point: list[float | None] = Field(description="null where it needs the first result")
    union: FrontPart
    arms: dict[str, FrontPart]


class Extend(Sent):
    """A larger budget for every arm."""

    budget: float = Field(gt=0, allow_inf_nan=False, description="the new total per arm, in the budget's own unit")


class Enqueue(Sent):
    """An architecture to train next in an arm, outside of what the sampler proposes."""

    arm: Name
    d_z: Whole = Field(ge=1, le=1_000_000)
    d_h: Whole = Field(ge=1, le=1_000_000)
    depth: Whole = Field(ge=1, le=1_000)
    lr: float | None = Field(default=None, gt=0, le=10, description="leave it out where the arm fixes it")


class Brought(Value):
    """What became of results that were brought."""

    added: int = Field(description="completed trials that are new")
    already_there: int = Field(description="that the same results had brought before")


# ---- what workers say


class WorkerInfo(Sent):
    """What a worker tells of itself with every request for a lease."""

    id: Name
    name: Annotated[str, Field(min_length=1, max_length=200)]
    device: Annotated[str, Field(max_length=200)]
    memory_bytes: Memory | None = None  # free on the device, and promised to no trial
    slots: Whole = Field(default=1, ge=1, le=1000)  # trials that it trains at once
    labels: dict[Name, Annotated[str, Field(max_length=200)]] = Field(default={}, max_length=20)
    version: Annotated[str, Field(max_length=40)]
    datasets: dict[Annotated[str, Field(max_length=500)], Sha256 | None] = Field(max_length=1000)
    problems: dict[Annotated[str, Field(max_length=500)], Text] = Field(default={}, max_length=1000)


class LeaseRequest(Sent):
    """A worker asks for a trial; the same request id gets the same lease."""

    request_id: Annotated[str, Field(min_length=8, max_length=64)]
    worker: WorkerInfo
    wait_seconds: float = Field(default=20, ge=0, le=30)  # how long the server may hold the call


class Lease(Value):
    """All that a worker needs for one trial."""

    lease_id: str
    token: int  # goes back in the header Lease-Token
    kind: Literal["train"]
    trial_id: int
    search_id: int
    arm: str
    number: int
    architecture: Architecture
    lr: LearningRates
    seed: int  # replicate r trains with seed + r
    dataset: Dataset
    task: Task
    recipe: Recipe
    quality: str  # the metric by which the best of several learning rates is chosen
    quality_direction: Direction
    lr_transfer: LrTransfer = LrTransfer.NONE  # how lr becomes the rate of each weight
    rungs: tuple[int, ...] = ()  # epochs after which averaged weights are measured too, and the trial is judged
    measure: tuple[str, ...] = ()  # the costs that the worker's device is to measure
    keep_network: bool  # whether the server wants the trained network
    checkpoint: Sha256 | None  # what an earlier worker left of the trial, to go on from; None to begin
    checkpoint_seconds: float  # how often the server wants one
    lease_seconds: float
    heartbeat_seconds: float


class EpochReport(Sent):
    """The metrics of one epoch of one of the trial's networks."""

    training: Whole = Field(ge=0, lt=100_000)  # which of the trial's networks: learning rates times replicates
    epoch: Whole = Field(ge=1, le=1_000_000)  # epochs finished
    metrics: Metrics


class Curves(Value):
    """What a trial reported while it trained, in order of training and epoch."""

    trial_id: int
    reports: list[EpochReport]
    rungs: list[Standing] = Field(default=[], description="how it stood when it might have been stopped early")


class Report(Sent):
    """Heartbeat and news of a running trial."""

    step: Whole = Field(ge=0)  # optimizer steps done; standing still for long means stalled
    reports: list[EpochReport] = Field(default=[], max_length=MAX_REPORTS)


class ReportAnswer(Value):
    """Whether to go on."""

    action: Literal["continue", "stop"]
    reason: Literal["early", "paused", "cancelled"] | None = None


class ReplicateResult(Sent):
    """One trained network of the trial."""

    run: Count  # from 0 over learning rates, then replicates
    replicate: Count
    seed: Whole
    lr: float
    metrics: dict[Literal["eval", "test"], Metrics] | None  # None when it diverged
    diverged_at_epoch: Count | None


class Result(Value):
    """How a trial ended."""

    outcome: Literal["completed", "stopped", "failed"]
    reason: FailureReason | None = None  # of a failed one
    message: Text | None = None
    lr: Number | None = None  # the chosen one, when the arm trains several
    # means over replicates of the splits' metrics; `measured`: what the lease asked to measure
    metrics: dict[Literal["eval", "test", "measured"], Metrics] | None = None
    trivial: Metrics | None = None  # the task's trivial answer on the evaluation split
    replicates: list[ReplicateResult] = Field(default=[], max_length=2000)
    seconds: Number = Field(default=0, ge=0)
    epochs_done: Count = 0
    environment: dict[Name, Text | Whole | float | bool | None] = Field(default={}, max_length=50)
    projection_hash: Sha256 | None = None  # of the fixed W_in of replicate 0

    @model_validator(mode="after")
    def _parts_agree(self) -> "Result":
        if (self.outcome == "failed") != (self.reason is not None):
            raise ValueError("a failed result has a reason, any other has none")
        if self.outcome == "completed" and not (self.metrics or {}).get("eval"):
            raise ValueError("a completed result has metrics of the evaluation split")
        return self


class OutsideResult(Value):
    """A network of an arm that was trained and measured elsewhere, in the way of the search."""

    arm: Name
    d_z: Whole = Field(ge=1, le=1_000_000)
    d_h: Whole = Field(ge=1, le=1_000_000)
    depth: Whole = Field(ge=1, le=1_000)
    lr: Number = Field(gt=0, le=10, description="one of them, the best, where the arm trains a list")
    metrics: dict[Literal["eval", "test", "measured"], OutsideMetrics] = Field(description="means over replicates")
    replicates: list[ReplicateResult] = Field(default=[], max_length=2000)
    source: str = Field(min_length=1, max_length=300, description="where it comes from; people read it")


class OutsideResults(Sent):
    """Results measured elsewhere, for any of the search's arms: all are stored, or none."""

    results: list[OutsideResult] = Field(min_length=1, json_schema_extra={"maxItems": MAX_RESULTS})

    @field_validator("results", mode="before")
    @classmethod
    def _are_not_too_many(cls, results: object) -> object:
        if isinstance(results, list) and len(results) > MAX_RESULTS:
            raise ValueError(f"at most {MAX_RESULTS:,} results at once (got {len(results):,}); send them in parts")
        return results


class Release(Sent):
    """A worker gives a trial back untrained; this uses no attempt."""

    reason: Literal["shutdown", "paused", "dataset"]
    message: Text | None = None
