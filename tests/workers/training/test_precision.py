import pytest
import torch

from nas_service.domain.architecture import TaskShape
from workers.training import precision as precision_module
from workers.training.network import Network
from workers.training.precision import TrainedWeights, multiply_by_onednn, rounded

SHAPE = TaskShape(d_x=8, d_y=8)
FACTORS = {"w_in": 1.0, "w_out": 0.25, "w1": 0.5, "w2": 8.0}


def test_products_of_fp32_matrices_stay_in_fp32() -> None:
    multiply_by_onednn()
    generator = torch.Generator().manual_seed(0)
    for replicates in (1, 3):
        x, y = (torch.rand(replicates, 128, 128, generator=generator) for _ in range(2))
        assert torch.allclose((x @ y).double(), x.double() @ y.double(), rtol=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_an_update_is_a_step_of_adamw(an_architecture, precision: str) -> None:
    network, other = (Network(an_architecture(), SHAPE, 1, 2) for _ in range(2))
    weights = TrainedWeights(network, precision, weight_decay=0.1)
    optimizer = torch.optim.AdamW(other.parameters(), lr=1e-2, weight_decay=0.1)
    for _ in range(3):
        for weight, same in zip(weights.computing.parameters(), other.parameters(), strict=True):
            weight.grad.normal_(generator=torch.Generator().manual_seed(weight.numel()))
            same.grad = weight.grad.float()
        weights.update(1e-2)
        optimizer.step()
    for weight, low, same in zip(network.parameters(), weights.computing.parameters(), other.parameters(), strict=True):
        assert torch.allclose(weight, same, atol=1e-6)
        assert torch.equal(low, weight.to(low.dtype))


def test_without_factors_the_buffer_is_updated_as_one_weight_to_the_bit(an_architecture) -> None:
    network, other = (Network(an_architecture(), SHAPE, 1) for _ in range(2))
    weights = TrainedWeights(network, "fp32", weight_decay=0.1)
    whole = torch.nn.Parameter(torch.cat([weight.detach().flatten() for weight in other.parameters()]))
    optimizer = torch.optim.AdamW([whole], lr=1e-2, weight_decay=0.1, fused=True)
    for _ in range(3):
        network.backpropagate(torch.rand(1, 32, 8), torch.rand(1, 32, 8))
        whole.grad = gradient_of(network)
        weights.update(1e-2)
        optimizer.step()
    assert torch.equal(torch.cat([weight.flatten() for weight in network.parameters()]), whole)


@pytest.mark.parametrize("in_parts", [False, True])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_factor_scales_the_rate_of_its_weights_and_not_their_decay(
    an_architecture, precision: str, in_parts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision_module, "PIECE", 300)  # below the size of a weight
    network, other = (Network(an_architecture(), SHAPE, 1, 2) for _ in range(2))
    weights = TrainedWeights(network, precision, weight_decay=0.1, lr_factors=FACTORS, in_parts=in_parts)
    groups = [
        {"params": [weight], "lr": 1e-2 * factor, "weight_decay": 0.1 / factor}
        for name, weight in other.named_parameters()
        for ending, factor in FACTORS.items()
        if name.endswith(ending)
    ]
    optimizer = torch.optim.AdamW(groups)
    for _ in range(3):
        for weight, same in zip(weights.computing.parameters(), other.parameters(), strict=True):
            weight.grad.normal_(generator=torch.Generator().manual_seed(weight.numel()))
            same.grad = weight.grad.float()
        weights.collect_gradient(first=True)
        weights.update(1e-2)
        optimizer.step()
    for weight, low, same in zip(network.parameters(), weights.computing.parameters(), other.parameters(), strict=True):
        assert torch.allclose(weight, same, atol=1e-6)
        assert torch.equal(low, weight.to(low.dtype))


def test_the_gradients_of_parts_add_up_to_that_of_the_batch(an_architecture) -> None:
    x, targets = torch.rand(1, 32, 8), torch.rand(1, 32, 8)
    networks = [Network(an_architecture(norm="layer"), SHAPE, 1) for _ in range(2)]
    for network, parts in zip(networks, (1, 4), strict=True):
        weights = TrainedWeights(network, "fp32", in_parts=parts > 1)
        for number, (inputs, outputs) in enumerate(zip(x.chunk(parts, 1), targets.chunk(parts, 1), strict=True)):
            network.backpropagate(inputs, outputs, share=1 / parts)
            weights.collect_gradient(first=number == 0)
        weights.update(1e-3)
        assert torch.allclose(weights.moments["exp_avg"] * 10, gradient_of(networks[0]), atol=1e-7)


def gradient_of(network: Network) -> torch.Tensor:
    return torch.cat([weight.grad.flatten() for weight in network.parameters()])


@pytest.mark.parametrize("w_in", ["learned", "fixed_uniform"])
def test_a_rounded_copy_has_rounded_matrices_and_the_same_statistics(an_architecture, w_in: str) -> None:
    network = Network(an_architecture(w_in=w_in), SHAPE, 1)
    copy = rounded(network, torch.bfloat16)
    assert copy.w_in.dtype == torch.bfloat16
    assert network.w_in.dtype == torch.float32
    assert all(one is other for one, other in zip(copy.blocks.buffers(), network.blocks.buffers(), strict=True))
    copy(torch.rand(16, 8))
    assert float(network.blocks[0].norm.running_mean.abs().max()) > 0
