"""Queries on artifacts: the rows that name the files in the artifact store."""

from typing import BinaryIO, Literal, NamedTuple

from sqlalchemy import ColumnElement, Connection, delete, insert, or_, select, update

from nas_service.database.clock import now
from nas_service.database.tables import artifacts

ArtifactKind = Literal["network", "checkpoint"]


class StoredArtifact(NamedTuple):
    """A file in the artifact store."""

    id: int
    path: str  # below the store's root
    digest: str
    size_bytes: int
    created_at: float  # seconds since 1970
    pinned: bool  # kept although its trial left the front


class OpenArtifact(NamedTuple):
    """A file in the artifact store, open to be read."""

    row: StoredArtifact
    file: BinaryIO


_COLUMNS = [artifacts.c[name] for name in StoredArtifact._fields]


def store_artifact(
    connection: Connection, search_id: int, trial_id: int, kind: ArtifactKind, path: str, digest: str, size_bytes: int
) -> None:
    """Store the row of a file that was just written; earlier files of that trial and kind may go."""
    earlier = update(artifacts).where(artifacts.c.trial_id == trial_id, artifacts.c.kind == kind)
    connection.execute(earlier.values(expires_at=now()))
    connection.execute(delete(artifacts).where(artifacts.c.path == path))
    row = {"search_id": search_id, "trial_id": trial_id, "kind": kind, "path": path, "digest": digest}
    connection.execute(insert(artifacts).values(**row, size_bytes=size_bytes, created_at=now()))


def artifact_of_trial(connection: Connection, trial_id: int, kind: ArtifactKind) -> StoredArtifact | None:
    """The trial's file of that kind, if it is there and has not expired."""
    query = select(*_COLUMNS).where(artifacts.c.trial_id == trial_id, artifacts.c.kind == kind, _is_there())
    row = connection.execute(query.order_by(artifacts.c.id.desc()).limit(1)).first()
    return StoredArtifact(*row) if row else None


def expire_artifacts_of_trials(
    connection: Connection, trial_ids: list[int], kind: ArtifactKind | None = None, after_seconds: float = 0
) -> None:
    """Let the sweeper remove these trials' files, of one kind where given, at once or later; pinned ones stay."""
    query = update(artifacts).where(artifacts.c.trial_id.in_(trial_ids), artifacts.c.pinned.is_(False))
    if kind is not None:
        query = query.where(artifacts.c.kind == kind)
    connection.execute(query.values(expires_at=now() + after_seconds))


def pin_artifact(connection: Connection, artifact_id: int) -> None:
    """Keep a file until it is unpinned or its search is deleted."""
    connection.execute(update(artifacts).where(artifacts.c.id == artifact_id).values(pinned=True, expires_at=None))


def unpin_artifact(connection: Connection, artifact_id: int, after_seconds: float | None) -> None:
    """Keep a file no longer than the others; when it is needed no more, the sweeper may remove it after a while."""
    expires_at = None if after_seconds is None else now() + after_seconds
    values = {"pinned": False, "expires_at": expires_at}
    connection.execute(update(artifacts).where(artifacts.c.id == artifact_id).values(**values))


def expire_artifacts_of_search(connection: Connection, search_id: int) -> None:
    """Let the sweeper remove every file of a search."""
    connection.execute(update(artifacts).where(artifacts.c.search_id == search_id).values(expires_at=now()))


def expired_artifacts(connection: Connection, limit: int = 100) -> list[StoredArtifact]:
    """Files that the sweeper may remove now."""
    query = select(*_COLUMNS).where(artifacts.c.expires_at <= now()).limit(limit)
    return [StoredArtifact(*row) for row in connection.execute(query)]


def every_artifact(connection: Connection) -> list[StoredArtifact]:
    """Every file that a row names, also those that the sweeper may remove."""
    return [StoredArtifact(*row) for row in connection.execute(select(*_COLUMNS).order_by(artifacts.c.id))]


def forget_artifacts(connection: Connection, artifact_ids: list[int]) -> None:
    """Remove the rows of files that are gone."""
    connection.execute(delete(artifacts).where(artifacts.c.id.in_(artifact_ids)))


def _is_there() -> ColumnElement[bool]:
    return or_(artifacts.c.expires_at.is_(None), artifacts.c.expires_at > now())
