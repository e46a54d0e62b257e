"""Every closed-form cost against torch's own count."""

import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from nas_service.domain.architecture import (
    Activation,
    Architecture,
    BranchScale,
    Family,
    Norm,
    TaskShape,
    WIn,
    Wiring,
    WOut,
    projection_fault,
    wiring_fault,
)
from nas_service.domain.costs import known_costs
from workers.training.network import Network
from workers.training.network_file import save_network


@st.composite
def networks(draw: st.DrawFn) -> tuple[Architecture, TaskShape]:
    d_x = draw(st.integers(1, 12))
    d_y = draw(st.one_of(st.just(d_x), st.integers(1, 12)))
    d_z = draw(st.one_of(st.just(max(2, d_x)), st.just(max(2, d_y)), st.integers(2, 24)))
    family = draw(st.sampled_from(Family))
    d_h = draw(st.integers(1, d_z - 1) if family is Family.HOURGLASS else st.integers(d_z + 1, 2 * d_z))
    w_in, w_out = draw(st.sampled_from(WIn)), draw(st.sampled_from(WOut))
    shape, wiring = TaskShape(d_x=d_x, d_y=d_y), draw(st.sampled_from(Wiring))
    assume(projection_fault(w_in, w_out, d_z, shape) is None and wiring_fault(wiring, family) is None)
    architecture = Architecture(
        family=family,
        d_z=d_z,
        d_h=d_h,
        depth=draw(st.integers(1, 4)),
        w_in=w_in,
        w_out=w_out,
        norm=draw(st.sampled_from(Norm)),
        activation=draw(st.sampled_from(Activation)),
        branch_scale=draw(st.sampled_from(BranchScale)),
        wiring=wiring,
    )
    return architecture, shape


@given(networks())
@settings(max_examples=80, deadline=None)
def test_weights_are_counted_as_torch_counts_them(drawn: tuple[Architecture, TaskShape]) -> None:
    architecture, shape = drawn
    network, costs = Network(architecture, shape, 1), known_costs(architecture, shape)
    trained = sum(weight.numel() for weight in network.parameters() if weight.requires_grad)
    fixed = network.fixed_projections()
    assert costs.parameters_trainable == costs.parameters_stored == trained
    assert costs.parameters_in_memory == trained + (0 if fixed is None else fixed.numel())


@given(networks())
@settings(max_examples=60, deadline=None)
def test_multiply_adds_are_half_the_flops_that_torch_counts(drawn: tuple[Architecture, TaskShape]) -> None:
    architecture, shape = drawn
    network = Network(architecture, shape, 1).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.rand(3, shape.d_x))
    counted = counter.get_total_flops() // 2 // 3
    if architecture.w_in is WIn.FIXED_SPARSE:  # torch multiplies the zeros too
        fixed = network.fixed_projections()
        assert fixed is not None
        uses = 2 if architecture.w_out is WOut.TIED else 1
        counted -= uses * (fixed.numel() - int(fixed.count_nonzero()))
    assert known_costs(architecture, shape).macs == counted


@given(networks())
@settings(max_examples=60, deadline=None)
def test_stored_bytes_are_the_files_without_its_header(drawn: tuple[Architecture, TaskShape]) -> None:
    architecture, shape = drawn
    content = save_network(Network(architecture, shape, 1))
    header = 8 + int.from_bytes(content[:8], "little")
    assert known_costs(architecture, shape).bytes_stored == len(content) - header


@given(networks())
@settings(max_examples=60, deadline=None)
def test_outputs_have_the_tasks_width_and_lie_between_0_and_1(drawn: tuple[Architecture, TaskShape]) -> None:
    architecture, shape = drawn
    outputs = Network(architecture, shape, 1)(torch.rand(5, shape.d_x))
    assert outputs.shape == (5, shape.d_y)
    assert bool(((outputs >= 0) & (outputs <= 1)).all())
