"""A proposal, and the record of a trial as every room sees it."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from math import sqrt
from statistics import stdev
from typing import Any, Literal

from pydantic import Field

from nas_service.domain.architecture import Architecture
from nas_service.domain.arm import Arm
from nas_service.domain.costs import Costs
from nas_service.domain.front import Points, minimised
from nas_service.domain.objectives import Objective
from nas_service.domain.states import FailureReason, TrialState
from nas_service.domain.values import Value

LearningRates = float | tuple[float, ...]

DrawnOrigin = Literal["sampler", "random"]
# fallback: random among the legal shapes; enqueued: by a user; imported: measured elsewhere, outside the budget
Origin = Literal[DrawnOrigin, "fallback", "enqueued", "imported"]


class Trial(Value):
    """One architecture and learning rate in one arm, as stored."""

    id: int  # unique in the service
    search_id: int
    arm: str
    number: int  # in its arm, from 0 without gaps, refused proposals included
    state: TrialState
    reason: FailureReason | None = None  # of a failed trial
    message: str | None = None  # why it was refused, failed or given back, or where it was imported from
    origin: Origin  # who proposed it
    architecture: Architecture | None  # None when the sampler proposed sizes that make no architecture
    lr: LearningRates
    costs: Costs | None
    # {"eval": {"psnr_db": ...}, "test": {...}}: means over replicates; {"measured": {"latency_ms": ...}}: what the
    # worker's device took, where the search asks for it
    metrics: dict[str, Any] | None = None
    replicates: tuple[dict[str, Any], ...] = ()  # {"replicate", "seed", "lr", "metrics"}: each network trained
    seed: int  # replicate r trains with seed + r
    on_front: bool = False  # on the front of its arm
    attempt: int = 0  # leases that expired before
    worker_id: str | None = None  # who trains or trained it
    environment: dict[str, Any] | None = None  # versions, device and precision that trained it
    projection_hash: str | None = None  # sha256 of a fixed W_in, replicate 0
    queued_at: datetime  # by the database's clock, like all times
    leased_at: datetime | None = None
    finished_at: datetime | None = None
    seconds: float | None = None  # training time of all replicates
    epochs_done: int = 0  # over all replicates


class Ask(Value):
    """What stands in a trial's row so that the optimizer can rebuild its study."""

    # what was suggested; dimensions with a single value are absent
    params: dict[str, int | float] = Field(default_factory=dict)
    # of the Optuna trial: its constraint, its generation, sizes that were given
    system_attrs: dict[str, Any] = Field(default_factory=dict)
    # what this ask added to the study's own attributes (NSGA caches the parents of a generation there); kept with the
    # trial, so that any beginning of the history carries exactly the caches that existed then
    study_attrs: dict[str, Any] = Field(default_factory=dict)


class AskedAfter(Value):
    """What the optimizer knew when it proposed a trial: asking again from there gives the same architecture."""

    event: int  # the last event of the search that it was told
    running: tuple[int, ...]  # numbers of the arm's trials then without an end


class Proposal(Value):
    """What the optimizer proposes for one number of an arm: to be queued, or refused with the reason."""

    number: int
    origin: Origin
    architecture: Architecture | None  # None when the sizes make none
    lr: LearningRates
    costs: Costs | None
    violation: float  # 0.0 for one to be queued; the further off a refused one is, the larger
    message: str | None = None  # why it is refused
    ask: Ask


def duplicate_key(architecture: Architecture, lr: LearningRates) -> str:
    """Equal for trials that would train the same thing: same architecture, same learning rate to 3 digits."""
    rates = lr if isinstance(lr, tuple) else (lr,)
    content = [architecture.model_dump(mode="json"), [f"{rate:.3g}" for rate in rates]]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


def key_in_arm(arm: Arm, architecture: Architecture, lr: LearningRates) -> str:
    """The duplicate key of a trial of that arm, also of one that has ended: of a list of rates it keeps the best."""
    return duplicate_key(architecture, arm.lr_values or lr)


def objective_values(names: list[str], costs: Costs, metrics: Mapping[str, Any] | None) -> list[float | None]:
    """The value of each named objective: a known cost, a measured one, or a quality; None when unmeasured."""
    measured = {**(metrics or {}).get("eval", {}), **(metrics or {}).get("measured", {})}
    return [getattr(costs, name) if name in Costs.model_fields else measured.get(name) for name in names]


def standard_errors(
    names: list[str], lr: LearningRates, replicates: Sequence[Mapping[str, Any]]
) -> tuple[float | None, ...]:
    """The standard error of each named quality's mean over the replicates of that learning rate.

    None for what is not a quality, and where fewer than two replicates have a value.
    """
    of_rate = [(row.get("metrics") or {}).get("eval", {}) for row in replicates if row["lr"] == lr]
    values = [[metrics[name] for metrics in of_rate if name in metrics] for name in names]
    return tuple(stdev(found) / sqrt(len(found)) if len(found) > 1 else None for found in values)


def trial_points(trials: Sequence[Trial], objectives: Sequence[Objective]) -> Points:
    """Completed trials as points to be minimised, (n, m): n trials, m objectives."""
    names = [objective.name for objective in objectives]
    values = []
    for trial in trials:
        assert trial.costs is not None, "a completed trial has costs"
        row = objective_values(names, trial.costs, trial.metrics)
        values.append([float("nan") if value is None else float(value) for value in row])
    return minimised(values, objectives)
