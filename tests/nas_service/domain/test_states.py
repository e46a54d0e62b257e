from itertools import product

import pytest

from nas_service.domain.states import (
    FIRST_STATES,
    SEARCH_TRANSITIONS,
    TRIAL_TRANSITIONS,
    FailureReason,
    IllegalTransition,
    SearchState,
    TrialState,
    check_search_step,
    check_trial_step,
    spends_budget,
)

TRIAL_STEPS = {
    *(("queued", then) for then in ("leased", "cancelled")),
    *(("leased", then) for then in ("queued", "completed", "stopped", "failed", "cancelled")),
}
SEARCH_STEPS = {
    *(("running", then) for then in ("paused", "finished", "cancelled", "failed")),
    *(("paused", then) for then in ("running", "cancelled")),
    ("finished", "running"),
}


@pytest.mark.parametrize(("now", "then"), [*product(TrialState, TrialState)])
def test_a_trial_takes_the_legal_steps_and_no_other(now: TrialState, then: TrialState) -> None:
    if (now, then) in TRIAL_STEPS:
        check_trial_step(now, then)
    else:
        with pytest.raises(IllegalTransition, match=f"a {now} trial cannot become {then}"):
            check_trial_step(now, then)


@pytest.mark.parametrize(("now", "then"), [*product(SearchState, SearchState)])
def test_a_search_takes_the_legal_steps_and_no_other(now: SearchState, then: SearchState) -> None:
    if (now, then) in SEARCH_STEPS:
        check_search_step(now, then)
    else:
        with pytest.raises(IllegalTransition, match=f"a {now} search cannot become {then}"):
            check_search_step(now, then)


def test_ended_trials_and_searches_have_no_way_on() -> None:
    ended = {state for state, targets in TRIAL_TRANSITIONS.items() if not targets}
    assert ended == set(TrialState) - {TrialState.QUEUED, TrialState.LEASED}
    assert not SEARCH_TRANSITIONS[SearchState.CANCELLED]
    assert not SEARCH_TRANSITIONS[SearchState.FAILED]


def test_a_trial_begins_queued_refused_or_imported() -> None:
    assert {TrialState.QUEUED, TrialState.REFUSED, TrialState.COMPLETED} == FIRST_STATES


def test_an_illegal_step_says_what_is_possible() -> None:
    with pytest.raises(IllegalTransition, match="it can become cancelled, leased"):
        check_trial_step(TrialState.QUEUED, TrialState.COMPLETED)
    with pytest.raises(IllegalTransition, match="it has ended"):
        check_search_step(SearchState.FAILED, SearchState.RUNNING)


def test_completed_stopped_and_diverged_trials_spend_budget_and_no_others() -> None:
    assert {state for state in TrialState if spends_budget(state, None)} == {TrialState.COMPLETED, TrialState.STOPPED}
    spending = {reason for reason in FailureReason if spends_budget(TrialState.FAILED, reason)}
    assert spending == {FailureReason.DIVERGED}
