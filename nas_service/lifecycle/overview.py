"""Where a search stands, and why nothing runs when nothing runs."""

from nas_service.database import Connection
from nas_service.database.keys import key_by_id
from nas_service.database.searches import arms_of
from nas_service.database.workers import live_workers
from nas_service.domain.allocation import most_of_arm
from nas_service.domain.devices import names_of
from nas_service.domain.records import StoredArm, StoredSearch, StoredWorker
from nas_service.domain.states import SearchState, TrialState
from nas_service.lifecycle.quotas import why_held_back
from nas_service.messages import ArmProgress, SearchDetail


def detail_of(connection: Connection, search: StoredSearch, shortage: str | None = None) -> SearchDetail:
    """The search with its arms' progress; `shortage` is why nothing may be leased at all."""
    arms = arms_of(connection, search.id)
    progress = [
        ArmProgress(
            name=arm.name,
            spent=arm.spending,
            budget=most_of_arm(search),
            trials=arm.trials,
            imported=arm.imported,
            exhausted=arm.exhausted,
        )
        for arm in arms
    ]
    owner = None if search.owner_key_id is None else key_by_id(connection, search.owner_key_id)
    shortage = shortage or why_held_back(connection, owner)
    waiting_because = _waiting_because(search, arms, live_workers(connection), shortage)
    name = owner.name if owner else None
    return SearchDetail(**dict(search), arms=progress, owner=name, waiting_because=waiting_because)


def _waiting_because(
    search: StoredSearch, arms: list[StoredArm], workers: list[StoredWorker], shortage: str | None
) -> str | None:
    if search.state is SearchState.PAUSED:
        return "the search is paused; resume it to go on"
    if search.state is not SearchState.RUNNING or any(arm.trials[TrialState.LEASED] for arm in arms):
        return None
    if shortage is not None:
        return shortage
    if not workers:
        return "no worker is alive; start one with `hourglass worker --server URL`"
    dataset, expected = search.spec.dataset.key, search.spec.dataset.expected_digest
    able = [worker for worker in workers if _can_read(worker, dataset, expected)]
    if not able:
        return _nobody_can_read(dataset, expected, workers)
    if (device := search.spec.device) is not None and not any(device in names_of(worker.device) for worker in able):
        seen = sorted({worker.device for worker in able})
        return f"no live worker has the device {device} (those that can read {dataset} have {', '.join(seen)})"
    return None if any(arm.trials[TrialState.QUEUED] for arm in arms) else "the next trials are being chosen"


def _can_read(worker: StoredWorker, dataset: str, expected: str | None) -> bool:
    found = worker.datasets.get(dataset)
    return (
        dataset in worker.datasets
        and dataset not in worker.problems
        and (found is None or expected is None or found == expected)
    )


def _nobody_can_read(dataset: str, expected: str | None, workers: list[StoredWorker]) -> str:
    for worker in workers:
        if dataset in worker.problems:
            return f"no live worker can read {dataset}; worker {worker.name} says: {worker.problems[dataset]}"
        if dataset in worker.datasets:
            return (
                f"no live worker has {dataset} with the digest {expected}; "
                f"worker {worker.name} has {worker.datasets[dataset]}"
            )
    known = sorted({key for worker in workers for key in worker.datasets})
    return (
        f"no live worker has {dataset} (they have {', '.join(known) or 'none'}); put it into HOURGLASS_DATA_DIR of a "
        "worker and restart that worker"
    )
