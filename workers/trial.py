"""One leased trial from its data to its result. Every way in which it can end is here.

trained                          -> network, then the result `completed`; refused by the server, `failed`
diverged                         -> the result `failed: diverged`
out of memory, any other error   -> the result `failed` with the message
dataset missing or another one   -> given back; this worker no longer offers the dataset
dataset of no use to the search  -> the result `failed: dataset`; no worker could do better
told to stop early               -> the result `stopped`
told to stop, or shutting down   -> checkpoint, then given back; or dropped when it is cancelled or lost

A result waits in the outbox until the server has it; the heartbeat keeps its lease alive meanwhile.
"""

from collections.abc import Callable
from functools import partial

import structlog
import torch

from nas_service.client import ApiError, LeaseLost, ServerUnreachable, WorkerClient
from nas_service.domain.costs import known_costs
from nas_service.domain.states import FailureReason
from nas_service.domain.tasks import task_shape
from nas_service.messages import Lease, Release, ReplicateResult, Result
from workers.bookshelf import Bookshelf
from workers.courier import Courier
from workers.heartbeat import Heartbeat
from workers.outbox import Outbox
from workers.room import Room
from workers.training.checkpoint import CheckpointError
from workers.training.datasets import DatasetError
from workers.training.device_costs import measure_device_costs
from workers.training.network_file import save_network
from workers.training.run_trial import TrialOutcome, run_trial
from workers.training.train import Diverged, Stopped, environment_of
from workers.training.turns import Turns

log = structlog.get_logger()

NoteWork = Callable[[int, int], None]  # images of an epoch, and multiply-adds of one image


def work_on(
    lease: Lease,
    client: WorkerClient,
    shelf: Bookshelf,
    device: torch.device,
    shutting_down: Callable[[], bool],
    room: Room | None = None,
    note_work: NoteWork | None = None,
    outbox: Outbox | None = None,
) -> None:
    """Train the leased trial and hand in how it ended. Returns when the lease is over, whatever happened.

    Args:
        lease: which trial.
        client: the way to the server.
        shelf: the worker's datasets.
        device: where to train.
        shutting_down: whether the worker ends.
        room: the device's memory, where trials of other slots share it.
        note_work: called after each epoch of all replicates.
        outbox: where results wait for the server; in memory without one.
    """

    def hand_in(result: Result, network: bytes | None = None) -> None:
        box = outbox or Outbox(None)
        box.deliver(client, box.keep(client.server, lease, result, network), shutting_down)

    try:
        with Heartbeat(client, lease) as heartbeat, Courier(client, lease, heartbeat) as courier:
            room = room or Room(device)
            _train_and_hand_in(
                lease, client, shelf, device, heartbeat, courier, shutting_down, room, note_work, hand_in
            )
    except LeaseLost as error:
        log.warning("lease lost, work thrown away", trial=lease.trial_id, why=str(error))
    except (ApiError, ServerUnreachable) as error:
        log.error("trial could not be given back", trial=lease.trial_id, error=str(error))


def _train_and_hand_in(
    lease: Lease,
    client: WorkerClient,
    shelf: Bookshelf,
    device: torch.device,
    heartbeat: Heartbeat,
    courier: Courier,
    shutting_down: Callable[[], bool],
    room: Room,
    note_work: NoteWork | None,
    hand_in: Callable[..., None],
) -> None:
    turns = Turns(device)

    def is_told_to_stop() -> bool:
        heartbeat.note_step()
        return heartbeat.order is not None or shutting_down()

    def should_stop() -> bool:
        turns.step_aside(is_told_to_stop)
        return is_told_to_stop()

    left = _left_by_another(lease, client)
    try:
        data = shelf.take(lease.dataset)
        shape = task_shape(lease.task, data.dataset)
        images = len(data.train.images) * lease.recipe.augment * lease.recipe.replicates
        macs, noted = known_costs(lease.architecture, shape).macs, (-1, -1)

        def on_epoch(training: int, epoch: int, metrics: dict[str, float]) -> None:
            nonlocal noted
            heartbeat.note_epoch(training, epoch + 1, metrics)
            before, noted = noted, (training // lease.recipe.replicates, epoch)
            if note_work is not None and noted != before:  # replicates end an epoch together
                note_work(images, macs)
            if epoch + 1 in lease.rungs:
                heartbeat.send()  # the answer says whether the trial goes on, so training waits for this one

        with (
            turns.training(is_told_to_stop),
            room.reserve(lease.architecture, shape, lease.recipe, should_stop) as at_once,
        ):
            run = partial(
                run_trial,
                lease.architecture,
                lease.task,
                lease.recipe,
                lease.lr,
                data,
                device,
                objective=lease.quality,
                direction=lease.quality_direction,
                base_seed=lease.seed,
                on_epoch=on_epoch,
                should_stop=should_stop,
                lr_transfer=lease.lr_transfer,
                rungs=lease.rungs,
                on_checkpoint=courier.note,
                at_once=at_once,
            )
            try:
                outcome = _from_where_it_was_left(lease, run, left)
            finally:
                heartbeat.flush()  # once the result is in, the server takes no more curves
            measured = measure_device_costs(
                lease.measure, outcome, lease.task, lease.recipe, data, device, turns, is_told_to_stop
            )
    except DatasetError as error:
        message = str(error)[:4000]
        if shelf.can_serve(lease.dataset):  # given back, it would come here again at once, for ever
            hand_in(Result(outcome="failed", reason=FailureReason.DATASET, message=message))
        else:
            client.release(lease, Release(reason="dataset", message=message))
    except Stopped as stopped:
        if heartbeat.order == "early":
            hand_in(_stopped_early(lease, stopped, device))
        else:
            _stop(lease, client, heartbeat, courier)
    except Diverged as error:
        hand_in(Result(outcome="failed", reason=FailureReason.DIVERGED, message=str(error)))
    except (MemoryError, torch.OutOfMemoryError) as error:
        message = f"out of memory on {device}: {error}"[:4000]
        hand_in(Result(outcome="failed", reason=FailureReason.OUT_OF_MEMORY, message=message))
    except Exception as error:  # whatever a trial does, the worker lives on and the server learns why
        log.exception("trial failed", trial=lease.trial_id)
        message = f"{type(error).__name__}: {error}"[:4000]
        hand_in(Result(outcome="failed", reason=FailureReason.ERROR, message=message))
    else:
        hand_in(_completed(outcome, measured), save_network(outcome.network) if lease.keep_network else None)


def _left_by_another(lease: Lease, client: WorkerClient) -> bytes | None:
    """The checkpoint of whoever trained this before; None when there is none, or it cannot be had."""
    if lease.checkpoint is None:
        return None
    try:
        return client.checkpoint(lease)
    except LeaseLost:
        raise
    except ApiError as error:
        log.warning("no checkpoint, training from the beginning", trial=lease.trial_id, why=str(error))
        return None


def _from_where_it_was_left(lease: Lease, run: Callable[..., TrialOutcome], left: bytes | None) -> TrialOutcome:
    if left is None:
        return run()
    log.info("going on from a checkpoint", trial=lease.trial_id, megabytes=round(len(left) / 1e6, 1))
    try:
        return run(resume_from=left)
    except CheckpointError as error:
        log.warning("checkpoint of no use, training from the beginning", trial=lease.trial_id, why=str(error))
        return run()


def _stop(lease: Lease, client: WorkerClient, heartbeat: Heartbeat, courier: Courier) -> None:
    if heartbeat.order == "lost":
        log.warning("lease lost, work thrown away", trial=lease.trial_id)
    elif heartbeat.order == "cancelled":
        log.info("trial cancelled, work thrown away", trial=lease.trial_id)
    else:
        courier.send()
        client.release(lease, Release(reason="paused" if heartbeat.order == "paused" else "shutdown"))


def _stopped_early(lease: Lease, stopped: Stopped, device: torch.device) -> Result:
    return Result(
        outcome="stopped",
        seconds=stopped.seconds,
        epochs_done=stopped.epoch * lease.recipe.replicates,
        environment=environment_of(lease.recipe, device, lease.lr_transfer),
    )


def _completed(outcome: TrialOutcome, measured: dict[str, float]) -> Result:
    return Result(
        outcome="completed",
        lr=outcome.lr,
        metrics={**outcome.metrics, **({"measured": measured} if measured else {})},
        trivial=outcome.trivial,
        replicates=[ReplicateResult.model_validate(row) for row in outcome.replicates],
        seconds=outcome.seconds,
        epochs_done=outcome.epochs,
        environment=outcome.environment,
        projection_hash=outcome.projection_hash,
    )
