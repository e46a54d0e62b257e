"""Queries on artifacts: the rows that name the files in the artifact store."""

from typing import NamedTuple

from sqlalchemy import Connection, delete, insert, select, update

from nas_service.database.clock import now
from nas_service.database.tables import artifacts


class StoredArtifact(NamedTuple):
    """A file in the artifact store."""

    id: int
    path: str  # below the store's root
    digest: str
    size_bytes: int


_COLUMNS = [artifacts.c[name] for name in StoredArtifact._fields]


def store_artifact(
    connection: Connection, search_id: int, trial_id: int, kind: str, path: str, digest: str, size_bytes: int
) -> None:
    """Store the row of a file that was just written; earlier files of that trial and kind may go."""
    earlier = update(artifacts).where(artifacts.c.trial_id == trial_id, artifacts.c.kind == kind)
    connection.execute(earlier.values(expires_at=now()))
    connection.execute(delete(artifacts).where(artifacts.c.path == path))
    row = {"search_id": search_id, "trial_id": trial_id, "kind": kind, "path": path, "digest": digest}
    connection.execute(insert(artifacts).values(**row, size_bytes=size_bytes, created_at=now()))


def artifact_of_trial(connection: Connection, trial_id: int, kind: str) -> StoredArtifact | None:
    """The trial's file of that kind, if it is kept."""
    query = select(*_COLUMNS).where(artifacts.c.trial_id == trial_id, artifacts.c.kind == kind)
    row = connection.execute(query.where(artifacts.c.expires_at.is_(None))).first()
    return StoredArtifact(*row) if row else None


def trials_with_artifact(connection: Connection, search_id: int, kind: str) -> list[int]:
    """The trials of a search whose file of that kind is kept."""
    query = select(artifacts.c.trial_id).where(artifacts.c.search_id == search_id, artifacts.c.kind == kind)
    return list(connection.execute(query.where(artifacts.c.expires_at.is_(None))).scalars())


def expire_artifacts_of_trials(connection: Connection, trial_ids: list[int]) -> None:
    """Let the sweeper remove the files of these trials."""
    connection.execute(update(artifacts).where(artifacts.c.trial_id.in_(trial_ids)).values(expires_at=now()))


def expire_artifacts_of_search(connection: Connection, search_id: int) -> None:
    """Let the sweeper remove every file of a search."""
    connection.execute(update(artifacts).where(artifacts.c.search_id == search_id).values(expires_at=now()))


def expired_artifacts(connection: Connection, limit: int = 100) -> list[StoredArtifact]:
    """Files that the sweeper may remove now."""
    query = select(*_COLUMNS).where(artifacts.c.expires_at <= now()).limit(limit)
    return [StoredArtifact(*row) for row in connection.execute(query)]


def forget_artifacts(connection: Connection, artifact_ids: list[int]) -> None:
    """Remove the rows of files that are gone."""
    connection.execute(delete(artifacts).where(artifacts.c.id.in_(artifact_ids)))
