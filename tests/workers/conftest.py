from collections.abc import Iterator

import pytest

from nas_service.client import WorkerClient


@pytest.fixture
def client(served: str) -> Iterator[WorkerClient]:
    client = WorkerClient(served)
    yield client
    client.close()
