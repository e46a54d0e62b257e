"""Files in the artifact store that no row names: what an interrupted upload or a lost database left.

Only names that we give are touched: a store may hold other things, too.
"""

import re
from time import time

from nas_service.artifacts import PART, ArtifactStore, StoreFile
from nas_service.database import Database
from nas_service.database.artifacts import every_artifact

OLD_ENOUGH_SECONDS = 3600.0  # a younger one may be about to get its row
_OURS = re.compile(rf"search-\d+/trial-\d+-[0-9a-f]+\.(safetensors|checkpoint)(\.[0-9a-f]+{re.escape(PART)})?")


def unnamed_files(database: Database, store: ArtifactStore) -> list[StoreFile]:
    """The files that nothing names, old enough not to be on their way."""
    before = time() - OLD_ENOUGH_SECONDS
    found = [file for file in store.files() if file.changed_at < before and _OURS.fullmatch(file.path)]
    with database.read() as connection:  # after the files: a row that came meanwhile counts
        named = {row.path for row in every_artifact(connection)}
    return sorted(file for file in found if file.path not in named)


def remove_unnamed(database: Database, store: ArtifactStore) -> list[StoreFile]:
    """Remove them; returns what was removed."""
    unnamed = unnamed_files(database, store)
    for file in unnamed:
        store.remove(file.path)
    return unnamed
