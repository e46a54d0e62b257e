from math import log10

import pytest

from nas_service.analysis.fronts import fronts_of_search
from nas_service.domain.trial import Trial
from tests.builders import ARMS, a_stored_search, a_trial

TRIVIAL = {"psnr_db": 10.0, "ssim": 0.1}


def ids(trials: list[Trial]) -> list[int]:
    return [trial.id for trial in trials]


def test_each_arm_has_its_front_and_the_union_has_the_best_of_all() -> None:
    trials = [
        a_trial(1, cost=1000, psnr_db=20.0),
        a_trial(2, cost=2000, psnr_db=19.0),  # dominated in its arm
        a_trial(3, cost=4000, psnr_db=25.0),
        a_trial(4, cost=900, psnr_db=21.0, arm="plain"),  # dominates the first of the other arm
        a_trial(5, cost=9000, psnr_db=24.0, arm="plain"),  # on its arm's front, not on the union's
    ]
    fronts = fronts_of_search(a_stored_search(arms=ARMS), trials)
    assert ids(fronts.arms["hourglass"].points) == [1, 3]
    assert ids(fronts.arms["plain"].points) == [4, 5]
    assert ids(fronts.union.points) == [4, 3]


def test_points_stand_cheapest_first_and_equal_ones_by_id() -> None:
    trials = [a_trial(3, cost=500, psnr_db=15.0), a_trial(2, cost=100, psnr_db=10.0), a_trial(1, 500, 15.0)]
    fronts = fronts_of_search(a_stored_search(), trials)
    assert ids(fronts.union.points) == [2, 1, 3]


def test_an_arm_without_trials_has_an_empty_front() -> None:
    fronts = fronts_of_search(a_stored_search(TRIVIAL, arms=ARMS), [a_trial()])
    assert fronts.arms["plain"].points == []
    assert fronts.arms["plain"].hypervolume == 0


def test_the_reference_is_the_limit_and_the_trivial_answer() -> None:
    search = a_stored_search(TRIVIAL, limits={"max_parameters": 50_000})
    assert search.spec.reference_point(search.trivial) == [50_000, 10.0]


def test_the_reference_without_a_limit_is_the_largest_legal_cost() -> None:
    largest = 2 * 64 * 128 + 2 * 4 * 128 * 32
    assert a_stored_search(TRIVIAL).spec.reference_point(TRIVIAL) == [largest, 10.0]


def test_there_is_no_hypervolume_before_the_trivial_answer_is_known() -> None:
    fronts = fronts_of_search(a_stored_search(arms=ARMS), [a_trial()])
    assert fronts.reference_point[1] is None
    assert fronts.union.hypervolume is None
    assert fronts.arms["hourglass"].hypervolume is None


def test_a_trivial_answer_that_has_no_place_on_a_log_scale_is_no_reference() -> None:
    objectives = [{"name": "macs"}, {"name": "ssim", "scale": "log"}]
    fronts = fronts_of_search(a_stored_search({"ssim": -0.01}, objectives=objectives), [a_trial()])
    assert (fronts.reference_point[1], fronts.union.hypervolume) == (None, None)


def test_an_objective_with_its_own_reference_waits_for_nothing() -> None:
    objectives = [{"name": "macs", "reference": 3000}, {"name": "psnr_db", "reference": 0.0}]
    fronts = fronts_of_search(a_stored_search(objectives=objectives), [a_trial(cost=1000, psnr_db=20.0)])
    assert fronts.reference_point == [3000, 0.0]
    assert fronts.union.hypervolume == 2000 * 20.0


def test_the_hypervolume_counts_decades_of_a_log_cost() -> None:
    search = a_stored_search(TRIVIAL, limits={"max_parameters": 50_000})
    trials = [a_trial(1, cost=500, psnr_db=15.0), a_trial(2, cost=5000, psnr_db=18.0)]
    fronts = fronts_of_search(search, trials)
    assert fronts.union.hypervolume == pytest.approx(2 * (15 - 10) + 1 * (18 - 15))


def test_a_trial_worse_than_the_trivial_answer_adds_no_volume() -> None:
    fronts = fronts_of_search(a_stored_search(TRIVIAL), [a_trial(cost=500, psnr_db=9.0)])
    assert ids(fronts.union.points) == [1]
    assert fronts.union.hypervolume == 0


def test_three_objectives_make_a_front_in_three_dimensions() -> None:
    objectives = [{"name": "macs", "scale": "log", "reference": 10_000}, {"name": "psnr_db"}, {"name": "ssim"}]
    trials = [
        a_trial(1, cost=1000, metrics={"eval": {"psnr_db": 20.0, "ssim": 0.5}}),
        a_trial(2, cost=1000, metrics={"eval": {"psnr_db": 19.0, "ssim": 0.6}}),
        a_trial(3, cost=1000, metrics={"eval": {"psnr_db": 19.0, "ssim": 0.5}}),
    ]
    fronts = fronts_of_search(a_stored_search(TRIVIAL, objectives=objectives), trials)
    assert set(ids(fronts.union.points)) == {1, 2}
    volume = log10(10_000 / 1000) * (10 * 0.4 + 9 * 0.5 - 9 * 0.4)
    assert fronts.union.hypervolume == pytest.approx(volume)
