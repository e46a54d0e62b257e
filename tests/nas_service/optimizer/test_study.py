"""Asking, telling and enqueueing."""

import math

import pytest

from nas_service.domain.architecture import Architecture, Family
from nas_service.domain.states import FailureReason, TrialState
from nas_service.domain.trial import Proposal, duplicate_key
from nas_service.optimizer import ArmStudy, End, Outcome, outcome_of

from .builders import A_WIDE_ARM, ARM, History, a_search, a_study, trained

A_TINY_ARM = {"family": "hourglass", "d_z": [4, 6], "d_h": [2, 4], "depth": [1, 2], "lr": 1e-3}  # 16 legal shapes


def hourglass(d_z: int = 100, d_h: int = 20, depth: int = 2) -> Architecture:
    return Architecture(family=Family.HOURGLASS, d_z=d_z, d_h=d_h, depth=depth)


def key_of(proposal: Proposal) -> str:
    assert proposal.architecture is not None
    return duplicate_key(proposal.architecture, proposal.lr)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_an_error_and_the_trial_still_runs(bad: float) -> None:
    study = a_study()
    number = study.ask().number
    with pytest.raises(ValueError, match="finite"):
        study.tell(number, Outcome(End.COMPLETED, (1000.0, bad)))
    with pytest.raises(ValueError, match="needs 2 values"):
        study.tell(number, Outcome(End.COMPLETED, (1000.0,)))
    study.tell(number, Outcome(End.COMPLETED, (1000.0, 20.0)))


def test_a_cost_of_zero_has_no_place_on_a_log_scale() -> None:
    study = a_study()
    with pytest.raises(ValueError, match="above 0 on a log scale"):
        study.tell(study.ask().number, Outcome(End.COMPLETED, (0.0, 20.0)))


def test_only_a_running_trial_is_told_and_once() -> None:
    study = a_study()
    number = study.ask().number
    study.tell(number, Outcome(End.FAILED))
    with pytest.raises(ValueError, match="FAIL"):
        study.tell(number, Outcome(End.PRUNED))
    with pytest.raises(ValueError, match="no trial number 1"):
        study.tell(1, Outcome(End.PRUNED))


def test_a_legal_trial_cannot_be_refused() -> None:
    study = a_study()
    number = study.enqueue(hourglass(), 1e-3).number
    with pytest.raises(ValueError, match="cannot be refused"):
        study.tell(number, Outcome(End.REFUSED))


@pytest.mark.parametrize("sampler", ["frontier", "tpe", "nsga2", "nsga3", "random"])
def test_nothing_is_accepted_twice(sampler: str) -> None:
    history = History(a_study(sampler, A_TINY_ARM)).extend(12)
    keys = [key_of(proposal) for proposal in history.legal]
    assert len(set(keys)) == len(keys) == 12


def test_a_duplicate_names_the_trial_that_it_repeats() -> None:
    study = a_study()
    study.enqueue(hourglass(), 1.001e-3)
    again = study.enqueue(hourglass(), 1.002e-3)
    assert again.violation > 0
    assert again.message == "already proposed as trial number 0"


def test_a_searched_learning_rate_has_three_digits() -> None:
    lr = a_study().ask().lr
    assert lr == float(f"{lr:.3g}")


def test_a_list_of_learning_rates_is_a_constant() -> None:
    proposal = a_study(arm=A_WIDE_ARM | {"lr": [1e-4, 1e-3, 3e-3]}).ask()
    assert proposal.lr == (1e-4, 1e-3, 3e-3)
    assert "lr" not in proposal.ask.params


def test_an_enqueued_learning_rate_may_lie_outside_of_the_range() -> None:
    study = a_study()
    proposal = study.enqueue(hourglass(), 0.1)
    assert (proposal.architecture, proposal.lr, proposal.violation) == (hourglass(), 0.1, 0)
    assert proposal.ask.params["lr"] == 3e-3
    study.tell(proposal.number, trained(proposal))


def test_enqueued_sizes_may_lie_outside_of_the_box() -> None:
    history = History(a_study("tpe", random_fraction=0))
    outside = history.study.enqueue(hourglass(d_z=5000), 1e-3)
    assert outside.violation == 0
    history.study.tell(outside.number, trained(outside))
    again = history.study.enqueue(hourglass(d_z=5000), 1e-3)
    assert again.message == "already proposed as trial number 0"


def test_an_architecture_of_another_arm_is_not_enqueued() -> None:
    with pytest.raises(ValueError, match="not of arm"):
        a_study().enqueue(hourglass().model_copy(update={"norm": "none"}), 1e-3)
    with pytest.raises(ValueError, match="a list or not"):
        a_study().enqueue(hourglass(), (1e-3, 1e-4, 1e-5))


@pytest.mark.parametrize("sampler", ["frontier", "tpe", "nsga2", "nsga3"])
def test_enqueued_trials_survive_a_rebuild(sampler: str) -> None:
    history = History(a_study(sampler))
    for d_z, lr in ((100, 0.1), (5000, 1e-3)):
        history.add(history.study.enqueue(hourglass(d_z), lr), set())
        history.end(history.proposals[-1])
    history.extend(30)
    restarted = ArmStudy.rebuild(history.study.search, ARM, history.rows())
    assert restarted.propose() == history.study.propose()
    assert restarted.enqueue(hourglass(100), 0.1).message == "already proposed as trial number 0"


def test_random_trials_depend_on_their_number_alone() -> None:
    search = a_search("nsga2", random_fraction=0.3)
    few, many = ArmStudy(search, ARM), History(ArmStudy(search, ARM)).extend(300)
    origins = [proposal.origin for proposal in many.proposals]
    assert [few.ask().origin for _ in range(50)] == origins[:50]
    assert 0.22 < origins.count("random") / len(origins) < 0.38


def test_arms_and_seeds_draw_differently() -> None:
    two = a_search(arms={ARM: A_WIDE_ARM, "other": A_WIDE_ARM})
    first = [ArmStudy(two, ARM), ArmStudy(two, "other"), a_study(seed=1)]
    assert len({key_of(study.propose().accepted) for study in first}) == 3  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("state", "reason", "end"),
    [
        (TrialState.STOPPED, None, End.PRUNED),
        (TrialState.FAILED, FailureReason.DIVERGED, End.PRUNED),
        (TrialState.FAILED, FailureReason.OUT_OF_MEMORY, End.FAILED),
        (TrialState.CANCELLED, None, End.FAILED),
        (TrialState.REFUSED, None, End.REFUSED),
    ],
)
def test_what_the_study_is_told(state: TrialState, reason: FailureReason | None, end: End) -> None:
    assert outcome_of(state, reason) == Outcome(end)


def test_a_completed_trial_is_told_with_its_values_and_a_running_one_not_at_all() -> None:
    assert outcome_of(TrialState.COMPLETED, values=(5, 20.5)) == Outcome(End.COMPLETED, (5.0, 20.5))
    assert outcome_of(TrialState.LEASED) is None
    with pytest.raises(ValueError, match="finite"):
        outcome_of(TrialState.COMPLETED, values=(5, None))
