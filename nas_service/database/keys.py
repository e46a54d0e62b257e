"""Queries on API keys: their rows, what their searches take. Secrets are hashed before they come here."""

from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, RowMapping, Select, case, func, insert, or_, select, update

from nas_service.database.clock import now
from nas_service.database.tables import api_keys, arms, artifacts, searches
from nas_service.domain.records import StoredKey
from nas_service.domain.roles import Quotas, Role, Usage
from nas_service.domain.states import SearchState, TrialState

USE_SECONDS = 60.0  # how exact the time of the last use is
# Without those that wait, were never trained or were cancelled.
_TRAINED = (TrialState.LEASED, TrialState.COMPLETED, TrialState.STOPPED, TrialState.FAILED)


class Credential(NamedTuple):
    """What a call's key is held against."""

    key: StoredKey
    digest: str  # of the secret
    used_lately: bool  # its last use is noted already


def has_keys(connection: Connection) -> bool:
    """Whether there was ever a key; from then on every call needs one."""
    return connection.execute(select(api_keys.c.id).limit(1)).first() is not None


def insert_key(
    connection: Connection, name: str, role: Role, digest: str, lives_seconds: float | None, quotas: Quotas
) -> int:
    """Store a new key; returns its id."""
    expires_at = None if lives_seconds is None else now() + lives_seconds
    row = {"name": name, "role": role, "digest": digest, "expires_at": expires_at, **quotas.model_dump()}
    key_id: int = connection.execute(
        insert(api_keys).values(**row, created_at=now()).returning(api_keys.c.id)
    ).scalar_one()
    return key_id


def credential_of(connection: Connection, key_id: int) -> Credential | None:
    """What tells whether a call has the key of that id."""
    used_lately = func.coalesce(api_keys.c.last_used_at, 0) > now() - USE_SECONDS
    query = _stored_keys().add_columns(api_keys.c.digest, used_lately.label("used_lately"))
    row = connection.execute(query.where(api_keys.c.id == key_id)).mappings().first()
    return Credential(_stored_key(row), row["digest"], bool(row["used_lately"])) if row else None


def note_use(connection: Connection, key_id: int) -> None:
    """Note that the key was used now."""
    connection.execute(update(api_keys).where(api_keys.c.id == key_id).values(last_used_at=now()))


def key_by_id(connection: Connection, key_id: int) -> StoredKey | None:
    """The key of that id."""
    return _first(connection, _stored_keys().where(api_keys.c.id == key_id))


def key_by_name(connection: Connection, name: str) -> StoredKey | None:
    """The key of that name, a revoked one too."""
    return _first(connection, _stored_keys().where(api_keys.c.name == name))


def every_key(connection: Connection) -> list[StoredKey]:
    """All keys, revoked ones too, in the order of their making."""
    return [_stored_key(row) for row in connection.execute(_stored_keys().order_by(api_keys.c.id)).mappings()]


def revoke(connection: Connection, key_id: int) -> None:
    """Let the key be good for nothing from now on."""
    connection.execute(update(api_keys).where(api_keys.c.id == key_id).values(revoked_at=now()))


def lock_key(connection: Connection, key_id: int) -> None:
    """Make others that count what this key takes wait until the transaction ends; take a search's row before it."""
    connection.execute(update(api_keys).where(api_keys.c.id == key_id).values(name=api_keys.c.name))


def usage_of(connection: Connection, key_id: int) -> Usage:
    """What the key's searches take now."""
    query = select(_running(), _trained(), _kept_bytes()).where(api_keys.c.id == key_id)
    running, trained, kept = connection.execute(query).one()
    return Usage(running_searches=running, trials=trained, artifact_bytes=kept)


def keys_that_may_lease_nothing() -> Select[Any]:
    """Ids of the keys whose trials, or whose files, have reached the quota."""
    over_trials = api_keys.c.max_trials.is_not(None) & (api_keys.c.max_trials <= _trained())
    over_bytes = api_keys.c.max_artifact_bytes.is_not(None) & (api_keys.c.max_artifact_bytes <= _kept_bytes())
    return select(api_keys.c.id).where(or_(over_trials, over_bytes))


def _running() -> ColumnElement[int]:
    mine = select(func.count()).where(searches.c.owner_key_id == api_keys.c.id)
    return mine.where(searches.c.state == SearchState.RUNNING).scalar_subquery()


def _trained() -> ColumnElement[int]:
    counts = sum((arms.c[state] for state in _TRAINED), start=-arms.c.imported)
    mine = select(func.coalesce(func.sum(counts), 0)).join(searches, searches.c.id == arms.c.search_id)
    return mine.where(searches.c.owner_key_id == api_keys.c.id).scalar_subquery()


def _kept_bytes() -> ColumnElement[int]:
    kept = or_(artifacts.c.expires_at.is_(None), artifacts.c.expires_at > now())
    mine = select(func.coalesce(func.sum(artifacts.c.size_bytes), 0))
    mine = mine.join(searches, searches.c.id == artifacts.c.search_id).where(kept)
    return mine.where(searches.c.owner_key_id == api_keys.c.id).scalar_subquery()


def _stored_keys() -> Select[Any]:
    expired = api_keys.c.expires_at <= now()
    standing = case((api_keys.c.revoked_at.is_not(None), "revoked"), (expired, "expired"), else_="valid")
    return select(api_keys, standing.label("standing"))


def _first(connection: Connection, query: Select[Any]) -> StoredKey | None:
    row = connection.execute(query).mappings().first()
    return _stored_key(row) if row else None


def _stored_key(row: RowMapping) -> StoredKey:
    quotas = {name: row[name] for name in Quotas.model_fields}
    named = {name: row[name] for name in StoredKey.model_fields if name != "quotas"}
    return StoredKey.model_validate({**named, "quotas": quotas})
