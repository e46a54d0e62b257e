"""A worker process that trains nothing: real calls and real heartbeats, metrics from a formula, no torch.

It keeps a diary, one JSON line for each call that the server accepted or refused for good, written before the next
call, so that nothing in it is lost by SIGKILL. What it sends names its lease and token wherever the service stores it.

    python -m tests.chaos.stub_worker SERVER NAME SEED DIARY
"""

import json
import os
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from random import Random
from time import sleep, time
from typing import Any, TypeVar

import numpy as np
from safetensors.numpy import save

from nas_service.client import ApiError, LeaseLost, ServerUnreachable, WorkerClient
from nas_service.domain.stopping import AVERAGE
from nas_service.messages import Lease, LeaseRequest, Release, Report, ReportAnswer, Result, WorkerInfo
from workers.heartbeat import Heartbeat

Answer = TypeVar("Answer")
DIVERGES, FAILS = 0.04, 0.04  # shares of the trials, whoever trains them
SAYS_GOODBYE = 0.01  # share of the trials after which the worker ends in order, and begins as another one


class Diary:
    """What happened, line by line."""

    def __init__(self, path: Path, worker: str) -> None:
        self._file = path.open("a", buffering=1)
        self._worker = worker

    def note(self, what: str, lease: Lease, **facts: Any) -> None:
        line = {"what": what, "worker": self._worker, "trial": lease.trial_id, "lease": lease.lease_id}
        self._file.write(json.dumps({**line, "token": lease.token, **facts, "at": time()}) + "\n")


class DiaryClient(WorkerClient):
    """The real client; what the server accepted is noted with the moment before the call."""

    def __init__(self, server: str, diary: Diary) -> None:
        super().__init__(server)
        self._diary = diary

    def report(self, lease: Lease, report: Report) -> ReportAnswer:
        return self._noted("report", lease, lambda: super(DiaryClient, self).report(lease, report))

    def send_network(self, lease: Lease, content: bytes) -> None:
        self._noted("network", lease, lambda: super(DiaryClient, self).send_network(lease, content))

    def send_checkpoint(self, lease: Lease, content: bytes) -> None:
        self._noted("checkpoint", lease, lambda: super(DiaryClient, self).send_checkpoint(lease, content))

    def send_result(self, lease: Lease, result: Result) -> None:
        self._noted("result", lease, lambda: super(DiaryClient, self).send_result(lease, result))

    def _noted(self, what: str, lease: Lease, call: Callable[[], Answer]) -> Answer:
        sent_at = time()
        try:
            answer = call()
        except LeaseLost:
            self._diary.note("lost", lease, sent_at=sent_at)
            raise
        self._diary.note(what, lease, sent_at=sent_at)
        return answer


def quality_of(lease: Lease, epoch: int) -> float:
    """A psnr in dB: better with depth and width, with noise that belongs to the architecture."""
    shape = lease.architecture
    noise = Random(f"{shape.model_dump_json()} {lease.lr}").gauss(0, 0.3)
    return 18 + shape.depth**0.5 + np.log2(shape.d_h * shape.d_z) / 4 + noise - 3 / epoch


def metrics_of(lease: Lease, epoch: int) -> dict[str, float]:
    psnr = float(quality_of(lease, epoch))
    return {"psnr_db": psnr, "ssim": 0.5, "mse": 10 ** (-psnr / 10)}


def work_on(lease: Lease, client: WorkerClient, random: Random) -> None:
    """Bring a trial to its end, or give it back when told to."""
    seconds = random.uniform(0.05, 0.5)
    if lease.checkpoint is not None:
        client.checkpoint(lease)
    with Heartbeat(client, lease) as heartbeat:
        for epoch in range(1, lease.recipe.epochs + 1):
            sleep(seconds / lease.recipe.epochs)
            told = metrics_of(lease, epoch)
            for training in range(lease.recipe.replicates):
                averages = {f"psnr_db{AVERAGE}": told["psnr_db"]} if epoch in lease.rungs else {}
                heartbeat.note_epoch(training, epoch, {**told, **averages, "token": lease.token})
            if epoch in lease.rungs:
                heartbeat.send()
            if epoch == 2 and random.random() < 0.3:
                client.send_checkpoint(lease, random.randbytes(2000))
            if heartbeat.order in ("cancelled", "lost"):
                return
            if heartbeat.order == "paused":
                client.release(lease, Release(reason="paused"))
                return
            if heartbeat.order == "early":
                client.send_result(lease, result_of(lease, outcome="stopped", epochs_done=epoch))
                return
        hand_in(lease, client)


def hand_in(lease: Lease, client: WorkerClient) -> None:
    fate = Random(lease.trial_id).random()
    if fate < DIVERGES:
        client.send_result(lease, result_of(lease, outcome="failed", reason="diverged"))
    elif fate < DIVERGES + FAILS:
        client.send_result(lease, result_of(lease, outcome="failed", reason="error", message="as the dice fell"))
    else:
        if lease.keep_network:
            client.send_network(lease, save({"w": np.full((8, 8), lease.token, dtype=np.float32)}))
        metrics = {"eval": metrics_of(lease, lease.recipe.epochs)}
        epochs_done = lease.recipe.epochs * lease.recipe.replicates
        trivial = {"psnr_db": 12.0, "ssim": 0.1, "mse": 0.06}
        result = result_of(lease, outcome="completed", metrics=metrics, epochs_done=epochs_done, trivial=trivial)
        client.send_result(lease, result)


def result_of(lease: Lease, **facts: Any) -> Result:
    environment = {"lease": lease.lease_id, "token": lease.token}
    return Result.model_validate({"seconds": 0.1, "environment": environment, **facts})


def main(server: str, name: str, seed: str, diary_path: str) -> None:
    """Work until killed, or until the process that started it is gone."""
    parent, random = os.getppid(), Random(seed)
    diary = Diary(Path(diary_path), name)
    client, request = DiaryClient(server, diary), None
    for number in count():
        if os.getppid() != parent:
            return
        life = f"{name}-{os.getpid()}"
        info = WorkerInfo(id=life, name=name, device="cpu", version="stub", datasets={"digits": None})
        request = request or LeaseRequest(request_id=f"{life}-{number}", worker=info, wait_seconds=5)
        try:
            lease = client.lease(request)
        except (ServerUnreachable, ApiError):
            sleep(0.2)
            continue  # with the same request: a lease whose answer was lost is not lost
        request = None
        if lease is None:
            continue
        diary.note("granted", lease)
        try:
            work_on(lease, client, random)
            if random.random() < SAYS_GOODBYE:
                client.say_goodbye(life)
        except (LeaseLost, ServerUnreachable):
            pass
        except ApiError as error:
            diary.note("refused", lease, status=error.status, error=str(error))


if __name__ == "__main__":
    main(*sys.argv[1:])
