import pytest

from nas_service.domain.architecture import Architecture
from nas_service.domain.transfer import BASE_D_H, BASE_D_Z, BASE_DEPTH, LrTransfer, lr_factors
from tests.builders import an_architecture

BASE = {"d_z": BASE_D_Z, "d_h": BASE_D_H, "depth": BASE_DEPTH, "branch_scale": "1/sqrt(depth)"}


def scaled(**changes: object) -> Architecture:
    return an_architecture(**BASE | changes)


def test_no_rule_has_no_factors() -> None:
    assert lr_factors(LrTransfer.NONE, an_architecture()) is None


@pytest.mark.parametrize(
    ("changes", "w_in", "w1", "w2", "w_out"),
    [
        ({}, 1, 1, 1, 1),
        ({"d_z": 2 * BASE_D_Z}, 1, 1 / 2, 1, 1 / 2),
        ({"d_h": BASE_D_H // 4}, 1, 1, 4, 1),
        ({"depth": 4 * BASE_DEPTH}, 1, 1 / 2, 1 / 2, 1),
        ({"d_z": 2 * BASE_D_Z, "w_out": "tied"}, 1 / 2, 1 / 2, 1, 1 / 2),
        ({"family": "conventional", "d_h": 8 * BASE_D_Z, "depth": 1}, 1, 2, 2 * BASE_D_H / (8 * BASE_D_Z), 1),
    ],
)
def test_a_rate_falls_with_the_fan_in_and_in_blocks_with_the_root_of_the_depth(
    changes: dict[str, object], w_in: float, w1: float, w2: float, w_out: float
) -> None:
    factors = lr_factors(LrTransfer.WIDTH_DEPTH, scaled(**changes))
    assert factors == pytest.approx({"w_in": w_in, "w1": w1, "w2": w2, "w_out": w_out})


def test_another_branch_scale_is_refused() -> None:
    with pytest.raises(ValueError, match=r"lr_transfer width_depth needs branch_scale 1/sqrt\(depth\) \(got 1\)"):
        lr_factors(LrTransfer.WIDTH_DEPTH, scaled(branch_scale="1"))
