"""The audit: who did what. Rows are added in the transaction of the deed; the database refuses anything else."""

from typing import Any

from sqlalchemy import Connection, insert, select

from nas_service.database.clock import now
from nas_service.database.tables import audit
from nas_service.domain.records import AuditEntry
from nas_service.domain.roles import Caller


def append_audit(
    connection: Connection, by: Caller, action: str, search_id: int | None, detail: dict[str, Any]
) -> None:
    """Add an entry."""
    row = {"key_id": by.key_id, "actor": by.name, "action": action, "search_id": search_id, "detail": detail}
    connection.execute(insert(audit).values(**row, at=now()))


def newest_entries(connection: Connection, limit: int, before_id: int | None = None) -> list[AuditEntry]:
    """Entries, newest first, from below `before_id`."""
    query = select(audit).order_by(audit.c.id.desc()).limit(limit)
    if before_id is not None:
        query = query.where(audit.c.id < before_id)
    return [AuditEntry.model_validate(dict(row)) for row in connection.execute(query).mappings()]
