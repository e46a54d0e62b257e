"""Every check of a storm finds the history that breaks its promise, and nothing in a sound one."""

from copy import deepcopy
from dataclasses import replace

import pytest

from nas_service.domain.costs import Costs
from tests.builders import a_search_file
from tests.chaos.checks import violations
from tests.chaos.history import History, Row

CHEAP, DEAR = dict.fromkeys(Costs.model_fields, 10), dict.fromkeys(Costs.model_fields, 20)


def a_row(trial_id: int, costs: dict[str, int], psnr_db: float, ended_event: int, token: int = 1, **changes) -> Row:
    sent_by = {"lease": f"lease-{trial_id}", "token": token}
    row = {"id": trial_id, "search_id": 1, "arm": "hourglass", "number": trial_id - 1, "state": "completed"}
    row |= {"reason": None, "costs": costs, "metrics": {"eval": {"psnr_db": psnr_db}}, "on_front": True}
    row |= {"ended_event": ended_event, "lease_id": sent_by["lease"], "token": token, "environment": sent_by}
    return row | {"spending": 1.0} | changes


def an_event(number: int, kind: str, trial_id: int | None = None) -> Row:
    return {"search_id": 1, "number": number, "kind": kind, "trial_id": trial_id, "at": float(number)}


def a_sound_history() -> History:
    """Two trials on a front; the second one was lost once, and leased again at second 6."""
    kinds = [("search_submitted", None), ("trial_queued", 1), ("trial_queued", 2), ("trial_leased", 2)]
    kinds += [("trial_requeued", 2), ("trial_leased", 2), ("trial_leased", 1), ("trial_completed", 1)]
    kinds += [("trial_completed", 2), ("search_finished", None)]
    states = dict.fromkeys(("queued", "leased", "stopped", "failed", "cancelled", "refused"), 0) | {"completed": 2}
    path, digest = "search-1/trial-{}.safetensors", "sha256:{}"
    said = {"worker": "w", "sent_at": 5.0}
    return History(
        searches=[
            {"id": 1, "state": "finished", "reason": None, "budget": 2.0, "spec": a_search_file(), "last_event": 10}
        ],
        arms=[{"search_id": 1, "name": "hourglass", "spending": 2.0, **states}],
        trials=[a_row(1, CHEAP, 20.0, 8), a_row(2, DEAR, 30.0, 9, token=2)],
        events=[an_event(place + 1, kind, trial_id) for place, (kind, trial_id) in enumerate(kinds)],
        reports=[{"trial_id": 2, "metrics": {"token": 1.0}, "at": 5.0}],
        artifacts=[
            {"trial_id": n, "kind": "network", "path": path.format(n), "digest": digest.format(n)} for n in (1, 2)
        ],
        files={path.format(n): digest.format(n) for n in (1, 2)},
        diary=[
            {"what": "granted", "trial": 2, "lease": "lease-old", "token": 1, **said},
            {"what": "report", "trial": 2, "lease": "lease-old", "token": 1, **said},
            {"what": "granted", "trial": 2, "lease": "lease-2", "token": 2, **said},
            {"what": "result", "trial": 2, "lease": "lease-2", "token": 2, **said},
        ],
    )


def found_in(history: History) -> set[str]:
    return {found.split(":")[0] for found in violations(history)}


def test_nothing_is_found_in_a_sound_history() -> None:
    assert violations(a_sound_history()) == []


BREAKS = {
    "events_without_gaps": ("events", 4, {"number": 11}),
    "every_search_ended": ("searches", 0, {"state": "running"}),
    "every_trial_ended_once": ("events", 4, {"kind": "trial_completed"}),
    "budgets_spent_exactly": ("searches", 0, {"budget": 3.0}),
    "counts_agree": ("arms", 0, {"completed": 1}),
    "accepted_results_are_the_stored_ones": ("diary", 3, {"lease": "lease-old", "token": 1}),
    "no_lease_granted_twice": ("diary", 2, {"token": 1}),
    "fronts_are_true": ("trials", 1, {"on_front": False}),
    "artifacts_are_there": ("artifacts", 0, {"digest": "sha256:other"}),
    "no_call_refused_without_reason": ("diary", 1, {"what": "refused", "status": 409, "error": "no"}),
}


@pytest.mark.parametrize("check", BREAKS)
def test_each_check_finds_the_row_that_breaks_its_promise(check: str) -> None:
    table, place, change = BREAKS[check]
    rows = deepcopy(getattr(a_sound_history(), table))
    rows[place] |= change
    assert check in found_in(replace(a_sound_history(), **{table: rows}))


@pytest.mark.parametrize(("table", "place", "change"), [("diary", 1, {"sent_at": 6.5}), ("reports", 0, {"at": 6.5})])
def test_a_report_of_an_earlier_lease_after_the_next_one_was_granted_is_found(
    table: str, place: int, change: Row
) -> None:
    rows = deepcopy(getattr(a_sound_history(), table))
    rows[place] |= change
    assert found_in(replace(a_sound_history(), **{table: rows})) == {"nothing_from_a_stale_lease"}


def test_a_trial_that_vanished_is_found() -> None:
    history = a_sound_history()
    found = found_in(replace(history, trials=history.trials[:1]))
    assert {"every_trial_ended_once", "budgets_spent_exactly", "accepted_results_are_the_stored_ones"} <= found
