"""What a trial leaves for whoever trains it next: the latest checkpoint, from its holder and only to its holder.

A checkpoint comes often and may be large, so its file is read and written between transactions: nobody else waits for
the disk. Its reports come before it: what came later is trained, and reported, again.
"""

from secrets import token_hex

from nas_service.artifacts import ArtifactStore
from nas_service.database import Database
from nas_service.database.artifacts import artifact_of_trial, store_artifact
from nas_service.lifecycle.errors import LifecycleError, NotFound
from nas_service.lifecycle.finish import check_arrival, running_trial


def keep_checkpoint(
    database: Database,
    store: ArtifactStore,
    lease_id: str,
    token: int,
    content: bytes,
    digest: str,
    key_id: int | None = None,
) -> None:
    """Keep the checkpoint of a running trial in place of the one before.

    Raises:
        LeaseLost: when the trial is no longer this lease's.
        Conflict: when the content does not have the digest.
    """
    check_arrival(content, digest, "checkpoint")
    with database.write() as connection:
        trial = running_trial(connection, lease_id, token, key_id, "checkpoint")
    path = f"search-{trial.search_id}/trial-{trial.id}-{token_hex(8)}.checkpoint"
    store.write(path, content)
    try:
        with database.write() as connection:
            trial = running_trial(connection, lease_id, token, key_id, "checkpoint")
            store_artifact(connection, trial.search_id, trial.id, "checkpoint", path, digest, len(content))
    except LifecycleError:  # it ended meanwhile
        store.remove(path)
        raise


def read_checkpoint(
    database: Database, store: ArtifactStore, lease_id: str, token: int, key_id: int | None = None
) -> bytes:
    """The latest checkpoint of the trial, for its holder.

    Raises:
        LeaseLost: when the trial is no longer this lease's.
        NotFound: when there is none.
        BrokenArtifact: when the file is missing or damaged.
    """
    with database.write() as connection:
        trial = running_trial(connection, lease_id, token, key_id, "checkpoint")
        artifact = artifact_of_trial(connection, trial.id, "checkpoint")
    if artifact is None:
        raise NotFound("this trial has no checkpoint; train it from the beginning")
    return store.read(artifact.path, artifact.digest)
