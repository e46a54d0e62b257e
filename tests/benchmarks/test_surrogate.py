import numpy as np
import pytest

from benchmarks.surrogate import DenseFront, Surrogate
from tests.benchmarks.made_up_law import published_rows


def test_it_gives_the_table_back_and_counts_its_weights() -> None:
    rows = published_rows()
    surrogate = Surrogate(rows)
    x = np.array([[row.d_z, row.d_h, row.depth, row.lr] for row in rows], dtype=float)
    assert surrogate.residual_db < 0.05
    assert 10 ** surrogate.values(x)[:, 0] == pytest.approx([row.params for row in rows])


def test_the_reference_is_the_largest_cost_and_the_quantile_of_quality() -> None:
    rows = published_rows()
    assert Surrogate(rows).reference == pytest.approx(
        [np.log10(max(row.params for row in rows)), np.quantile([row.mean_psnr_db for row in rows], 0.3)]
    )


def test_a_size_that_never_varies_is_a_single_value() -> None:
    surrogate = Surrogate(published_rows(widths=(784,)))
    assert surrogate.distributions["d_z"].single()
    assert np.all(surrogate.draw(50, np.random.default_rng(0))[:, 0] == 784)


def test_only_hourglasses_are_drawn() -> None:
    x = Surrogate(published_rows(inner=(8, 2900))).draw(1000, np.random.default_rng(0))
    assert 0 < len(x) < 1000  # part of the box is illegal
    assert np.all(x[:, 1] < x[:, 0])


@pytest.mark.parametrize("known_costs", [1, 2])
def test_nothing_random_beats_the_dense_front(known_costs: int) -> None:
    surrogate = Surrogate(published_rows(), known_costs)
    front = DenseFront(surrogate)
    drawn = surrogate.values(surrogate.draw(2000, np.random.default_rng(2)))
    assert front.difference < 0.005
    assert surrogate.hypervolume(drawn) < front.volume
    assert surrogate.hypervolume(np.vstack([drawn, surrogate.values(front.x)])) == pytest.approx(front.volume, rel=2e-3)


def test_depth_costs_latency_beside_its_weights() -> None:
    surrogate = Surrogate(published_rows(), known_costs=2)
    assert surrogate.parameters(800, 40, 2) == surrogate.parameters(800, 20, 4)
    assert surrogate.latency_us(800, 20, 4) - surrogate.latency_us(800, 40, 2) == pytest.approx(20)


def test_too_few_rows_and_foreign_counts_of_weights_are_refused() -> None:
    with pytest.raises(ValueError, match="too few"):
        Surrogate(published_rows()[::80])
    with pytest.raises(ValueError, match="hourglass_learned_in"):
        Surrogate(published_rows(wrong_by=7))
