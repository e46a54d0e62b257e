"""Whether there is room for what the next trial will bring."""

from nas_service.artifacts import ArtifactStore
from nas_service.settings import Settings

GIB = 2**30


def shortage_of_space(store: ArtifactStore, settings: Settings) -> str | None:
    """Why nothing may be leased now, with the numbers; None while there is room."""
    free = store.free_bytes()
    if free is None or free >= settings.min_free_bytes:
        return None
    return (
        f"the disk of the artifacts has {free / GIB:.2f} GiB free and nothing is leased below "
        f"{settings.min_free_bytes / GIB:.2f} GiB; make room, or lower HOURGLASS_MIN_FREE_BYTES"
    )
