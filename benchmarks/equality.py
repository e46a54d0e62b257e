"""Whether the trainer that is faster also ends as well: PSNR of ours in fp32 and bf16 and of the plain program.

The same recipe, each with the random numbers of its own; seeds alone differ by some 0.01 dB on MNIST.
"""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import torch

from benchmarks import plain_pytorch
from benchmarks.rivals import Job, plain_images, plain_model
from nas_service.domain.search import Recipe
from nas_service.domain.tasks import Denoising
from workers.training.train import train

PLAIN = "plain fp32"
LR = 1e-3
SEED = 43  # of the first published run


def final_psnr_db(job: Job, epochs: int, processes: int) -> dict[str, float]:
    """Train the three, so many at once with one thread each; PSNR in dB on the evaluation split, by name."""
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        plain = pool.submit(psnr_plain, job, epochs)  # the slowest first
        ours = {precision: pool.submit(psnr_ours, job, epochs, precision) for precision in ("fp32", "bf16")}
        return {PLAIN: plain.result(), **{f"ours {name}": future.result() for name, future in ours.items()}}


def psnr_ours(job: Job, epochs: int, precision: str) -> float:
    """Train by our trainer."""
    torch.set_num_threads(1)
    recipe = Recipe.model_validate({"epochs": epochs, "batch_size": job.batch_size, "precision": precision})
    task, device = Denoising(kind="denoising"), torch.device("cpu")
    return train(job.architecture, task, recipe, LR, SEED, job.load(), device).metrics["eval"]["psnr_db"]


def psnr_plain(job: Job, epochs: int) -> float:
    """Train by the plain program."""
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    data = job.load()
    train_set, eval_set = (plain_images(split, data.scale) for split in (data.train, data.eval))
    return plain_pytorch.train(plain_model(job.architecture, data), train_set, eval_set, epochs, job.batch_size, LR)


def text_of(found: dict[str, float]) -> str:
    """One line each, with the difference from the plain program."""
    return "\n".join(f"{name:10} {psnr:.3f} dB, {psnr - found[PLAIN]:+.3f}" for name, psnr in found.items())
