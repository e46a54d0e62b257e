"""Who calls, with its quotas and what it takes of them; and the audit of who did what."""

from fastapi import APIRouter

from api.dependencies import Reading
from api.errors import UNPROCESSABLE
from api.paging import IdCursor, Limit, page_of
from api.rules import Admin, AnyKey
from nas_service.database.audit import newest_entries
from nas_service.database.keys import key_by_id, usage_of
from nas_service.domain.records import AuditEntry
from nas_service.domain.roles import Quotas
from nas_service.messages import Me, Page

router = APIRouter(tags=["people"])


@router.get("/me")
def me(caller: AnyKey, connection: Reading) -> Me:
    """The key of this call: its role, its quotas, and what its searches take."""
    key = None if caller.key_id is None else key_by_id(connection, caller.key_id)
    if key is None:
        return Me(name=caller.name, role=caller.role, expires_at=None, quotas=Quotas(), usage=None)
    usage = usage_of(connection, key.id)
    return Me(name=key.name, role=key.role, expires_at=key.expires_at, quotas=key.quotas, usage=usage)


@router.get("/audit", responses=UNPROCESSABLE)
def audit(_: Admin, connection: Reading, limit: Limit = 100, cursor: IdCursor = None) -> Page[AuditEntry]:
    """List who did what, newest first."""
    return page_of(newest_entries(connection, limit + 1, cursor), limit, lambda entry: entry.id)
