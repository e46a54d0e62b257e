"""One leased trial from its data to its result. Every way in which it can end is here.

trained                          -> network, then the result `completed`
diverged                         -> the result `failed: diverged`
out of memory, any other error   -> the result `failed` with the message
dataset missing or another one   -> given back; this worker no longer offers the dataset
dataset of no use to the search  -> the result `failed: dataset`; no worker could do better
told to stop, or shutting down   -> given back, or dropped when it is cancelled or lost
"""

from collections.abc import Callable

import structlog
import torch

from nas_service.client import ApiError, LeaseLost, ServerUnreachable, WorkerClient
from nas_service.domain.states import FailureReason
from nas_service.messages import Lease, Release, ReplicateResult, Result
from workers.bookshelf import Bookshelf
from workers.heartbeat import Heartbeat
from workers.training.datasets import DatasetError
from workers.training.network_file import save_network
from workers.training.run_trial import TrialOutcome, run_trial
from workers.training.train import Diverged, Stopped

log = structlog.get_logger()


def work_on(
    lease: Lease, client: WorkerClient, shelf: Bookshelf, device: torch.device, shutting_down: Callable[[], bool]
) -> None:
    """Train the leased trial and hand in how it ended. Returns when the lease is over, whatever happened."""
    try:
        with Heartbeat(client, lease) as heartbeat:
            _train_and_hand_in(lease, client, shelf, device, heartbeat, shutting_down)
    except LeaseLost as error:
        log.warning("lease lost, work thrown away", trial=lease.trial_id, why=str(error))
    except (ApiError, ServerUnreachable) as error:
        log.error("result could not be handed in", trial=lease.trial_id, error=str(error))


def _train_and_hand_in(
    lease: Lease,
    client: WorkerClient,
    shelf: Bookshelf,
    device: torch.device,
    heartbeat: Heartbeat,
    shutting_down: Callable[[], bool],
) -> None:
    def should_stop() -> bool:
        heartbeat.note_step()
        return heartbeat.order is not None or shutting_down()

    try:
        data = shelf.take(lease.dataset)
        outcome = run_trial(
            lease.architecture,
            lease.task,
            lease.recipe,
            lease.lr,
            data,
            device,
            objective=lease.quality,
            direction=lease.quality_direction,
            base_seed=lease.seed,
            on_epoch=lambda training, epoch, metrics: heartbeat.note_epoch(training, epoch + 1, metrics),
            should_stop=should_stop,
        )
    except DatasetError as error:
        message = str(error)[:4000]
        if shelf.can_serve(lease.dataset):  # given back, it would come here again at once, for ever
            client.send_result(lease, Result(outcome="failed", reason=FailureReason.DATASET, message=message))
        else:
            client.release(lease, Release(reason="dataset", message=message))
    except Stopped:
        _stop(lease, client, heartbeat)
    except Diverged as error:
        client.send_result(lease, Result(outcome="failed", reason=FailureReason.DIVERGED, message=str(error)))
    except (MemoryError, torch.OutOfMemoryError) as error:
        message = f"out of memory on {device}: {error}"[:4000]
        client.send_result(lease, Result(outcome="failed", reason=FailureReason.OUT_OF_MEMORY, message=message))
    except Exception as error:  # whatever a trial does, the worker lives on and the server learns why
        log.exception("trial failed", trial=lease.trial_id)
        message = f"{type(error).__name__}: {error}"[:4000]
        client.send_result(lease, Result(outcome="failed", reason=FailureReason.ERROR, message=message))
    else:
        if lease.keep_network:
            client.send_network(lease, save_network(outcome.network))
        _hand_in(lease, client, outcome)


def _hand_in(lease: Lease, client: WorkerClient, outcome: TrialOutcome) -> None:
    try:
        client.send_result(lease, _completed(outcome))
    except LeaseLost:
        raise
    except ApiError as error:  # the server has no use for this result: the trial ends all the same, with the reason
        message = f"the server refused the result: {error}"[:4000]
        client.send_result(lease, Result(outcome="failed", reason=FailureReason.ERROR, message=message))


def _stop(lease: Lease, client: WorkerClient, heartbeat: Heartbeat) -> None:
    if heartbeat.order in ("cancelled", "lost"):
        log.info("trial dropped", trial=lease.trial_id, why=heartbeat.order)
    else:
        client.release(lease, Release(reason="paused" if heartbeat.order == "paused" else "shutdown"))


def _completed(outcome: TrialOutcome) -> Result:
    return Result(
        outcome="completed",
        lr=outcome.lr,
        metrics=outcome.metrics,
        trivial=outcome.trivial,
        replicates=[ReplicateResult.model_validate(row) for row in outcome.replicates],
        seconds=outcome.seconds,
        epochs_done=outcome.epochs,
        environment=outcome.environment,
        projection_hash=outcome.projection_hash,
    )
