"""Asking again from rows gives what was asked."""

from dataclasses import replace
from time import perf_counter

import pytest

from nas_service.domain.trial import Ask, Proposal
from nas_service.optimizer import ArmStudy, Record

from .builders import ARM, History, a_search, a_study, through_json

QUICK_SAMPLERS = ["frontier", "random", "tpe", "nsga2", "nsga3"]


def ask_again(history: History, number: int) -> Proposal | None:
    study = ArmStudy.rebuild(history.study.search, ARM, history.rows(asked=number))
    return study.random_legal() if history.proposals[number].origin == "fallback" else study.ask()


@pytest.mark.parametrize("sampler", QUICK_SAMPLERS)
def test_each_number_is_asked_again_as_it_was_then(sampler: str) -> None:
    history = History(a_study(sampler, limits={"max_parameters": 400_000})).extend(30)
    assert [ask_again(history, proposal.number) for proposal in history.proposals] == history.proposals


@pytest.mark.parametrize("sampler", ["nsga2", "nsga3"])
def test_genetic_samplers_ask_the_same_past_their_first_generations(sampler: str) -> None:
    history = History(a_study(sampler, limits={"max_parameters": 400_000})).extend(90)
    assert len([proposal for proposal in history.proposals if proposal.ask.study_attrs]) >= 3
    assert [ask_again(history, proposal.number) for proposal in history.proposals] == history.proposals


def test_gp_asks_the_same_again() -> None:
    narrow = {"family": "hourglass", "d_z": [64, 512], "d_h": [4, 60], "depth": 2, "lr": 1e-3}
    history = History(a_study("gp", narrow, random_fraction=0))
    start = [history.propose("random") for _ in range(13)]
    for proposal in start[:10]:
        history.end(proposal)
    asked = [history.propose(), history.propose()]
    assert [ask_again(history, proposal.number) for proposal in asked] == asked
    assert all("gp:relative_params:0" in proposal.ask.system_attrs for proposal in asked)


@pytest.mark.parametrize("sampler", QUICK_SAMPLERS)
def test_a_restarted_study_goes_on_as_the_old_one_would_have(sampler: str) -> None:
    history = History(a_study(sampler, limits={"max_parameters": 400_000})).extend(50)
    restarted = ArmStudy.rebuild(history.study.search, ARM, history.rows())
    assert [restarted.propose() for _ in range(5)] == [history.study.propose() for _ in range(5)]


def test_a_gap_in_the_history_is_an_error() -> None:
    rows = History(a_study()).extend(5).rows()
    with pytest.raises(ValueError, match="has no trial number 2"):
        ArmStudy.rebuild(a_search(), ARM, rows[:2] + rows[3:])


def test_ten_thousand_rows_are_rebuilt_in_seconds() -> None:
    rows = History(a_study("random")).extend(500).rows()
    long = [replace(rows[number % 500], number=number) for number in range(10_000)]
    start = perf_counter()
    study = ArmStudy.rebuild(a_search("tpe"), ARM, long)
    assert perf_counter() - start < 10
    assert study.next_number == 10_000


def test_hundreds_of_generations_do_not_recurse() -> None:
    rows = History(a_study("random", random_fraction=0)).extend(500).rows()
    long = [in_generation(rows[number % 500], number) for number in range(10_000)]
    asked = ArmStudy.rebuild(a_search("nsga2"), ARM, long).ask("sampler")
    assert asked.ask.system_attrs["NSGAIISampler:generation"] >= 499


def in_generation(row: Record, number: int) -> Record:
    """The row as the trial of that number in generations of 20; the first of each carries the parents."""
    generation = number // 20
    is_first = number % 20 == 0 and generation > 0
    parents = {f"NSGAIISampler:parent:{generation}": list(range(number - 20, number))} if is_first else {}
    attrs = row.ask.system_attrs | {"NSGAIISampler:generation": generation}
    return through_json(
        Record(number, Ask(params=row.ask.params, system_attrs=attrs, study_attrs=parents), row.outcome)
    )


def test_trials_that_no_sampler_drew_leave_no_recursion_behind() -> None:
    history = History(a_study("nsga2", random_fraction=1)).extend(60)
    assert {proposal.origin for proposal in history.proposals} == {"random"}
    parents = {name for proposal in history.proposals for name in proposal.ask.study_attrs}
    assert {"NSGAIISampler:parent:1", "NSGAIISampler:parent:2"} <= parents
