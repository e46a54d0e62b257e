"""Queries on leases: claim, renew, find the expired. A lease is a few columns of its trial."""

from collections.abc import Mapping
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, or_, select, update

from nas_service.database.clock import now
from nas_service.database.tables import searches, trials
from nas_service.database.trials import move_trial
from nas_service.domain.records import Grant
from nas_service.domain.states import SearchState, TrialState
from nas_service.domain.trial import Trial

# What a trial looks like without a holder. The token stays: it only ever grows.
NO_LEASE = {"lease_id": None, "request_id": None, "lease_expires_at": None, "leased_at": None, "worker_id": None}


class Holder(NamedTuple):
    """Which trial a lease id names, and what tells its holder from an earlier one."""

    trial_id: int
    search_id: int
    token: int


def next_queued_trial(connection: Connection, datasets: Mapping[str, str | None]) -> int | None:
    """The trial that a worker with these datasets ({key: digest or None}) should train next; locked until the end.

    Highest priority first, then longest waiting. Other claimers skip it (PostgreSQL) or wait (SQLite).
    """
    query = (
        select(trials.c.id)
        .join(searches, searches.c.id == trials.c.search_id)
        .where(trials.c.state == TrialState.QUEUED, searches.c.state == SearchState.RUNNING)
        .where(or_(*(_same_dataset(key, digest) for key, digest in datasets.items())))
        .order_by(searches.c.priority.desc(), trials.c.queued_at, trials.c.id)
        .limit(1)
        .with_for_update(skip_locked=True, of=trials)
    )
    return connection.execute(query).scalar_one_or_none()


def queued_trials_per_dataset(connection: Connection) -> dict[str, int]:
    """How many trials of running searches wait for a worker that has the dataset (at most 1,000 are counted)."""
    query = (
        select(searches.c.dataset)
        .join(trials, searches.c.id == trials.c.search_id)
        .where(trials.c.state == TrialState.QUEUED, searches.c.state == SearchState.RUNNING)
        .limit(1000)
    )
    counts: dict[str, int] = {}
    for dataset in connection.execute(query).scalars():
        counts[dataset] = counts.get(dataset, 0) + 1
    return counts


def grant_of_request(connection: Connection, request_id: str) -> Grant | None:
    """The lease that this request was granted and still holds: a repeated call gets it again."""
    query = select(trials.c.id, trials.c.search_id, trials.c.lease_id, trials.c.token).where(
        trials.c.request_id == request_id, trials.c.state == TrialState.LEASED
    )
    row = connection.execute(query).first()
    return Grant(lease_id=row.lease_id, token=row.token, trial_id=row.id, search_id=row.search_id) if row else None


def grant_lease(
    connection: Connection, trial: Trial, lease_id: str, worker_id: str, request_id: str, lease_seconds: float
) -> Grant:
    """Give the trial to the worker; the token grows by one."""
    move_trial(
        connection,
        trial,
        TrialState.LEASED,
        lease_id=lease_id,
        token=trials.c.token + 1,
        worker_id=worker_id,
        request_id=request_id,
        lease_expires_at=now() + lease_seconds,
        leased_at=now(),
        step=0,
        step_at=now(),
    )
    token = connection.execute(select(trials.c.token).where(trials.c.id == trial.id)).scalar_one()
    return Grant(lease_id=lease_id, token=token, trial_id=trial.id, search_id=trial.search_id)


def holder_of(connection: Connection, lease_id: str) -> Holder | None:
    """The trial that this lease is or was for; None when another lease took its place."""
    query = select(trials.c.id, trials.c.search_id, trials.c.token)
    row = connection.execute(query.where(trials.c.lease_id == lease_id)).first()
    return Holder(*row) if row else None


def result_digest_of(connection: Connection, trial_id: int) -> str | None:
    """The digest of the result that ended the trial; None when it has not ended by a result."""
    query = select(trials.c.result_digest).where(trials.c.id == trial_id)
    digest: str | None = connection.execute(query).scalar_one()
    return digest


def renew_lease(connection: Connection, trial_id: int, lease_seconds: float, step: int) -> None:
    """Let the lease live on; note when the step last moved."""
    expires = {"lease_expires_at": now() + lease_seconds}
    connection.execute(update(trials).where(trials.c.id == trial_id).values(**expires))
    moved = update(trials).where(trials.c.id == trial_id, trials.c.step != step)
    connection.execute(moved.values(step=step, step_at=now()))


def lost_leases(connection: Connection) -> list[tuple[int, int, bool]]:
    """Leases to take back: (search, trial, stalled). Expired ones, and living ones whose step stands still."""
    stalled = trials.c.step_at < now() - searches.c.stall_seconds
    query = (
        select(trials.c.search_id, trials.c.id, (trials.c.lease_expires_at >= now()).label("stalled"))
        .join(searches, searches.c.id == trials.c.search_id)
        .where(trials.c.state == TrialState.LEASED, or_(trials.c.lease_expires_at < now(), stalled))
        .order_by(trials.c.id)
    )
    return [(row.search_id, row.id, bool(row.stalled)) for row in connection.execute(query)]


def _same_dataset(key: str, digest: str | None) -> ColumnElement[bool]:
    expected = searches.c.dataset_digest
    if digest is None:
        return searches.c.dataset == key
    return and_(searches.c.dataset == key, or_(expected.is_(None), expected == digest))
