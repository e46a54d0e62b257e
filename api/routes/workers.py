"""The workers, as people see them."""

from typing import Annotated

from fastapi import APIRouter, Query

from api.dependencies import Reading
from api.errors import UNPROCESSABLE
from api.paging import Limit, page_of
from api.rules import Looker
from nas_service.database.workers import newest_workers
from nas_service.domain.records import StoredWorker
from nas_service.messages import Page

router = APIRouter(tags=["workers"])


@router.get("/workers", responses=UNPROCESSABLE)
def list_workers(
    _: Looker, connection: Reading, limit: Limit = 100, cursor: Annotated[str | None, Query(max_length=64)] = None
) -> Page[StoredWorker]:
    """List workers, latest arrival first."""
    return page_of(newest_workers(connection, limit + 1, cursor), limit, lambda worker: worker.id)
