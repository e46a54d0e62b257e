"""Which searches a caller may see and change. One that it may not see is answered as if it were not there."""

from typing import Any

from nas_service.database import Connection
from nas_service.database.audit import append_audit
from nas_service.database.events import lock_search
from nas_service.database.searches import search_by_id
from nas_service.database.trials import trial_by_id
from nas_service.domain.records import StoredSearch
from nas_service.domain.roles import Caller
from nas_service.domain.trial import Trial
from nas_service.lifecycle.errors import Forbidden, NotFound


def visible_search(connection: Connection, caller: Caller, search_id: int) -> StoredSearch:
    """The search of that id; raises NotFound also when it is not for this caller to know of."""
    search = search_by_id(connection, search_id)
    if search is None or not caller.may_see(search.owner_key_id, search.shared):
        raise NotFound(f"there is no search {search_id}")
    return search


def visible_trial(connection: Connection, caller: Caller, trial_id: int) -> Trial:
    """The trial of that id; raises NotFound also when its search is not for this caller to know of."""
    trial = trial_by_id(connection, trial_id)
    search = None if trial is None else search_by_id(connection, trial.search_id)
    if trial is None or search is None or not caller.may_see(search.owner_key_id, search.shared):
        raise NotFound(f"there is no trial {trial_id}")
    return trial


def begin_deed(connection: Connection, caller: Caller, action: str, search_id: int, **detail: Any) -> StoredSearch:
    """Lock a search that the caller is about to change, and note in the audit that it did.

    Raises:
        Forbidden: when the caller sees the search and does not own it.
        NotFound: when there is none that it may see.
    """
    lock_search(connection, search_id)
    search = visible_search(connection, caller, search_id)
    if not caller.may_change(search.owner_key_id):
        raise Forbidden(f"search {search_id} is shared with you to look at; only its owner or an admin may change it")
    append_audit(connection, caller, action, search_id, detail)
    return search
