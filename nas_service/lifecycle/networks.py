"""A trained network's file: taken from the worker that holds the trial, given to whoever asks while it is kept."""

from nas_service.artifacts import ArtifactStore, digest_of
from nas_service.database import Connection
from nas_service.database.artifacts import artifact_of_trial, expired_artifacts, forget_artifacts, store_artifact
from nas_service.domain.states import TrialState
from nas_service.lifecycle.errors import Conflict, LeaseLost, NotFound
from nas_service.lifecycle.finish import held_trial

KIND = "network"


def store_network(
    connection: Connection, store: ArtifactStore, lease_id: str, token: int, content: bytes, digest: str
) -> None:
    """Keep the network that a worker trained; it comes before the trial's result.

    Raises:
        LeaseLost: when the trial is no longer this lease's.
        Conflict: when the content does not have the digest.
    """
    trial = held_trial(connection, lease_id, token)
    if trial.state is not TrialState.LEASED:
        raise LeaseLost(f"trial {trial.id} has ended ({trial.state}); its network is not needed")
    found = digest_of(content)
    if found != digest:
        raise Conflict(f"the network arrived damaged (digest {found}, announced {digest}); send it again")
    path = f"search-{trial.search_id}/trial-{trial.id}-{digest.removeprefix('sha256:')[:16]}.safetensors"
    store.write(path, content)
    store_artifact(connection, trial.search_id, trial.id, KIND, path, digest, len(content))


def read_network(connection: Connection, store: ArtifactStore, trial_id: int) -> bytes:
    """The file of a kept network; raises NotFound when it is not kept, BrokenArtifact when it was damaged."""
    artifact = artifact_of_trial(connection, trial_id, KIND)
    if artifact is None:
        raise NotFound(
            f"no network of trial {trial_id} is kept; a search keeps those on its fronts (keep_networks: all keeps all)"
        )
    return store.read(artifact.path, artifact.digest)


def sweep_artifacts(connection: Connection, store: ArtifactStore) -> int:
    """Remove files that nothing needs any more; returns how many."""
    expired = expired_artifacts(connection)
    for artifact in expired:
        store.remove(artifact.path)
    forget_artifacts(connection, [artifact.id for artifact in expired])
    return len(expired)
