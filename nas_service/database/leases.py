"""Queries on leases: claim, renew, find the expired. A lease is a few columns of its trial."""

from collections.abc import Mapping
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select, update

from nas_service.database.clock import now
from nas_service.database.keys import keys_that_may_lease_nothing
from nas_service.database.tables import searches, trials, workers
from nas_service.database.trials import move_trial
from nas_service.domain.devices import names_of
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
    key_id: int | None  # of its worker


class Need(NamedTuple):
    """What a worker must have for the trials of a search."""

    dataset: str
    digest: str | None  # of the dataset; None where it is not known
    device: str | None  # its name or kind; None for any


def search_to_serve(connection: Connection, datasets: Mapping[str, str | None], device: str) -> int | None:
    """The search whose trial a worker with these datasets ({key: digest or None}) and this device should train next.

    Highest priority first, then longest waiting. It is a look without a lock: lock the search, then take its trial.
    """
    query = (
        select(trials.c.search_id)
        .join(searches, searches.c.id == trials.c.search_id)
        .where(trials.c.state == TrialState.QUEUED, searches.c.state == SearchState.RUNNING)
        .where(or_(*(_same_dataset(key, digest) for key, digest in datasets.items())))
        .where(or_(searches.c.device.is_(None), searches.c.device.in_(names_of(device))), _within_quotas())
        .order_by(searches.c.priority.desc(), trials.c.queued_at, trials.c.id)
        .limit(1)
    )
    return connection.execute(query).scalar_one_or_none()


def longest_queued_trial(connection: Connection, search_id: int) -> int | None:
    """The trial of a running search that has waited longest; nobody else takes it while the caller locks the search."""
    query = (
        select(trials.c.id)
        .join(searches, searches.c.id == trials.c.search_id)
        .where(trials.c.search_id == search_id, trials.c.state == TrialState.QUEUED)
        .where(searches.c.state == SearchState.RUNNING)
        .order_by(trials.c.queued_at, trials.c.id)
        .limit(1)
    )
    return connection.execute(query).scalar_one_or_none()


def queued_trials_per_need(connection: Connection) -> dict[Need, int]:
    """How many trials of running searches wait for a worker that has what they need."""
    need = (searches.c.dataset, searches.c.dataset_digest, searches.c.device)
    query = (
        select(*need, func.count())
        .join(trials, searches.c.id == trials.c.search_id)
        .where(trials.c.state == TrialState.QUEUED, searches.c.state == SearchState.RUNNING, _within_quotas())
        .group_by(*need)
    )
    return {Need(*row): count for *row, count in connection.execute(query)}


def grant_of_request(connection: Connection, request_id: str, worker_id: str) -> tuple[Grant, bool] | None:
    """The lease that this request was granted and still holds, and whether it was this worker's.

    A repeated call gets it again.
    """
    is_its_own = (trials.c.worker_id == worker_id).label("is_its_own")
    query = select(trials.c.id, trials.c.search_id, trials.c.lease_id, trials.c.token, is_its_own).where(
        trials.c.request_id == request_id, trials.c.state == TrialState.LEASED
    )
    row = connection.execute(query).first()
    if row is None:
        return None
    grant = Grant(lease_id=row.lease_id, token=row.token, trial_id=row.id, search_id=row.search_id)
    return grant, bool(row.is_its_own)


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
    query = select(trials.c.id, trials.c.search_id, trials.c.token, workers.c.key_id)
    query = query.outerjoin(workers, workers.c.id == trials.c.worker_id)
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


def searches_with_lost_leases(connection: Connection) -> list[int]:
    """The searches that have leases to take back, in order of their ids."""
    query = select(trials.c.search_id).join(searches, searches.c.id == trials.c.search_id).where(_is_lost())
    return list(connection.execute(query.distinct().order_by(trials.c.search_id)).scalars())


def lost_leases(connection: Connection, search_id: int) -> list[tuple[int, bool]]:
    """A search's leases to take back: (trial, stalled). Expired ones, and living ones whose step stands still."""
    query = (
        select(trials.c.id, (trials.c.lease_expires_at >= now()).label("stalled"))
        .join(searches, searches.c.id == trials.c.search_id)
        .where(trials.c.search_id == search_id, _is_lost())
        .order_by(trials.c.id)
    )
    return [(row.id, bool(row.stalled)) for row in connection.execute(query)]


def _is_lost() -> ColumnElement[bool]:
    stalled = trials.c.step_at < now() - searches.c.stall_seconds
    return and_(trials.c.state == TrialState.LEASED, or_(trials.c.lease_expires_at < now(), stalled))


def _within_quotas() -> ColumnElement[bool]:
    return or_(searches.c.owner_key_id.is_(None), searches.c.owner_key_id.not_in(keys_that_may_lease_nothing()))


def _same_dataset(key: str, digest: str | None) -> ColumnElement[bool]:
    expected = searches.c.dataset_digest
    if digest is None:
        return searches.c.dataset == key
    return and_(searches.c.dataset == key, or_(expected.is_(None), expected == digest))
