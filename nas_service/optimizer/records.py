"""What the optimizer is given and gives back: rows of history in, proposals out. Plain values; no Optuna here."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from nas_service.domain.architecture import Architecture
from nas_service.domain.costs import Costs
from nas_service.domain.states import FailureReason, TrialState
from nas_service.domain.trial import LearningRates

DrawnOrigin = Literal["sampler", "random"]
Origin = Literal[DrawnOrigin, "fallback", "enqueued"]


@dataclass(frozen=True)
class Ask:
    """What stands in a trial's row so that the study can be rebuilt: `dataclasses.asdict` there, `Ask(**row)` back."""

    params: dict[str, int | float]  # what was suggested; dimensions with a single value are absent
    system_attrs: dict[str, Any]  # of the Optuna trial: its constraint, its generation, sizes that were given
    # what this ask added to the study's own attributes (NSGA caches the parents of a generation there); kept with the
    # trial, so that any beginning of the history carries exactly the caches that existed then
    study_attrs: dict[str, Any] = field(default_factory=dict)


class End(StrEnum):
    """What the study is told about a trial."""

    COMPLETED = "completed"  # trained to the end: has a value for each objective
    PRUNED = "pruned"  # stopped early or diverged: tried, without values
    REFUSED = "refused"  # illegal, over a limit or a duplicate: violates the constraint
    FAILED = "failed"  # says nothing about the architecture: out of memory, poison, dataset, cancelled


@dataclass(frozen=True)
class Outcome:
    """How a trial ended."""

    end: End
    values: tuple[float, ...] = ()  # of a completed trial: one for each objective, in the search's order and units


@dataclass(frozen=True)
class Record:
    """One row of an arm's history."""

    number: int  # in its arm, from 0 without gaps
    ask: Ask
    outcome: Outcome | None  # None: queued or running


@dataclass(frozen=True)
class Proposal:
    """The next trial of an arm, or a refused one."""

    number: int
    ask: Ask
    origin: Origin
    architecture: Architecture | None  # None when the sizes make none
    lr: LearningRates  # 3 significant digits when it was searched
    costs: Costs | None
    violation: float  # 0 for a trial that may be queued; above 0, the further off the larger, for a refused one
    message: str | None  # why it is refused


@dataclass(frozen=True)
class Proposals:
    """What one walk to the next legal trial proposed."""

    refused: tuple[Proposal, ...]  # in number order, all before the accepted one
    accepted: Proposal | None  # None: the arm has no untried legal shape left


def outcome_of(
    state: TrialState, reason: FailureReason | None = None, values: Sequence[float | None] = ()
) -> Outcome | None:
    """What the study is told about a trial in that state; None while it is queued or leased.

    Args:
        state: where the trial is in its life.
        reason: of a failed trial.
        values: of a completed trial, one for each objective.

    Raises:
        ValueError: when a completed trial lacks a finite value.
    """
    match state:
        case TrialState.COMPLETED:
            return Outcome(End.COMPLETED, finite(values))
        case TrialState.STOPPED:
            return Outcome(End.PRUNED)
        case TrialState.FAILED:
            return Outcome(End.PRUNED if reason is FailureReason.DIVERGED else End.FAILED)
        case TrialState.CANCELLED:
            return Outcome(End.FAILED)
        case TrialState.REFUSED:
            return Outcome(End.REFUSED)
        case TrialState.QUEUED | TrialState.LEASED:
            return None


def finite(values: Sequence[float | None]) -> tuple[float, ...]:
    """The values as floats.

    Raises:
        ValueError: when one is missing, infinite or not a number (Optuna itself would take an infinite one).
    """
    known = [float(value) for value in values if value is not None and math.isfinite(value)]
    if len(known) != len(values):
        raise ValueError(f"every objective needs a finite value (got {list(values)})")
    return tuple(known)
