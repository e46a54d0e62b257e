from collections.abc import Callable

import pytest
import torch

from nas_service.domain.architecture import Architecture, TaskShape
from nas_service.domain.search import Recipe
from nas_service.domain.tasks import Denoising
from workers.training.datasets import LoadedDataset
from workers.training.diagnose import Diagnosis, diagnose
from workers.training.network import Network
from workers.training.tasks import TaskSplit, make_batches, prepare
from workers.training.train import train

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def on_eval(digits: LoadedDataset, denoising: Denoising) -> TaskSplit:
    return prepare(denoising, digits, CPU).eval


@pytest.fixture(scope="module")
def trained(digits: LoadedDataset, denoising: Denoising) -> Network:
    architecture = Architecture(family="hourglass", d_z=80, d_h=24, depth=3)
    return train(architecture, denoising, Recipe(epochs=6, batch_size=64), 3e-3, 1, digits, CPU).network


@pytest.fixture(scope="module")
def found(trained: Network, on_eval: TaskSplit) -> Diagnosis:
    return diagnose(trained, on_eval)


def with_rank_two(network: Network) -> Network:
    """The first block adds along two directions only, from all of its units."""
    changed = network.replicate(0)
    with torch.no_grad():
        u, s, v = torch.linalg.svd(changed.blocks[0].w2[0], full_matrices=False)
        changed.blocks[0].w2[0] = u[:, :2] @ torch.diag(s[:2]) @ v[:2]
    return changed


def test_the_output_behind_the_last_block_is_the_networks(found: Diagnosis) -> None:
    assert found.psnr_db == found.blocks[-1].psnr_db


def test_each_block_of_a_trained_network_refines_its_output(found: Diagnosis) -> None:
    curve = [found.psnr_db_before, *(block.psnr_db for block in found.blocks)]

    assert curve == sorted(curve)
    assert curve[-1] > curve[0] + 1


def test_a_block_left_out_costs_quality(found: Diagnosis) -> None:
    assert all(block.psnr_db_without < found.psnr_db for block in found.blocks)


def test_a_block_that_adds_nothing_is_seen_as_such(trained: Network, on_eval: TaskSplit) -> None:
    idle = trained.replicate(0)
    with torch.no_grad():
        idle.blocks[1].w2.zero_()
    diagnosis = diagnose(idle, on_eval)
    before, block = diagnosis.blocks[:2]

    assert (block.relative_update, block.effective_rank, block.used_rank, block.live_units) == (0, 0, 0, 0)
    assert block.psnr_db_without == diagnosis.psnr_db
    assert block.psnr_db == before.psnr_db


def test_ranks_are_those_of_what_the_block_adds(trained: Network, on_eval: TaskSplit) -> None:
    block = diagnose(with_rank_two(trained), on_eval).blocks[0]

    assert block.used_rank <= 2
    assert block.effective_rank <= 2 + 1e-6


def test_ranks_agree_with_the_singular_values_of_all_that_is_added(
    trained: Network, on_eval: TaskSplit, found: Diagnosis
) -> None:
    """Against the plain way, which holds every image's addition in memory."""
    inputs, _ = make_batches(on_eval, torch.arange(len(on_eval))[None], trained.seeds)
    with torch.no_grad():
        inner, _ = trained.blocks[0].first(trained.lifted(inputs))
        added, _ = trained.blocks[0].second(inner)
    singular = torch.linalg.svdvals(added[0].double())
    shares = singular / singular.sum()
    reached = singular.square().cumsum(0) / singular.square().sum()

    expected = float(torch.exp(-torch.xlogy(shares, shares).sum()))
    assert found.blocks[0].effective_rank == pytest.approx(expected, rel=1e-3)
    assert found.blocks[0].used_rank == int((reached < 0.99).sum()) + 1


def test_cutting_units_keeps_the_best_and_counts_the_others(found: Diagnosis, trained: Network) -> None:
    kept = sum(block.used_rank for block in found.blocks)

    assert found.units_cut == 3 * 24 - kept > 0
    assert found.psnr_db_before < found.psnr_db_cut <= found.psnr_db


@pytest.mark.parametrize("wiring", ["parallel_shallow", "skip_narrow", "no_skip"])
def test_every_wiring_can_be_looked_into(
    an_architecture: Callable[..., Architecture], on_eval: TaskSplit, wiring: str
) -> None:
    network = Network(an_architecture(wiring=wiring, depth=3), TaskShape(d_x=64, d_y=64), 1).eval()
    diagnosis = diagnose(network, on_eval)

    assert diagnosis.psnr_db == diagnosis.blocks[-1].psnr_db
    assert all(block.relative_update > 0 for block in diagnosis.blocks)
