"""Why a trained network is as good as it is: what each of its blocks adds, and how much of its inner width it uses.

Everything is measured on a split without training: the output is decoded after each block, blocks are left out, and
inner units are cut. Ranks are of what a block adds to the skip over all images, from its singular values: the effective
rank is the exponential of their entropy (Roy and Vetterli, EUSIPCO 2007), the used rank is how many carry 99% of the
energy (the utilised rank of arXiv 2407.04797, of what leaves the block).

N: images, L: blocks, d_z: skip width, d_h: inner width. Networks have one replicate.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from workers.training.blocks import Block
from workers.training.measure import CHUNK, measure
from workers.training.network import Network
from workers.training.tasks import TaskSplit, make_batches
from workers.training.wirings import Kept, through

ENERGY = 0.99  # of what a block adds, that its used rank carries
DEAD = 1e-12  # share of a block's energy below which an inner unit adds nothing


@dataclass(frozen=True)
class BlockDiagnosis:
    """What was found of one block."""

    psnr_db: float  # of the output decoded behind it
    relative_update: float  # |z_{i+1} - z_i| / |z_i|, mean over images
    effective_rank: float  # of what it adds, at most d_h
    used_rank: int  # singular values of it that carry 99% of its energy
    live_units: int  # inner units that add anything
    psnr_db_without: float  # of the network when this block alone is left out


@dataclass(frozen=True)
class Diagnosis:
    """What was found of a network."""

    psnr_db: float
    psnr_db_before: float  # of the output decoded before the first block
    blocks: tuple[BlockDiagnosis, ...]
    psnr_db_cut: float  # when each block keeps as many inner units as its used rank, those that add most
    units_cut: int  # inner units that this took away, of depth * d_h


@torch.no_grad()
def diagnose(network: Network, split: TaskSplit) -> Diagnosis:
    """Look into a network of one replicate, at evaluation, on a whole split on the network's device."""
    blocks, seeds = network.joined_blocks(), network.seeds
    assert len(seeds) == 1, "a diagnosis is of one replicate"

    def quality(chosen: Sequence[Block]) -> float:
        return measure(lambda x: network.with_blocks(x, chosen), split, seeds, brief=True)[0]["psnr_db"]

    decoded = [quality(blocks[:count]) for count in range(len(blocks) + 1)]
    without = [quality([*blocks[:place], *blocks[place + 1 :]]) for place in range(len(blocks))]
    grams, updates = _look_inside(network, split)
    spectra = [_spectrum(block.w2[0], gram) for block, gram in zip(blocks, grams, strict=True)]
    ranks = [_used_rank(spectrum) for spectrum in spectra]
    energies = [_unit_energies(block.w2[0], gram) for block, gram in zip(blocks, grams, strict=True)]
    found = tuple(
        BlockDiagnosis(
            psnr_db=decoded[place + 1],
            relative_update=updates[place],
            effective_rank=_effective_rank(spectra[place]),
            used_rank=ranks[place],
            live_units=int((energies[place] > DEAD * energies[place].sum()).sum()),
            psnr_db_without=without[place],
        )
        for place in range(len(blocks))
    )
    cut = _cut(network, energies, ranks)
    (of_cut,) = measure(cut, split, seeds, brief=True)
    units_cut = sum(len(energy) - rank for energy, rank in zip(energies, ranks, strict=True))
    return Diagnosis(decoded[-1], decoded[0], found, of_cut["psnr_db"], units_cut)


def _look_inside(network: Network, split: TaskSplit) -> tuple[list[Tensor], list[float]]:
    """Per block: the Gram matrix of its active units (d_h, d_h) over all images, and the mean relative update."""
    blocks, wiring = network.joined_blocks(), network.architecture.wiring
    grams = [torch.zeros(block.w2.shape[2], block.w2.shape[2], dtype=torch.float64) for block in blocks]
    updates = torch.zeros(len(blocks), dtype=torch.float64)
    for samples in torch.split(torch.arange(len(split), device=split.images.device), CHUNK):
        inputs, _ = make_batches(split, samples[None], network.seeds)
        start, kept = network.lifted(inputs), list[Kept]()
        through(wiring, blocks, start, kept)
        for gram, of_block in zip(grams, kept, strict=True):
            active = of_block.second.active[0].double()  # (N, d_h)
            gram += (active.T @ active).cpu()
        z = start  # (1, N, d_z)
        for place in range(len(blocks)):
            behind = through(wiring, blocks[: place + 1], start)  # (1, N, d_z)
            shares = (behind - z).norm(dim=2) / z.norm(dim=2).clamp(min=torch.finfo(z.dtype).tiny)
            updates[place] += float(shares.double().sum())
            z = behind
    return grams, (updates / len(split)).tolist()


def _spectrum(w2: Tensor, gram: Tensor) -> Tensor:
    """The squared singular values (min(d_z, d_h),) of what a block adds over all images, A W2^T with A^T A = gram."""
    _, triangle = torch.linalg.qr(w2.double().cpu())  # W2 = Q triangle, (d_z, d_h)
    spectrum: Tensor = torch.linalg.eigvalsh(triangle @ gram @ triangle.T)
    return spectrum.clamp(min=0).flip(0)


def _effective_rank(spectrum: Tensor) -> float:
    singular = spectrum.sqrt()
    if float(singular.sum()) == 0:
        return 0.0
    shares = singular / singular.sum()
    return float(torch.exp(-torch.xlogy(shares, shares).sum()))


def _used_rank(spectrum: Tensor) -> int:
    if float(spectrum.sum()) == 0:
        return 0
    reached = spectrum.cumsum(0) / spectrum.sum()
    return int((reached < ENERGY).sum()) + 1


def _unit_energies(w2: Tensor, gram: Tensor) -> Tensor:
    """How much each inner unit (d_h,) adds by itself: the energy of its activity times that of its row of W2."""
    return gram.diagonal() * w2.double().cpu().square().sum(dim=0)


def _cut(network: Network, energies: Sequence[Tensor], ranks: Sequence[int]) -> Network:
    """The network without the inner units that add least: their columns of W2 are zero, as if they were not there."""
    cut = network.replicate(0).to(next(network.parameters()).device)
    for block, energy, rank in zip(cut.joined_blocks(), energies, ranks, strict=True):
        block.w2[0, :, energy.argsort(descending=True)[rank:]] = 0
    return cut
