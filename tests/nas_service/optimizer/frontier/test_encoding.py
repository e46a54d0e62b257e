"""Configurations as rows of the unit cube, and back."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from nas_service.optimizer.frontier.encoding import MIDDLE, Encoding, union

SPACE: dict[str, BaseDistribution] = {
    "bits": IntDistribution(4, 64, step=4),
    "depth": IntDistribution(1, 20),
    "dropout": FloatDistribution(0.0, 0.5, step=0.1),
    "family": CategoricalDistribution(["hourglass", "conventional", None, 3, 2.5, True]),
    "lr": FloatDistribution(1e-4, 3e-3, log=True),
    "only": IntDistribution(7, 7),
    "ratio": FloatDistribution(-1.0, 1.0),
    "sole": CategoricalDistribution(["adamw"]),
    "width": IntDistribution(1, 5000, log=True),
}

configurations = st.fixed_dictionaries(
    {
        "bits": st.integers(1, 16).map(lambda k: 4 * k),
        "depth": st.integers(1, 20),
        "dropout": st.integers(0, 5).map(lambda k: 0.1 * k),
        "family": st.sampled_from(["hourglass", "conventional", None, 3, 2.5, True]),
        "lr": st.floats(1e-4, 3e-3),
        "only": st.just(7),
        "ratio": st.floats(-1.0, 1.0),
        "sole": st.just("adamw"),
        "width": st.integers(1, 5000),
    }
)


@given(st.lists(configurations, min_size=1, max_size=5))
@settings(deadline=None, derandomize=True)
def test_a_configuration_survives_the_way_to_the_cube_and_back(given_params: list[dict[str, Any]]) -> None:
    encoding = Encoding(SPACE)
    rows = encoding.rows(given_params)
    snapped, back = encoding.snap(rows)
    for params, found in zip(given_params, back, strict=True):
        assert {name: found[name] for name in ("lr", "ratio")} == pytest.approx(
            {name: params[name] for name in ("lr", "ratio")}
        )
        exact = params.keys() - {"lr", "ratio", "dropout"}
        assert {name: found[name] for name in exact} == {name: params[name] for name in exact}
        assert found["dropout"] == pytest.approx(params["dropout"])
    assert snapped == pytest.approx(rows, abs=1e-12)


@pytest.mark.parametrize("name", SPACE)
def test_every_row_is_a_configuration_that_optuna_takes(name: str) -> None:
    encoding, distribution = Encoding({name: SPACE[name]}), SPACE[name]
    ends = np.array([[0.0], [1.0]]) if name not in ("family", "sole") else np.array([[0.0]])
    _, found = encoding.snap(np.vstack([ends, encoding.random(200, np.random.default_rng(0))]))
    values = [params[name] for params in found]
    assert all(distribution._contains(distribution.to_internal_repr(value)) for value in values)
    assert all(type(value) in (int, float, str, bool, type(None)) for value in values)
    is_whole = isinstance(distribution, IntDistribution)
    assert not is_whole or all(type(value) is int for value in values)


def test_a_log_axis_has_its_geometric_mean_in_the_middle() -> None:
    encoding = Encoding({"lr": FloatDistribution(1e-4, 1e-2, log=True), "ratio": FloatDistribution(0, 1)})
    assert encoding.rows([{"lr": 1e-3, "ratio": 0.25}]) == pytest.approx(np.array([[0.5, 0.25]]))


def test_what_a_configuration_lacks_is_not_a_number() -> None:
    rows = Encoding({"depth": SPACE["depth"], "lr": SPACE["lr"]}).rows([{"depth": 1}, {"lr": 1e-4}, {}])
    assert np.isnan(rows).tolist() == [[False, True], [True, False], [True, True]]


def test_steps_stay_in_the_cube_and_move_something() -> None:
    encoding, rng = Encoding(SPACE), np.random.default_rng(0)
    rows = encoding.random(300, rng)
    moved = encoding.moved(rows, 0.5, rng)
    numeric = [column for column in range(len(SPACE)) if column not in encoding.choices]
    assert moved[:, numeric].min() >= 0
    assert moved[:, numeric].max() <= 1
    moves = np.mean(moved[:, numeric] != rows[:, numeric], axis=0)
    assert np.all((moves > 0.4) & (moves < 0.7))


def test_a_small_scale_makes_small_steps() -> None:
    encoding, rng = Encoding({"lr": SPACE["lr"]}), np.random.default_rng(0)
    rows = np.full((500, 1), 0.5)
    assert (encoding.moved(rows, 0.01, rng) - rows).std() == pytest.approx(0.01, rel=0.15)


def test_features_have_a_column_for_each_choice_and_none_for_a_single_value() -> None:
    encoding = Encoding(
        {"depth": IntDistribution(1, 3), "family": CategoricalDistribution("abc"), "only": SPACE["only"]}
    )
    rows = encoding.rows([{"depth": 2, "family": "b", "only": 7}])
    assert encoding.features(rows, set()).tolist() == [[0.5, 0, 1, 0]]


def test_features_say_whether_a_conditional_parameter_is_there() -> None:
    encoding = Encoding({"depth": IntDistribution(1, 3), "family": CategoricalDistribution("ab")})
    rows = encoding.rows([{"depth": 3}, {"family": "a"}])
    assert encoding.features(rows, {0, 1}).tolist() == [[1, 0, 0, 0, 1], [MIDDLE, 1, 1, 0, 0]]


def test_the_union_has_every_parameter_at_its_widest() -> None:
    spaces: list[dict[str, BaseDistribution]] = [
        {"d_z": IntDistribution(8, 64, log=True), "lr": FloatDistribution(1e-4, 1e-3)},
        {"d_z": IntDistribution(4, 32, log=True), "d_h": IntDistribution(1, 9)},
        {"d_h": IntDistribution(1, 20), "lr": FloatDistribution(1e-3, 1e-2)},
    ]
    assert union(spaces) == {
        "d_h": IntDistribution(1, 20),
        "d_z": IntDistribution(4, 64, log=True),
        "lr": FloatDistribution(1e-4, 1e-2),
    }


def test_the_union_of_steps_that_do_not_meet_has_all_of_their_values() -> None:
    joined = union([{"bits": IntDistribution(4, 16, step=4)}, {"bits": IntDistribution(6, 30, step=4)}])
    assert joined == {"bits": IntDistribution(4, 30, step=2)}
