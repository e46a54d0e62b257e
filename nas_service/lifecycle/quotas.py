"""Quotas of a key: what its searches may take together. Whoever resumes one, its owner's quota counts."""

from nas_service.database import Connection
from nas_service.database.keys import key_by_id, lock_key, usage_of
from nas_service.domain.records import StoredKey
from nas_service.domain.roles import Quotas
from nas_service.lifecycle.errors import Conflict


def require_room_to_run(connection: Connection, owner_key_id: int | None) -> None:
    """Look that the owner may have one more search running; others that look so wait until the transaction ends.

    Raises:
        Conflict: when it has as many as it may.
    """
    if owner_key_id is None:
        return
    lock_key(connection, owner_key_id)
    key = key_by_id(connection, owner_key_id)
    most = key.quotas.max_running_searches if key else None
    if key is None or most is None:
        return
    running = usage_of(connection, key.id).running_searches
    if running >= most:
        raise Conflict(
            f"the key {key.name} has {running} searches running and may have {most} (max_running_searches); "
            "pause or cancel one, or wait until one has finished"
        )


def may_lease(connection: Connection, owner_key_id: int | None) -> bool:
    """Whether a trial more of this owner's searches may be leased; others that look so wait."""
    key = None if owner_key_id is None else key_by_id(connection, owner_key_id)
    if key is None or (key.quotas.max_trials, key.quotas.max_artifact_bytes) == (None, None):
        return True
    lock_key(connection, key.id)
    return why_held_back(connection, key) is None


def why_held_back(connection: Connection, key: StoredKey | None) -> str | None:
    """Why nothing of this owner's searches is leased, with the numbers; None where no quota is reached."""
    if key is None or key.quotas == Quotas():
        return None
    quotas, usage = key.quotas, usage_of(connection, key.id)
    if quotas.max_trials is not None and usage.trials >= quotas.max_trials:
        return (
            f"the searches of the key {key.name} have trained {usage.trials:,} trials and may train "
            f"{quotas.max_trials:,} (max_trials); delete what is needed no more, or ask an admin for another key"
        )
    if quotas.max_artifact_bytes is not None and usage.artifact_bytes >= quotas.max_artifact_bytes:
        return (
            f"the networks and checkpoints of the key {key.name} take {usage.artifact_bytes:,} bytes and may take "
            f"{quotas.max_artifact_bytes:,} (max_artifact_bytes); delete what is needed no more"
        )
    return None
