import numpy as np
import pytest

from nas_service.domain.architecture import WIn
from nas_service.domain.costs import non_zeros_per_row
from workers.training.projection import draw_projection, projection_hash

FIXED = [kind for kind in WIn if kind.is_fixed_random]


@pytest.mark.parametrize("kind", FIXED)
def test_the_same_seed_draws_the_same_bits(kind: WIn) -> None:
    first, again, other = (draw_projection(kind, 30, 50, seed) for seed in (7, 7, 8))
    assert first.tobytes() == again.tobytes()
    assert projection_hash(first) == projection_hash(again) != projection_hash(other)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (WIn.FIXED_UNIFORM, "3b98945d7d72"),
        (WIn.FIXED_GAUSSIAN, "0c01d8fe311c"),
        (WIn.FIXED_ORTHOGONAL, "23520ca749e4"),
        (WIn.FIXED_SPARSE, "27c60e6dfb9b"),
        (WIn.FIXED_IDENTITY_PADDED, "abe8a19e8806"),
    ],
)
def test_the_bits_are_those_of_every_earlier_version(kind: WIn, expected: str) -> None:
    """Stored networks depend on it: a change here makes every one of them unreadable."""
    assert projection_hash(draw_projection(kind, 30, 50, 42)).startswith(f"sha256:{expected}")


def test_the_uniform_one_is_within_the_default_of_a_linear_layer() -> None:
    matrix = draw_projection(WIn.FIXED_UNIFORM, 100, 400, 0)
    assert matrix.shape == (400, 100)
    assert 0.099 < abs(matrix).max() <= 0.1


def test_the_gaussian_one_has_variance_1_over_d_x() -> None:
    matrix = draw_projection(WIn.FIXED_GAUSSIAN, 100, 400, 0)
    assert matrix.std() == pytest.approx(0.1, rel=0.02)


@pytest.mark.parametrize(("d_x", "d_z"), [(40, 90), (90, 40), (64, 64)])
def test_the_orthogonal_one_keeps_lengths_where_it_can(d_x: int, d_z: int) -> None:
    matrix = draw_projection(WIn.FIXED_ORTHOGONAL, d_x, d_z, 3).astype(np.float64)
    product = matrix.T @ matrix if d_z >= d_x else matrix @ matrix.T
    assert np.allclose(product, np.eye(min(d_x, d_z)), atol=1e-4)


def test_the_orthogonal_one_lies_on_a_grid_that_float32_holds_exactly() -> None:
    matrix = draw_projection(WIn.FIXED_ORTHOGONAL, 40, 90, 3)
    assert np.array_equal(matrix * 2.0**17, np.round(matrix * 2.0**17))


def test_the_sparse_one_has_its_non_zeros_in_every_row() -> None:
    matrix = draw_projection(WIn.FIXED_SPARSE, 50, 200, 0)
    k = non_zeros_per_row(50)
    assert set(np.count_nonzero(matrix, axis=1)) == {k}
    assert np.allclose(abs(matrix[matrix != 0]), 1 / np.sqrt(k))
    assert 0.4 < (matrix > 0).sum() / (matrix != 0).sum() < 0.6


def test_the_padded_identity_draws_only_the_added_rows() -> None:
    assert draw_projection(WIn.FIXED_IDENTITY_PADDED, 30, 50, 0).shape == (20, 30)
    assert draw_projection(WIn.FIXED_IDENTITY_PADDED, 30, 30, 0).shape == (0, 30)


def test_a_learned_projection_is_not_drawn() -> None:
    with pytest.raises(ValueError, match="not drawn from a seed"):
        draw_projection(WIn.LEARNED, 3, 4, 0)
