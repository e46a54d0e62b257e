import pytest

from nas_service.domain.allocation import Growth, next_arm, open_arms
from nas_service.domain.objectives import Objective
from nas_service.domain.records import StoredArm
from nas_service.domain.states import TrialState
from tests.builders import ARMS, a_stored_search

OBJECTIVES = (Objective(name="parameters_trainable", scale="log"), Objective(name="psnr_db"))
REFERENCE = (1e6, 10.0)
NO_TRIALS = dict.fromkeys(TrialState, 0)


def an_arm(name: str, spending: float, exhausted: str | None = None) -> StoredArm:
    return StoredArm(name=name, exhausted=exhausted, spending=spending, trials=NO_TRIALS)


def arms(hourglass: float, plain: float) -> list[StoredArm]:
    return [an_arm("hourglass", hourglass), an_arm("plain", plain)]


def a_race(hourglass: list[float], plain: list[float]) -> Growth:
    """Trials of 1000 parameters with these qualities, in turns."""
    growth = Growth(OBJECTIVES)
    for one, other in zip(hourglass, plain, strict=True):
        growth.note("hourglass", 1.0, (1e3, one), REFERENCE)
        growth.note("plain", 1.0, (1e3, other), REFERENCE)
    return growth


def choose(allocation: str, spent: list[StoredArm], growth: Growth) -> str | None:
    search = a_stored_search(arms=ARMS, allocation=allocation, budget={"trials_per_arm": 20})
    return next_arm(search, spent, growth)


def test_equal_gives_the_next_trial_to_the_arm_that_has_spent_least() -> None:
    assert choose("equal", arms(8, 9), a_race([11, 12], [20, 30])) == "hourglass"


def test_equal_ends_each_arm_at_its_own_budget() -> None:
    assert choose("equal", arms(20, 19), Growth(OBJECTIVES)) == "plain"
    assert choose("equal", arms(20, 20), Growth(OBJECTIVES)) is None


def test_adaptive_gives_the_next_trial_to_the_arm_that_made_the_union_grow() -> None:
    assert choose("adaptive", arms(12, 11), a_race([11, 12, 13], [5, 5, 5])) == "hourglass"
    assert choose("adaptive", arms(12, 11), a_race([11, 11, 11], [12, 13, 14])) == "plain"


def test_what_grew_lately_counts_more_than_what_grew_once() -> None:
    early, late = [30.0] + [5.0] * 30, [5.0] * 30 + [31.0]
    assert choose("adaptive", arms(12, 12), a_race(early, late)) == "plain"


def test_growth_counts_per_unit_of_budget() -> None:
    growth = Growth(OBJECTIVES)
    growth.note("hourglass", 10.0, (1e3, 12.0), REFERENCE)
    growth.note("plain", 1.0, (1e3, 13.0), REFERENCE)
    assert growth.rate("plain") == pytest.approx(5 * growth.rate("hourglass"))


def test_a_trial_behind_the_front_and_one_that_failed_add_nothing() -> None:
    growth = a_race([15], [12])
    growth.note("plain", 1.0)
    assert growth.rate("plain") == 0


def test_adaptive_lets_an_arm_go_on_past_an_even_share() -> None:
    assert choose("adaptive", arms(25, 12), a_race([11, 12], [5, 5])) == "hourglass"


def test_adaptive_spends_one_purse() -> None:
    assert choose("adaptive", arms(25, 15), a_race([11, 12], [5, 5])) is None


def test_no_arm_falls_below_half_of_an_even_share() -> None:
    assert choose("adaptive", arms(24, 7), a_race([11, 12], [5, 5])) == "plain"


def test_every_arm_gets_a_quarter_of_its_budget_first() -> None:
    assert choose("adaptive", arms(5, 4), a_race([11, 12], [5, 5])) == "plain"


@pytest.mark.parametrize("allocation", ["equal", "adaptive"])
def test_an_exhausted_arm_gets_nothing(allocation: str) -> None:
    search = a_stored_search(arms=ARMS, allocation=allocation, budget={"trials_per_arm": 20})
    spent = [an_arm("hourglass", 3, exhausted="no shape left"), an_arm("plain", 19)]
    assert [arm.name for arm in open_arms(search, spent)] == ["plain"]


def test_without_a_reference_nothing_grows() -> None:
    growth = Growth(OBJECTIVES)
    growth.note("hourglass", 1.0, (1e3, 12.0), (1e6, None))
    assert growth.rate("hourglass") == 0


def test_what_was_imported_raises_the_front_and_no_rate() -> None:
    growth = Growth(OBJECTIVES)
    growth.note("hourglass", 0.0, (1e3, 20.0))  # before the reference is known
    assert growth.rate("hourglass") == float("inf")
    growth.note("hourglass", 1.0, (1e3, 19.0), REFERENCE)
    growth.note("plain", 1.0, (1e3, 21.0), REFERENCE)
    assert growth.rate("hourglass") == 0
    assert growth.rate("plain") == pytest.approx(3.0)  # 1 dB over 3 decades of weights
