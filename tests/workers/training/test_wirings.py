from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from nas_service.domain.architecture import Architecture, TaskShape
from nas_service.domain.arm import Arm
from workers.training.network import Network

SHAPE = TaskShape(d_x=8, d_y=8)
Build = Callable[..., Architecture]


def a_network(build: Build, wiring: str, depth: int = 3, **changes: object) -> Network:
    return Network(build(d_z=12, d_h=4, depth=depth, norm="rms", wiring=wiring, **changes), SHAPE, 0)


def rms(z: Tensor) -> Tensor:
    return z / (z.square().mean(-1, keepdim=True) + torch.finfo(z.dtype).eps).sqrt()


def ends(network: Network, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """z_0 of x, and the output of z_depth."""
    return x @ network.w_in[0].T, lambda z: torch.sigmoid(z @ network.w_out[0].T)


def branch(block: torch.nn.Module, z: Tensor) -> Tensor:
    return F.relu(rms(z) @ block.w1[0].T) @ block.w2[0].T


def test_parallel_branches_have_the_same_input_and_are_summed(an_architecture: Build) -> None:
    network, x = a_network(an_architecture, "parallel_shallow"), torch.rand(5, 8)
    z, output = ends(network, x)

    assert torch.allclose(network(x), output(z + sum(branch(block, z) for block in network.blocks)), atol=1e-6)


def test_without_skips_a_branch_follows_the_other(an_architecture: Build) -> None:
    network, x = a_network(an_architecture, "no_skip"), torch.rand(5, 8)
    z, output = ends(network, x)
    for block in network.blocks:
        z = branch(block, z)

    assert torch.allclose(network(x), output(z), atol=1e-6)


def test_narrow_skips_join_the_inner_widths_of_the_same_stack(an_architecture: Build) -> None:
    network, x = a_network(an_architecture, "skip_narrow"), torch.rand(5, 8)
    z, output = ends(network, x)
    one, two, three = network.blocks
    u = rms(z) @ one.w1[0].T
    u = u + rms(F.relu(u) @ one.w2[0].T) @ two.w1[0].T
    u = u + rms(F.relu(u) @ two.w2[0].T) @ three.w1[0].T

    assert torch.allclose(network(x), output(F.relu(u) @ three.w2[0].T), atol=1e-6)


def test_of_one_block_narrow_skips_and_none_are_the_same(an_architecture: Build) -> None:
    x = torch.rand(5, 8)
    narrow, none = (a_network(an_architecture, wiring, depth=1)(x) for wiring in ("skip_narrow", "no_skip"))

    assert torch.allclose(narrow, none, atol=1e-6)


def test_of_one_block_parallel_and_residual_are_the_same(an_architecture: Build) -> None:
    x = torch.rand(5, 8)
    parallel, residual = (a_network(an_architecture, wiring, depth=1)(x) for wiring in ("parallel_shallow", "residual"))

    assert torch.allclose(parallel, residual, atol=1e-6)


def test_swiglu_gates_one_inner_map_by_another(an_architecture: Build) -> None:
    network, x = a_network(an_architecture, "residual", depth=1, activation="swiglu"), torch.rand(5, 8)
    z, output = ends(network, x)
    gate, value = (rms(z) @ network.blocks[0].w1[0].T).chunk(2, dim=1)

    assert torch.allclose(network(x), output(z + (F.silu(gate) * value) @ network.blocks[0].w2[0].T), atol=1e-6)


def test_a_conventional_block_has_no_narrow_skip_of_its_own(an_architecture: Build) -> None:
    with pytest.raises(ValueError, match="whose narrow ends are d_h"):
        an_architecture(family="conventional", d_z=4, d_h=12, wiring="skip_narrow")
    with pytest.raises(ValueError, match="whose narrow ends are d_h"):
        Arm(family="conventional", d_z=4, d_h=12, depth=1, lr=1e-3, wiring="skip_narrow")
