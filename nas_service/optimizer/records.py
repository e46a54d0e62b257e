"""What the optimizer is given and gives back: rows of history in, proposals out. Plain values; no Optuna here."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from nas_service.domain.states import FailureReason, TrialState
from nas_service.domain.trial import Ask, Proposal


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
    standard_errors: tuple[float | None, ...] = ()  # of these, from replicates; None where unknown or exact


@dataclass(frozen=True)
class Record:
    """One row of an arm's history."""

    number: int  # in its arm, from 0 without gaps
    ask: Ask
    outcome: Outcome | None  # None: queued or running


@dataclass(frozen=True)
class Proposals:
    """What one walk to the next legal trial proposed."""

    refused: tuple[Proposal, ...]  # in number order, all before the accepted one
    accepted: Proposal | None  # None: the arm has no untried legal shape left


def outcome_of(
    state: TrialState,
    reason: FailureReason | None = None,
    values: Sequence[float | None] = (),
    standard_errors: Sequence[float | None] = (),
) -> Outcome | None:
    """What the study is told about a trial in that state; None while it is queued or leased.

    Args:
        state: where the trial is in its life.
        reason: of a failed trial.
        values: of a completed trial, one for each objective.
        standard_errors: of these, None where unknown or exact.

    Raises:
        ValueError: when a completed trial lacks a finite value.
    """
    match state:
        case TrialState.COMPLETED:
            return Outcome(End.COMPLETED, finite(values), tuple(standard_errors))
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
