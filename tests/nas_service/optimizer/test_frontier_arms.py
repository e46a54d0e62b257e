"""The frontier sampler in the service: arms of all kinds."""

from math import log10
from typing import Any

import pytest

from nas_service.domain.search import Search
from nas_service.domain.trial import Proposal
from nas_service.optimizer import ArmStudy, End, Outcome
from nas_service.optimizer.frontier import STANDARD_ERRORS

from .builders import A_WIDE_ARM, ARM, History, a_search, a_study, limit_leaving
from .test_study import A_TINY_ARM, hourglass, key_of

THREE = [{"name": "parameters_trainable", "scale": "log"}, {"name": "psnr_db"}, {"name": "macs", "scale": "log"}]
MEASURED = [{"name": "parameters_trainable"}, {"name": "psnr_db"}, {"name": "latency_ms", "reference": 50}]


def measured(proposal: Proposal, search: Search) -> Outcome:
    """Values of all objectives of a trained proposal."""
    architecture, costs = proposal.architecture, proposal.costs
    assert architecture is not None
    assert costs is not None
    metrics = {
        "psnr_db": 10 + 2 * log10(costs.parameters_trainable) - 0.1 * (architecture.depth - 3) ** 2,
        "latency_ms": architecture.depth * (1 + architecture.d_z / 100),
    }
    names = [objective.name for objective in search.objectives]
    return Outcome(End.COMPLETED, tuple(float(metrics.get(name) or getattr(costs, name)) for name in names))


def run(study: ArmStudy, trials: int) -> list[Proposal]:
    """Propose and train; ends before that many when the arm is exhausted."""
    accepted = []
    for _ in range(trials):
        proposals = study.propose()
        if proposals.accepted is None:
            break
        study.tell(proposals.accepted.number, measured(proposals.accepted, study.search))
        accepted.append(proposals.accepted)
    return accepted


@pytest.mark.parametrize(
    ("arm", "given"),
    [
        pytest.param({}, {"objectives": THREE}, id="two known costs"),
        pytest.param({}, {"objectives": MEASURED, "device": "cpu"}, id="two unknown objectives"),
        pytest.param({"lr": [1e-4, 1e-3, 3e-3]}, {}, id="a list of learning rates"),
        pytest.param({"d_z": 512, "depth": 2, "lr": 1e-3}, {}, id="one dimension"),
        pytest.param({"d_h": None, "d_h_ratio": [0.03, 1.0]}, {}, id="the inner width as a ratio"),
    ],
)
def test_every_proposal_of_the_sampler_is_legal_and_new(arm: dict[str, Any], given: dict[str, Any]) -> None:
    fields = {name: value for name, value in (A_WIDE_ARM | arm).items() if value is not None}
    study = a_study("frontier", fields, random_fraction=0, **given)
    accepted = run(study, 15)
    assert study.next_number == 15  # nothing was refused on the way
    assert {proposal.origin for proposal in accepted} == {"sampler"}
    assert len({key_of(proposal) for proposal in accepted}) == 15


def test_a_box_of_which_5_percent_are_legal_costs_no_refusal() -> None:
    limit = limit_leaving(0.05)
    study = a_study("frontier", limits={"max_parameters": limit}, random_fraction=0)
    assert len(run(study, 15)) == study.next_number == 15


def test_an_arm_without_a_new_legal_shape_is_exhausted() -> None:
    study = a_study("frontier", A_TINY_ARM)
    assert len(run(study, 100)) == 16
    assert study.propose().accepted is None


def test_a_running_trial_outside_of_the_box_holds_up_nothing() -> None:
    """Its nearest point in the box makes no architecture, so it has no cost."""
    arm = A_WIDE_ARM | {"d_z": [64, 100], "d_h": [90, 99]}
    study = a_study("frontier", arm, random_fraction=0)
    run(study, 10)
    outside = study.enqueue(hourglass(d_z=80, d_h=70), 1e-3)
    assert outside.violation == 0
    assert study.propose().accepted is not None
    study.tell(outside.number, measured(outside, study.search))
    assert study.propose().accepted is not None


def test_refused_trials_that_are_not_told_yet_hold_up_nothing() -> None:
    study = a_study("frontier", limits={"max_parameters": 50_000}, random_fraction=0)
    run(study, 10)
    too_large = study.enqueue(hourglass(d_z=500, d_h=400), 1e-3)
    assert too_large.violation > 0
    assert study.ask().violation == 0


def test_standard_errors_reach_the_study_in_its_units_and_survive_a_rebuild() -> None:
    objectives = [{"name": "psnr_db"}, {"name": "parameters_trainable", "scale": "log"}]
    history = History(a_study("frontier", objectives=objectives, random_fraction=0))
    for errors in ((0.2, None), (None, None), ()):
        proposal = history.propose()
        assert proposal is not None
        assert proposal.costs is not None
        outcome = Outcome(End.COMPLETED, (20.0, float(proposal.costs.parameters_trainable)), errors)
        history.study.tell(proposal.number, outcome)
        history.outcomes[proposal.number] = outcome
    rebuilt = ArmStudy.rebuild(history.study.search, ARM, history.rows())
    for study in (history.study, rebuilt):
        attributes = [study._storage.get_trial(number).user_attrs for number in range(3)]
        assert attributes == [{STANDARD_ERRORS: [0.2, None]}, {}, {}]


def test_a_standard_error_on_a_log_axis_is_relative() -> None:
    study = a_study("frontier", objectives=[{"name": "parameters_trainable"}, {"name": "mse", "scale": "log"}])
    proposal = study.propose().accepted
    assert proposal is not None
    assert proposal.costs is not None
    values = (float(proposal.costs.parameters_trainable), 0.05)
    study.tell(proposal.number, Outcome(End.COMPLETED, values, (None, 0.005)))
    errors = study._storage.get_trial(proposal.number).user_attrs[STANDARD_ERRORS]
    assert errors == [None, pytest.approx(0.1 / 2.302585, rel=1e-5)]  # a tenth, over the natural logarithm of 10


def test_the_reference_is_the_searchs_own() -> None:
    """Where a good trivial answer is known, shapes that cannot beat it are not worth a trial."""

    def parameters(trivial: dict[str, float] | None) -> float:
        study = ArmStudy(a_search("frontier", random_fraction=0), ARM, trivial)
        late = run(study, 20)[12:]
        return min(float(proposal.costs.parameters_trainable) for proposal in late if proposal.costs)

    assert parameters({"psnr_db": 20.5}) > parameters({"psnr_db": 10.0})
