"""A trained network's file: taken from the worker that holds the trial, given to whoever asks while it is kept.

A network that left its front is kept for a day; pinned it is kept for good.
"""

from nas_service.artifacts import ArtifactStore
from nas_service.database import Connection
from nas_service.database.artifacts import (
    StoredArtifact,
    artifact_of_trial,
    expired_artifacts,
    forget_artifacts,
    pin_artifact,
    store_artifact,
    unpin_artifact,
)
from nas_service.database.events import lock_search
from nas_service.database.trials import trial_by_id
from nas_service.domain.states import TrialState
from nas_service.domain.trial import Trial
from nas_service.lifecycle.control import require_search
from nas_service.lifecycle.errors import Conflict, NotFound
from nas_service.lifecycle.finish import check_arrival, running_trial
from nas_service.lifecycle.front import DAY


def store_network(
    connection: Connection,
    store: ArtifactStore,
    lease_id: str,
    token: int,
    content: bytes,
    digest: str,
    key_id: int | None = None,
) -> None:
    """Keep the network that a worker trained; it comes before the trial's result.

    Raises:
        LeaseLost: when the trial is no longer this lease's.
        Conflict: when the content does not have the digest.
    """
    trial = running_trial(connection, lease_id, token, key_id, "network")
    check_arrival(content, digest, "network")
    path = f"search-{trial.search_id}/trial-{trial.id}-{digest.removeprefix('sha256:')[:16]}.safetensors"
    store.write(path, content)
    store_artifact(connection, trial.search_id, trial.id, "network", path, digest, len(content))


def read_network(connection: Connection, store: ArtifactStore, trial_id: int) -> bytes:
    """The file of a kept network; raises NotFound when it is not kept, BrokenArtifact when it was damaged."""
    artifact = _kept_network(connection, trial_id)
    return store.read(artifact.path, artifact.digest)


def pin_network(connection: Connection, trial_id: int) -> None:
    """Keep the network of a completed trial even when it leaves its front, until it is unpinned.

    Raises:
        NotFound: when there is no such trial, or its network is not kept any more.
        Conflict: when the trial has not completed.
    """
    _lock_completed_trial(connection, trial_id)
    pin_artifact(connection, _kept_network(connection, trial_id).id)


def unpin_network(connection: Connection, trial_id: int) -> None:
    """Keep the network no longer than its search says; off the front it has another day. Raises as `pin_network`."""
    trial = _lock_completed_trial(connection, trial_id)
    network = _kept_network(connection, trial_id)
    if network.pinned:
        is_needed = trial.on_front or require_search(connection, trial.search_id).spec.keep_networks == "all"
        unpin_artifact(connection, network.id, after_seconds=None if is_needed else DAY)


def sweep_artifacts(connection: Connection, store: ArtifactStore) -> int:
    """Remove files that nothing needs any more; returns how many."""
    expired = expired_artifacts(connection)
    for artifact in expired:
        store.remove(artifact.path)
    forget_artifacts(connection, [artifact.id for artifact in expired])
    return len(expired)


def _lock_completed_trial(connection: Connection, trial_id: int) -> Trial:
    """The trial as it stands once its search, and with it the front, is locked."""
    trial = trial_by_id(connection, trial_id)
    if trial is not None and lock_search(connection, trial.search_id):
        trial = trial_by_id(connection, trial_id)
    if trial is None:
        raise NotFound(f"there is no trial {trial_id}")
    if trial.state is not TrialState.COMPLETED:
        raise Conflict(f"trial {trial_id} is {trial.state}; only a completed one has a network to pin")
    return trial


def _kept_network(connection: Connection, trial_id: int) -> StoredArtifact:
    artifact = artifact_of_trial(connection, trial_id, "network")
    if artifact is None:
        raise NotFound(
            f"no network of trial {trial_id} is kept; a search keeps those on its fronts (keep_networks: all keeps all)"
        )
    return artifact
