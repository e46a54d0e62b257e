from collections.abc import Callable

import pytest
import torch
from torch.nn import functional as F

from nas_service.domain.architecture import Architecture, IllegalArchitecture, TaskShape
from workers.training.network import Network

SHAPE = TaskShape(d_x=8, d_y=8)
Build = Callable[..., Architecture]


def test_the_published_network_computes_the_published_formula(an_architecture: Build) -> None:
    network = Network(an_architecture(d_z=10, d_h=4, depth=2), SHAPE, 0)
    x = torch.rand(16, 8)
    w_in, w_out, blocks = network.w_in, network.w_out, list(network.blocks)
    assert w_in is not None
    assert w_out is not None
    z = x @ w_in[0].T
    for block in blocks:
        normed = (z - z.mean(0)) / (z.var(0, unbiased=False) + 1e-5).sqrt()
        z = z + F.relu(normed @ block.w1[0].T) @ block.w2[0].T
    assert torch.allclose(network(x), torch.sigmoid(z @ w_out[0].T), atol=1e-6)


def test_the_norm_uses_running_statistics_at_evaluation(an_architecture: Build) -> None:
    network = Network(an_architecture(d_z=10, d_h=4), SHAPE, 0)
    x = torch.rand(16, 8)
    network(x)
    network.eval()
    assert torch.allclose(network(x)[:1], network(x[:1]), atol=1e-6)


@pytest.mark.parametrize("norm", ["layer", "rms", "none"])
def test_the_other_norms_treat_each_image_alone(an_architecture: Build, norm: str) -> None:
    network = Network(an_architecture(d_z=10, d_h=4, norm=norm), SHAPE, 0)
    x = torch.rand(16, 8)
    assert torch.allclose(network(x)[3:5], network(x[3:5]), atol=1e-6)


def test_the_branch_scale_shrinks_with_depth(an_architecture: Build) -> None:
    network = Network(an_architecture(depth=4, branch_scale="1/sqrt(depth)"), TaskShape(d_x=8, d_y=8), 0)
    assert [block.scale for block in network.blocks] == [0.5] * 4


def test_initial_weights_follow_the_default_of_a_linear_layer(an_architecture: Build) -> None:
    network = Network(an_architecture(d_z=100, d_h=25), TaskShape(d_x=64, d_y=64), 0)
    first = network.blocks[0]
    assert float(first.w1.detach().abs().max()) == pytest.approx(0.1, rel=0.01)
    assert float(first.w2.detach().abs().max()) == pytest.approx(0.2, rel=0.01)


@pytest.mark.usefixtures("global_randomness_untouched")
def test_the_seed_alone_determines_the_weights(an_architecture: Build) -> None:
    first, again, other = (Network(an_architecture(), SHAPE, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["w_in"], other["w_in"])


def test_identity_projections_pass_the_input_on(an_architecture: Build) -> None:
    x = torch.rand(4, 8)
    padded, started, random = (
        Network(an_architecture(d_z=12, d_h=4, w_in=w_in), SHAPE, 0)._enter(x[None])[0]
        for w_in in ("identity", "identity_init", "fixed_identity_padded")
    )
    assert torch.equal(padded, F.pad(x, (0, 4)))
    assert torch.equal(started, padded)
    assert torch.equal(random[:, :8], x)
    assert float(random[:, 8:].abs().min()) > 0


@pytest.mark.parametrize("w_in", ["learned", "fixed_gaussian", "fixed_sparse", "fixed_identity_padded"])
def test_a_tied_output_is_the_transposed_projection(an_architecture: Build, w_in: str) -> None:
    network = Network(an_architecture(d_z=12, d_h=4, w_in=w_in, w_out="tied"), SHAPE, 0)
    as_matrix = network._enter(torch.eye(8)[None])[0].T  # (d_z, d_x)
    z = torch.rand(3, 12)
    assert torch.allclose(network._leave(z[None])[0], z @ as_matrix, atol=1e-6)


def test_a_fixed_projection_gets_no_gradient_and_is_not_in_the_state(an_architecture: Build) -> None:
    network = Network(an_architecture(w_in="fixed_uniform"), SHAPE, 0)
    network(torch.rand(4, 8)).sum().backward()
    assert "w_in" not in network.state_dict()
    fixed = network.fixed_projections()
    assert fixed is not None
    assert fixed.grad is None


def test_a_network_that_does_not_fit_its_task_is_refused(an_architecture: Build) -> None:
    with pytest.raises(IllegalArchitecture, match="w_in none needs d_z equal to d_x"):
        Network(an_architecture(w_in="none"), SHAPE, 0)


@pytest.mark.parametrize("w_in", ["learned", "identity_init", "fixed_sparse", "fixed_identity_padded", "identity"])
@pytest.mark.parametrize("norm", ["batch", "layer"])
@pytest.mark.parametrize("w_out", ["learned", "tied"])
def test_replicates_compute_what_each_network_computes_alone(
    an_architecture: Build, w_in: str, norm: str, w_out: str
) -> None:
    if (w_in, w_out) == ("identity", "tied"):
        pytest.skip("a tied output needs a matrix")
    architecture = an_architecture(d_z=12, d_h=4, depth=2, w_in=w_in, norm=norm, w_out=w_out)
    seeds = (3, 1, 4)
    together, alone = Network(architecture, SHAPE, *seeds), [Network(architecture, SHAPE, seed) for seed in seeds]
    x = torch.rand(3, 16, 8)
    outputs = together(x)
    for number, network in enumerate(alone):
        assert torch.allclose(outputs[number], network(x[number]), atol=1e-6)
        taken_out = together.replicate(number)
        assert taken_out.projection_hashes == network.projection_hashes
        assert torch.allclose(taken_out(x[number]), network.eval()(x[number]), atol=1e-6)


def gradients_of_autograd(network: Network, x: torch.Tensor, targets: torch.Tensor) -> list[torch.Tensor]:
    losses = F.mse_loss(network(x), targets, reduction="none").mean(dim=(1, 2))
    return list(torch.autograd.grad(losses.sum(), list(network.parameters())))


@pytest.mark.parametrize("seeds", [(1,), (1, 2, 3)])
@pytest.mark.parametrize(
    "changes",
    [
        *({"norm": norm} for norm in ("batch", "layer", "rms", "none")),
        *({"activation": activation} for activation in ("relu", "gelu", "silu", "swiglu")),
        *(
            {"wiring": wiring, "branch_scale": scale, "activation": activation}
            for wiring in ("parallel_shallow", "skip_narrow", "no_skip")
            for scale, activation in (("1", "relu"), ("1/sqrt(depth)", "swiglu"))
        ),
        {"branch_scale": "1/sqrt(depth)"},
        *({"w_in": w_in} for w_in in ("identity_init", "identity", "fixed_sparse", "fixed_identity_padded")),
        *({"w_in": w_in, "w_out": "tied"} for w_in in ("learned", "fixed_uniform", "fixed_identity_padded")),
        {"family": "conventional", "d_z": 8, "d_h": 20, "w_in": "none", "w_out": "none"},
    ],
    ids=str,
)
def test_the_gradients_written_by_hand_are_those_of_autograd(
    an_architecture: Build, changes: dict[str, str], seeds: tuple[int, ...]
) -> None:
    network = Network(an_architecture(**{"d_z": 12, "d_h": 4, "depth": 3, **changes}), SHAPE, *seeds)
    x, targets = torch.rand(len(seeds), 16, 8), torch.rand(len(seeds), 16, 8)
    expected = gradients_of_autograd(network, x, targets)
    for weight in network.parameters():
        weight.grad = torch.full_like(weight, float("nan"))  # what was there before must not count
    losses = network.backpropagate(x, targets)
    assert torch.allclose(losses, F.mse_loss(network(x), targets, reduction="none").mean(dim=(1, 2)), atol=1e-6)
    for (name, weight), gradient in zip(network.named_parameters(), expected, strict=True):
        assert torch.allclose(weight.grad, gradient, rtol=1e-4, atol=1e-7), name
