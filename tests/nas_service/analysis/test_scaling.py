import numpy as np
import pytest

from nas_service.analysis.estimates import Estimate
from nas_service.analysis.scaling import FrontShape, exponent_difference, power_laws, recommend
from nas_service.domain.architecture import Architecture, TaskShape
from nas_service.domain.arm import Arm
from nas_service.domain.costs import known_costs

TASK = TaskShape(d_x=64, d_y=64)
ARM = Arm(family="hourglass", d_z=(65, 1000), d_h=(4, 500), depth=(1, 20), lr=(1e-4, 1e-2))


def a_front(exponent: float = 0.5, noise: float = 0.0, count: int = 12) -> list[FrontShape]:
    """d_z rises with the cost by that power; d_h is 20, depth rises by a quarter of it."""
    generator = np.random.default_rng(0)
    front = []
    for cost in np.geomspace(1e4, 1e6, count):
        d_z = round(100 * (cost / 1e4) ** exponent * np.exp(noise * generator.standard_normal()))
        depth = round(4 * (cost / 1e4) ** (exponent / 4))
        front.append(FrontShape(float(cost), Architecture(family="hourglass", d_z=d_z, d_h=20, depth=depth), 1e-3))
    return front


def test_an_exact_law_is_found() -> None:
    law = power_laws(a_front(0.5))["d_z"]

    assert law.exponent.value == pytest.approx(0.5, abs=0.01)
    assert law.exponent.low <= 0.5 <= law.exponent.high + 0.01
    assert law.at(1e7).value == pytest.approx(100 * 1000**0.5, rel=0.05)


def test_one_wild_point_does_not_move_the_law() -> None:
    front = a_front(0.5)
    wild = Architecture(family="hourglass", d_z=10_000, d_h=20, depth=4)
    front[0] = FrontShape(front[0].cost, wild, 1e-3)

    assert power_laws(front)["d_z"].exponent.value == pytest.approx(0.5, abs=0.05)


def test_the_interval_holds_the_exponent_and_widens_with_the_distance() -> None:
    law = power_laws(a_front(0.5, noise=0.1))["d_z"]

    near, far = law.at(1e5), law.at(1e9)
    assert law.exponent.low < 0.5 < law.exponent.high
    assert near.low < 100 * 10**0.5 < near.high
    assert far.high / far.low > 2 * near.high / near.low


def test_what_an_arm_fixes_has_exponent_0() -> None:
    assert power_laws(a_front())["d_h"].exponent == Estimate(0.0, 0.0, 0.0)


def test_the_ratio_of_widths_falls_where_only_the_skip_widens() -> None:
    assert power_laws(a_front(0.5))["d_h / d_z"].exponent.value == pytest.approx(-0.5, abs=0.01)


def test_few_points_make_no_law() -> None:
    assert power_laws(a_front(count=4)) == {}


def test_arms_that_differ_are_told_apart_and_an_arm_not_from_itself() -> None:
    steep, flat = (power_laws(a_front(exponent, noise=0.05))["d_z"] for exponent in (0.6, 0.3))

    assert exponent_difference(steep, flat).sign == 1
    assert exponent_difference(flat, steep).sign == -1
    assert exponent_difference(steep, steep).sign == 0


@pytest.mark.parametrize("budget", [2e5, 1e6, 1e7])
def test_a_recommended_shape_spends_the_budget_and_follows_the_laws(budget: float) -> None:
    laws = power_laws(a_front(0.5))
    shape = recommend(ARM, laws, TASK, "parameters_trainable", budget)

    cost = known_costs(shape, TASK).parameters_trainable
    assert 0.97 * budget < cost <= budget
    assert shape.depth == round(laws["depth"].at(budget).value)


def test_a_width_that_the_arm_fixes_stays() -> None:
    plain = Arm(family="conventional", w_in="none", w_out="none", d_z=64, d_h=(65, 1000), depth=(1, 4), lr=1e-3)
    front = [
        FrontShape(2.0 * 64 * d_h, Architecture(family="conventional", d_z=64, d_h=d_h, depth=1), 1e-3)
        for d_h in (70, 100, 200, 400, 800)
    ]
    shape = recommend(plain, power_laws(front), TASK, "macs", 1e6)

    assert (shape.d_z, shape.depth) == (64, 1)
    assert shape.d_h == 1e6 // (2 * 64)


def test_a_budget_below_every_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="costs 10 parameters_trainable or less"):
        recommend(ARM, power_laws(a_front()), TASK, "parameters_trainable", 10)


def test_without_laws_nothing_is_recommended() -> None:
    with pytest.raises(ValueError, match="at least 5 costs"):
        recommend(ARM, {}, TASK, "macs", 1e6)
