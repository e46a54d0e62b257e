from collections.abc import Callable
from pathlib import Path

import pytest

from nas_service.artifacts import ArtifactStore
from nas_service.database import Database
from nas_service.scheduler import Scheduler
from nas_service.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


@pytest.fixture
def new_scheduler(database: Database, settings: Settings) -> Callable[[], Scheduler]:
    """Makes a scheduler that leads and knows nothing but the database, as after a restart."""
    leaders: list[Scheduler] = []

    def make() -> Scheduler:
        for earlier in leaders:
            earlier.retire()
        leaders[:] = [Scheduler(database, ArtifactStore(settings.url_of_artifacts), settings)]
        assert leaders[0].lead()
        return leaders[0]

    return make
