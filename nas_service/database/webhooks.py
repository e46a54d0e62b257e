"""Queries on webhooks: the outbox of messages about searches that ended."""

from typing import Any, NamedTuple

from sqlalchemy import Connection, delete, insert, select, update

from nas_service.database.clock import now
from nas_service.database.tables import webhooks


class StoredWebhook(NamedTuple):
    """A message that waits to be delivered."""

    id: str
    search_id: int
    payload: dict[str, Any]
    attempts: int  # this one included
    age_seconds: float


def insert_webhook(connection: Connection, webhook_id: str, search_id: int, payload: dict[str, Any]) -> None:
    """Store a message that is due at once."""
    row = {"id": webhook_id, "search_id": search_id, "payload": payload}
    connection.execute(insert(webhooks).values(**row, created_at=now(), next_at=now()))


def has_due_webhook(connection: Connection) -> bool:
    """Whether a message is due."""
    return connection.execute(select(webhooks.c.id).where(webhooks.c.next_at <= now()).limit(1)).first() is not None


def take_due_webhook(connection: Connection, hold_seconds: float) -> StoredWebhook | None:
    """The message that is due longest; nobody else takes it for so long."""
    due = select(webhooks.c.id).where(webhooks.c.next_at <= now()).order_by(webhooks.c.next_at).limit(1)
    webhook_id = connection.execute(due.with_for_update(skip_locked=True)).scalar()
    if webhook_id is None:
        return None
    this = update(webhooks).where(webhooks.c.id == webhook_id)
    connection.execute(this.values(attempts=webhooks.c.attempts + 1, next_at=now() + hold_seconds))
    facts = [webhooks.c[name] for name in ("id", "search_id", "payload", "attempts")]
    query = select(*facts, (now() - webhooks.c.created_at).label("age_seconds")).where(webhooks.c.id == webhook_id)
    return StoredWebhook(**connection.execute(query).mappings().one())


def postpone_webhook(connection: Connection, webhook_id: str, seconds: float) -> None:
    """Try the message again after so long."""
    connection.execute(update(webhooks).where(webhooks.c.id == webhook_id).values(next_at=now() + seconds))


def remove_webhook(connection: Connection, webhook_id: str) -> None:
    """Forget a message that was delivered, or given up."""
    connection.execute(delete(webhooks).where(webhooks.c.id == webhook_id))
