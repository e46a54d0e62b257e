"""What is refused, what samplers learn from it, and the walk to the next legal trial."""

import pytest

from nas_service.optimizer import ArmStudy, End, Outcome
from nas_service.optimizer.study import CONSTRAINT, MAX_REFUSED_IN_A_ROW

from .builders import A_WIDE_ARM, ARM, History, a_study, limit_leaving, trained
from .test_study import A_TINY_ARM, hourglass

SAMPLERS = ["frontier", "random", "tpe", "nsga2", "nsga3", pytest.param("gp", marks=pytest.mark.slow)]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_budget_is_filled_although_the_limits_leave_5_percent_of_the_box(sampler: str) -> None:
    limit = limit_leaving(0.05)
    history = History(a_study(sampler, limits={"max_parameters": limit})).extend(30)
    assert len(history.legal) == 30
    assert all(proposal.costs and proposal.costs.parameters_trainable <= limit for proposal in history.legal)


def test_refused_proposals_repel() -> None:
    def refused_late(sampler: str) -> int:
        limits = {"max_parameters": limit_leaving(0.3)}
        history = History(a_study(sampler, limits=limits, random_fraction=0)).extend(40)
        return len([proposal for proposal in history.proposals[30:70] if proposal.violation > 0])

    assert refused_late("tpe") < refused_late("random") / 2


def test_an_arm_without_a_new_legal_shape_is_exhausted() -> None:
    history = History(a_study("tpe", A_TINY_ARM)).extend(100)
    assert len(history.legal) == 16
    assert history.study.propose().accepted is None
    assert ArmStudy.rebuild(history.study.search, ARM, history.rows()).propose().accepted is None


def test_fifty_refusals_in_a_row_are_followed_by_a_random_legal_shape() -> None:
    history = History(a_study("random", limits={"max_parameters": limit_leaving(0.002)})).extend(5)
    late = next(proposal for proposal in history.proposals if proposal.origin == "fallback")
    before = history.proposals[late.number - MAX_REFUSED_IN_A_ROW : late.number]
    assert len(before) == MAX_REFUSED_IN_A_ROW
    assert all(proposal.violation > 0 for proposal in before)


def test_refusals_of_an_earlier_process_count() -> None:
    history = History(a_study("random", limits={"max_parameters": limit_leaving(0.002)}))
    for d_h in range(MAX_REFUSED_IN_A_ROW):
        history.refuse(history.study.enqueue(hourglass(d_z=500, d_h=400 + d_h), 1e-3))
    proposals = ArmStudy.rebuild(history.study.search, ARM, history.rows()).propose()
    assert proposals.refused == ()
    assert proposals.accepted is not None
    assert proposals.accepted.origin == "fallback"


def test_a_proposal_without_an_architecture_says_why() -> None:
    study = a_study("random", A_WIDE_ARM | {"d_z": [64, 65], "d_h": [60, 500]})
    illegal = next(proposal for proposal in (study.ask() for _ in range(20)) if proposal.architecture is None)
    assert illegal.violation > 0
    assert illegal.message is not None
    assert illegal.message.startswith("d_h must be below d_z in an hourglass")


def test_a_shape_over_a_limit_says_which() -> None:
    proposal = a_study(limits={"max_parameters": 20_000}).enqueue(hourglass(d_z=200), 1e-3)
    assert proposal.message == "over the limits: parameters_trainable 41,600 (limit 20,000)"


def test_every_trial_carries_the_constraint() -> None:
    history = History(a_study(limits={"max_parameters": 400_000})).extend(30)
    for proposal in history.proposals:
        constraint = proposal.ask.system_attrs[f"constraints:{CONSTRAINT}"]
        assert (constraint > 0) == (proposal.violation > 0)


def test_a_refused_trial_stands_at_its_cost_and_the_worst_quality_seen() -> None:
    study = a_study(limits={"max_parameters": 40_000})
    refused = study.enqueue(hourglass(d_z=200), 1e-3)
    study.tell(refused.number, Outcome(End.REFUSED))
    for d_z, psnr_db in ((100, 22.0), (90, 18.0), (80, 20.0)):
        study.tell(study.enqueue(hourglass(d_z), 1e-3).number, Outcome(End.COMPLETED, (10_000.0, psnr_db)))
    study.ask()
    assert study._storage.get_trial(refused.number).values == pytest.approx([4.6191, 18.0], abs=1e-4)  # log10(41,600)


def test_a_refused_duplicate_stands_where_its_original_does() -> None:
    study = a_study()
    original, duplicate = (study.enqueue(hourglass(), 1e-3) for _ in range(2))
    study.tell(duplicate.number, Outcome(End.REFUSED))
    study.tell(original.number, trained(original))
    study.ask()
    values = [study._storage.get_trial(proposal.number).values for proposal in (original, duplicate)]
    assert values[0] == values[1]
