"""The files that the holder of a trial brings while it trains it: checkpoints, and the network at the end.

They may be large and come often. A file streams into the store between two short transactions: the first says whether
it is wanted, the second, once the file lies there, whether it still is, and names it. Nobody waits for the disk. What
comes after a checkpoint's reports is trained, and reported, again.
"""

from secrets import token_hex
from typing import NamedTuple

from nas_service.artifacts import ArtifactStore, Part
from nas_service.database import Database
from nas_service.database.artifacts import ArtifactKind, OpenArtifact, artifact_of_trial, store_artifact
from nas_service.lifecycle.errors import Conflict, LifecycleError, NotFound
from nas_service.lifecycle.finish import running_trial


class Lessee(NamedTuple):
    """Who says that a trial is theirs."""

    lease_id: str
    token: int
    key_id: int | None = None  # of the API key; None where there are none


_SUFFIX: dict[ArtifactKind, str] = {"network": "safetensors", "checkpoint": "checkpoint"}


def place_for(database: Database, lessee: Lessee, kind: ArtifactKind) -> str:
    """The path in the store for the file that the lease's holder is about to bring; no other file ever has it.

    Raises:
        LeaseLost: when the trial is no longer this lease's, or has ended.
    """
    with database.write() as connection:
        trial = running_trial(connection, *lessee, kind)
    return f"search-{trial.search_id}/trial-{trial.id}-{token_hex(8)}.{_SUFFIX[kind]}"


def keep_file(database: Database, lessee: Lessee, kind: ArtifactKind, part: Part, digest: str) -> None:
    """Keep a file that has arrived, in place of the trial's earlier one of that kind.

    Raises:
        LeaseLost: when the trial is no longer this lease's; the file is removed.
        Conflict: when the file does not have the digest that was announced.
        StoreFails: when it cannot be stored.
    """
    if part.digest != digest:
        raise Conflict(f"the {kind} arrived damaged (digest {part.digest}, announced {digest}); send it again")
    part.keep()
    try:
        with database.write() as connection:
            trial = running_trial(connection, *lessee, kind)
            store_artifact(connection, trial.search_id, trial.id, kind, part.path, digest, part.size_bytes)
    except LifecycleError:  # it ended meanwhile
        part.remove()
        raise


def open_checkpoint(database: Database, store: ArtifactStore, lessee: Lessee) -> OpenArtifact:
    """The latest checkpoint of the trial, for its holder.

    Raises:
        LeaseLost: when the trial is no longer this lease's.
        NotFound: when there is none.
        BrokenArtifact: when the file is missing or damaged.
    """
    with database.write() as connection:
        trial = running_trial(connection, *lessee, "checkpoint")
        artifact = artifact_of_trial(connection, trial.id, "checkpoint")
    if artifact is None:
        raise NotFound("this trial has no checkpoint; train it from the beginning")
    return OpenArtifact(artifact, store.open(artifact.path, artifact.digest))
