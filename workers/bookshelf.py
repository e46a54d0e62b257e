"""The datasets of one worker: what it offers, what it has in memory, what it could not read. Its slots share them."""

import threading
from pathlib import Path
from time import monotonic

from nas_service.domain.tasks import Dataset
from workers.training.datasets import (
    DatasetError,
    DigestMismatch,
    LoadedDataset,
    available_datasets,
    describe_dataset,
    load_dataset,
)

TRY_AGAIN_SECONDS = 600.0
MAX_PROBLEM = 4000  # characters of a problem that a worker tells


class Bookshelf:
    """Offers datasets and keeps the last one that was read in memory."""

    def __init__(self, data_dir: Path | None, fetch: bool) -> None:
        self._data_dir = data_dir
        self._fetch = fetch
        self._digests: dict[str, str | None] = dict.fromkeys(available_datasets(data_dir, fetch))
        self._in_memory: LoadedDataset | None = None
        self._reading = threading.Lock()
        self._problems: dict[str, tuple[float, str]] = {}  # key: since when and why it cannot be read

    @property
    def problems(self) -> dict[str, str]:
        """Why a dataset cannot be read; after ten minutes it is tried again, for the network may be back."""
        recent = monotonic() - TRY_AGAIN_SECONDS
        return {key: why for key, (since, why) in list(self._problems.items()) if since > recent}

    @property
    def offered(self) -> dict[str, str | None]:
        """Every dataset that a trial may ask for: its digest where it was read, else None."""
        return dict(self._digests)

    def take(self, dataset: Dataset) -> LoadedDataset:
        """The images of a dataset.

        Raises:
            DatasetError: when they cannot be read or are other images (it is offered so no more), or when the search
                states facts of them that are not true (others may still be served).
        """
        with self._reading:  # the slot that comes second finds what the first one read
            return self._take(dataset)

    def can_serve(self, dataset: Dataset) -> bool:
        """Whether this dataset is offered as the search wants it, so that its trials would come here again."""
        digest, expected = self._digests.get(dataset.key), dataset.expected_digest
        is_offered = dataset.key in self._digests and dataset.key not in self.problems
        return is_offered and (digest is None or expected is None or digest == expected)

    def _take(self, dataset: Dataset) -> LoadedDataset:
        if self._in_memory is not None and self._in_memory.dataset == dataset:
            return self._in_memory
        try:
            loaded = load_dataset(dataset, self._data_dir, self._fetch)
        except DigestMismatch as error:
            self._digests[dataset.key] = error.found  # searches for these other images can still be served
            raise
        except DatasetError as error:
            if not self._is_readable(dataset.key):
                self._problems[dataset.key] = (monotonic(), str(error)[:MAX_PROBLEM])
            raise
        self._digests[dataset.key] = loaded.digest
        self._in_memory = loaded
        return loaded

    def _is_readable(self, key: str) -> bool:
        try:
            load_dataset(describe_dataset(key, self._data_dir), self._data_dir, self._fetch)
        except DatasetError:
            return False
        return True
