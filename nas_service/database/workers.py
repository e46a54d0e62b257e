"""Queries on workers: who is alive, what they can read."""

from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, Select, and_, func, insert, select, update

from nas_service.database.clock import now
from nas_service.database.tables import trials, workers
from nas_service.domain.records import StoredWorker
from nas_service.domain.states import TrialState

ALIVE_SECONDS = 75  # a waiting worker calls at least every 30 s, a training one every heartbeat


def announce_worker(connection: Connection, worker_id: str, key_id: int | None, **facts: Any) -> None:
    """Store what a worker of that key says of itself (name, device, datasets, ...); it is alive now."""
    seen = {**facts, "last_seen_at": now(), "gone_at": None}
    mine = update(workers).where(workers.c.id == worker_id, workers.c.key_id.is_not_distinct_from(key_id))
    changed = connection.execute(mine.values(**seen)).rowcount
    if not changed:  # where another key has the id meanwhile, this fails
        connection.execute(insert(workers).values(id=worker_id, key_id=key_id, first_seen_at=now(), **seen))


def key_of_worker(connection: Connection, worker_id: str) -> tuple[bool, int | None]:
    """Whether there is a worker of that id, and the key that announced it."""
    row = connection.execute(select(workers.c.key_id).where(workers.c.id == worker_id)).first()
    return row is not None, row.key_id if row else None


def touch_worker(connection: Connection, worker_id: str) -> None:
    """Note that the worker lives."""
    connection.execute(update(workers).where(workers.c.id == worker_id).values(last_seen_at=now()))


def dismiss_worker(connection: Connection, worker_id: str) -> None:
    """Note that the worker said goodbye."""
    connection.execute(update(workers).where(workers.c.id == worker_id).values(gone_at=now()))


def newest_workers(connection: Connection, limit: int, before: str | None = None) -> list[StoredWorker]:
    """Workers, latest arrival first (ties by id), from below the worker `before`."""
    query = _stored_workers().order_by(workers.c.first_seen_at.desc(), workers.c.id.desc())
    if before is not None:
        first_seen = select(workers.c.first_seen_at).where(workers.c.id == before).scalar_subquery()
        earlier = workers.c.first_seen_at < first_seen
        query = query.where(earlier | and_(workers.c.first_seen_at == first_seen, workers.c.id < before))
    return [_stored_worker(row) for row in connection.execute(query.limit(limit)).mappings()]


def live_workers(connection: Connection) -> list[StoredWorker]:
    """Workers that were seen lately and did not say goodbye."""
    query = _stored_workers().where(_alive())
    return [_stored_worker(row) for row in connection.execute(query).mappings()]


def _stored_workers() -> Select[Any]:
    leased = and_(trials.c.worker_id == workers.c.id, trials.c.state == TrialState.LEASED)
    held = select(func.count()).select_from(trials).where(leased).scalar_subquery()
    return select(workers, _alive().label("alive"), held.label("trials"))


def _alive() -> ColumnElement[bool]:
    return and_(workers.c.last_seen_at > now() - ALIVE_SECONDS, workers.c.gone_at.is_(None))


def _stored_worker(row: RowMapping) -> StoredWorker:
    return StoredWorker.model_validate({name: row[name] for name in StoredWorker.model_fields})
