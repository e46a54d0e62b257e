"""Each expected number is worked out by hand: 785 x 784 = 615,440; five blocks 785/115: 2 x 5 x 785 x 115 = 902,750."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas_service.domain.architecture import IllegalArchitecture, TaskShape, WIn, WOut
from nas_service.domain.costs import known_costs, non_zeros_per_row
from tests.builders import an_architecture

MNIST = TaskShape(d_x=784, d_y=784)
MATRIX, BLOCKS = 615_440, 902_750
PUBLISHED = {"d_z": 785, "d_h": 115, "depth": 5}


def test_a_learned_hourglass_costs_what_the_paper_counts() -> None:
    costs = known_costs(an_architecture(**PUBLISHED), MNIST)
    assert costs.parameters_trainable == 2_133_630 == 2 * MATRIX + BLOCKS
    assert (costs.parameters_stored, costs.parameters_in_memory, costs.macs) == (2_133_630,) * 3


# w_in, w_out: trainable, in memory, multiply-adds
HAND_COUNTED = [
    ("identity_init", "learned", 2_133_630, 2_133_630, 2_133_630),
    ("fixed_uniform", "learned", 1_518_190, 2_133_630, 2_133_630),
    ("fixed_gaussian", "learned", 1_518_190, 2_133_630, 2_133_630),
    ("fixed_orthogonal", "learned", 1_518_190, 2_133_630, 2_133_630),
    ("fixed_sparse", "learned", 1_518_190, 2_133_630, 785 * 28 + 1_518_190),  # 28 = sqrt(784)
    ("fixed_identity_padded", "learned", 1_518_190, 784 + 1_518_190, 784 + 1_518_190),  # one random row
    ("identity", "learned", 1_518_190, 1_518_190, 1_518_190),
    ("learned", "tied", 1_518_190, 1_518_190, 2_133_630),
    ("fixed_uniform", "tied", 902_750, 1_518_190, 2_133_630),
    ("fixed_sparse", "tied", 902_750, 1_518_190, 2 * 785 * 28 + 902_750),
    ("fixed_identity_padded", "tied", 902_750, 784 + 902_750, 2 * 784 + 902_750),
]


@pytest.mark.parametrize(("w_in", "w_out", "trainable", "in_memory", "macs"), HAND_COUNTED)
def test_every_projection_costs_what_it_says(w_in: str, w_out: str, trainable: int, in_memory: int, macs: int) -> None:
    costs = known_costs(an_architecture(**PUBLISHED, w_in=w_in, w_out=w_out), MNIST)
    assert costs.parameters_trainable == costs.parameters_stored == trainable
    assert costs.parameters_in_memory == in_memory
    assert costs.macs == macs


def test_a_plain_conventional_network_is_its_blocks() -> None:
    plain = an_architecture(family="conventional", d_z=784, d_h=785, depth=1, w_in="none", w_out="none")
    costs = known_costs(plain, MNIST)
    assert costs.parameters_trainable == costs.parameters_in_memory == costs.macs == 1_230_880  # 2 x 784 x 785


def test_super_resolution_has_a_narrow_input() -> None:
    costs = known_costs(an_architecture(**PUBLISHED), TaskShape(d_x=196, d_y=784))
    assert costs.parameters_trainable == 785 * 196 + BLOCKS + MATRIX


def test_batch_statistics_count_in_the_file_only() -> None:
    batch, layer = (known_costs(an_architecture(**PUBLISHED, norm=norm), MNIST) for norm in ("batch", "layer"))
    assert layer.bytes_stored == 4 * 2_133_630
    assert batch.bytes_stored == 4 * (2_133_630 + 2 * 5 * 785)
    assert batch.parameters_stored == layer.parameters_stored


@pytest.mark.parametrize(("d_x", "non_zeros"), [(1, 1), (2, 2), (783, 28), (784, 28), (785, 29)])
def test_a_sparse_row_has_the_root_of_the_input_rounded_up(d_x: int, non_zeros: int) -> None:
    assert non_zeros_per_row(d_x) == non_zeros


def test_a_network_that_does_not_fit_has_no_costs() -> None:
    with pytest.raises(IllegalArchitecture):
        known_costs(an_architecture(**PUBLISHED, w_in="none"), MNIST)


@settings(deadline=None)
@given(st.sampled_from(WIn), st.sampled_from(WOut), st.integers(9, 40), st.integers(1, 8), st.integers(1, 5))
def test_more_of_anything_never_costs_less(w_in: WIn, w_out: WOut, d_z: int, d_h: int, depth: int) -> None:
    task = TaskShape(d_x=9, d_y=9)
    try:
        small = known_costs(an_architecture(d_z=d_z, d_h=d_h, depth=depth, w_in=w_in, w_out=w_out), task)
        large = known_costs(an_architecture(d_z=d_z + 1, d_h=d_h + 1, depth=depth + 1, w_in=w_in, w_out=w_out), task)
    except ValueError:
        return
    few, many = (list(costs.model_dump(exclude_none=True).values()) for costs in (small, large))
    assert all(less < more for less, more in zip(few, many, strict=True))
