"""What the rooms hand each other about searches, arms, workers, events, keys and the audit, as stored."""

from datetime import datetime
from typing import Any, Literal

from nas_service.domain.architecture import Architecture
from nas_service.domain.costs import Costs
from nas_service.domain.roles import Quotas, Role
from nas_service.domain.search import Search
from nas_service.domain.states import FailureReason, SearchState, TrialState
from nas_service.domain.trial import Ask, AskedAfter, LearningRates, Origin
from nas_service.domain.values import Value


class StoredSearch(Value):
    """A search and where it stands."""

    id: int
    name: str
    state: SearchState
    reason: str | None  # why it failed
    spec: Search  # as submitted
    budget: float  # of each arm, in the budget's unit; may have been extended
    trivial: dict[str, float] | None  # metrics of the task's trivial answer; None before the first result
    last_event: int  # number of its newest event
    created_at: datetime
    finished_at: datetime | None
    owner_key_id: int | None = None  # None: submitted while there were no keys
    shared: bool = False  # whether everybody with a key may look


class StoredArm(Value):
    """An arm and how much of it is done."""

    name: str
    exhausted: str | None  # why no shape is left
    spending: float  # spent and promised, in the budget's unit
    trials: dict[TrialState, int]  # how many stand in each state
    imported: int = 0  # of the completed ones: measured elsewhere, outside the budget

    @property
    def open_trials(self) -> int:
        """Trials that may still spend budget."""
        return self.trials[TrialState.QUEUED] + self.trials[TrialState.LEASED]


class StoredWorker(Value):
    """A worker as it last announced itself."""

    id: str
    name: str
    device: str
    memory_bytes: int | None  # free on the device and promised to no trial when it last asked for one
    slots: int  # trials that it trains at once
    trials: int  # that it has now
    labels: dict[str, str]
    version: str
    datasets: dict[str, str | None]  # key: digest, where it has read the images
    problems: dict[str, str]  # key: why it cannot read that dataset
    first_seen_at: datetime
    last_seen_at: datetime
    alive: bool  # seen lately and did not say goodbye


class Event(Value):
    """One thing that happened to a search."""

    search_id: int
    number: int  # per search, gapless, in commit order
    kind: str
    trial_id: int | None
    data: dict[str, Any]
    at: datetime


class StoredKey(Value):
    """An API key without its secret."""

    id: int
    name: str
    role: Role
    standing: Literal["valid", "expired", "revoked"]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None  # exact to a minute
    quotas: Quotas


class AuditEntry(Value):
    """Something that somebody did."""

    id: int
    at: datetime
    key_id: int | None  # None where no key stands behind it
    actor: str  # the key's name, or who it was without one
    action: str
    search_id: int | None  # may have been deleted since
    detail: dict[str, Any]


class Grant(Value):
    """A lease as it was granted: one worker's right to one trial."""

    lease_id: str
    token: int  # fences off earlier holders of the same trial
    trial_id: int
    search_id: int


class HistoryRow(Value):
    """One trial as the optimizer needs it to rebuild an arm's study."""

    number: int
    origin: Origin
    state: TrialState
    reason: FailureReason | None
    architecture: Architecture | None
    lr: LearningRates
    costs: Costs | None
    metrics: dict[str, Any] | None
    replicates: list[dict[str, Any]] | None
    spending: float  # planned while open, actual once ended
    violation: float | None  # of a refused proposal
    ask: Ask | None  # None for a trial of a user or imported that the optimizer has not seen yet
    asked_after: AskedAfter | None  # None for these
    ended_event: int | None  # the event that told its end
