"""Tells the world that a search ended: a message in the outbox, in the transaction that ends it.

Leaves out who delivers it: `scheduler/webhook.py`.
"""

from secrets import token_hex

from nas_service.database import Connection
from nas_service.database.searches import arms_of, search_by_id
from nas_service.database.webhooks import insert_webhook


def announce_end(connection: Connection, search_id: int) -> None:
    """Leave the message that a search is finished, has failed or was cancelled, with how far each arm came."""
    search = search_by_id(connection, search_id)
    assert search is not None
    assert search.finished_at is not None, "it has just ended"
    counts = {arm.name: {state.value: n for state, n in arm.trials.items()} for arm in arms_of(connection, search_id)}
    data = {"search_id": search_id, "name": search.name, "state": search.state, "reason": search.reason}
    payload = {
        "type": f"search.{search.state}",
        "timestamp": search.finished_at.isoformat(),
        "data": {**data, "trials": counts},
    }
    insert_webhook(connection, f"msg_{token_hex(16)}", search_id, payload)
