from collections import Counter

import pytest
import torch

from benchmarks import arithmetic
from benchmarks.arithmetic import Gemm, fastest_seconds, measure_limit, parse_shape, runnable, step_gemms
from nas_service.domain.architecture import Family, TaskShape, WIn, WOut

DIGITS = TaskShape(d_x=64, d_y=64)
BATCH = 8


def macs(text: str) -> int:
    return sum(gemm.macs(BATCH) for gemm in step_gemms(parse_shape(text), DIGITS))


def test_a_shape_reads_family_sizes_and_projections() -> None:
    shape = parse_shape("hourglass:785/115x5:fixed_uniform")
    assert (shape.family, shape.d_z, shape.d_h, shape.depth) == (Family.HOURGLASS, 785, 115, 5)
    assert (shape.w_in, shape.w_out) == (WIn.FIXED_UNIFORM, WOut.LEARNED)


@pytest.mark.parametrize("text", ["", "hourglass", "hourglass:785-115x5", "sandglass:785/115x5", "hourglass:115/785x5"])
def test_another_shape_is_refused_with_the_form(text: str) -> None:
    with pytest.raises(ValueError, match="FAMILY:D_Z/D_HxDEPTH"):
        parse_shape(text)


def test_a_step_with_a_learned_w_in_costs_three_products_a_weight_but_one() -> None:
    w_in, blocks, w_out = 64 * 65, 2 * 3 * 65 * 8, 65 * 64
    assert macs("hourglass:65/8x3") == BATCH * (2 * w_in + 3 * blocks + 3 * w_out)


def test_nothing_flows_back_to_a_fixed_w_in() -> None:
    w_in, first, blocks, w_out = 64 * 65, 65 * 8, 2 * 3 * 65 * 8, 65 * 64
    assert macs("hourglass:65/8x3:fixed_uniform") == BATCH * (w_in + 3 * blocks - first + 3 * w_out)


def test_without_projections_only_the_blocks_cost() -> None:
    assert macs("conventional:64/65x1:none:none") == BATCH * (2 + 3) * 64 * 65


@pytest.mark.parametrize("projections", ["fixed_sparse", "fixed_identity_padded", "learned:tied"])
def test_projections_of_another_kind_have_no_limit(projections: str) -> None:
    with pytest.raises(ValueError, match="dense, untied"):
        step_gemms(parse_shape(f"hourglass:65/8x3:{projections}"), DIGITS)


@pytest.mark.parametrize(
    "text", ["hourglass:65/8x2", "hourglass:65/8x2:fixed_uniform", "conventional:64/70x2:none:none"]
)
def test_the_products_are_those_that_torch_computes(text: str) -> None:
    from torch.nn import functional as F
    from torch.utils.flop_counter import FlopCounterMode

    from workers.training.network import Network

    x = torch.rand(BATCH, 64)
    with FlopCounterMode(display=False) as counter:
        F.mse_loss(Network(parse_shape(text), DIGITS, 0)(x), x).backward()
    assert counter.get_total_flops() == arithmetic.FLOPS_PER_MAC * macs(text)


def test_each_product_has_the_shape_that_it_stands_for() -> None:
    sizes = {"forward": (BATCH, 5), "weight": (5, 3), "input": (BATCH, 3)}
    for product, expected in sizes.items():
        assert runnable(Gemm(product, d_in=3, d_out=5), BATCH, torch.bfloat16)().shape == expected


def test_the_limit_adds_each_product_as_often_as_it_occurs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arithmetic, "fastest_seconds", lambda call: 0.001)
    gemms = step_gemms(parse_shape("hourglass:65/8x3"), DIGITS)
    limit = measure_limit(gemms, BATCH, torch.float32)
    assert Counter(gemms)[Gemm("forward", 65, 8)] == 3
    assert limit.milliseconds == pytest.approx(len(gemms))
    assert limit.gflops == pytest.approx(2 * macs("hourglass:65/8x3") / (len(gemms) * 1e6))


def test_the_fastest_sample_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = iter([0.001, 0.02, 0.03, 0.016, 0.05, 0.05, 0.05, 0.05])
    monkeypatch.setattr(arithmetic, "_seconds_of", lambda call, repeats: next(samples))
    assert fastest_seconds(lambda: torch.empty(0)) == 0.016 / 2
