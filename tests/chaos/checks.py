"""What must hold after a storm. Each check names every violation that it finds; none is good."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator

from nas_service.domain.costs import Costs
from nas_service.domain.front import minimised, non_dominated
from nas_service.domain.search import Search
from nas_service.domain.trial import objective_values
from tests.chaos.history import History, Row

LETTERS = {
    "trial_queued": "q",
    "trial_leased": "l",
    "trial_requeued": "r",
    "trial_completed": "E",
    "trial_stopped": "E",
    "trial_failed": "E",
    "trial_cancelled": "C",
    "trial_refused": "x",
}
LIFE = re.compile("x|q(lr)*(lE|l?C)")
STATES = ("queued", "leased", "completed", "stopped", "failed", "cancelled", "refused")
SPENT = {"completed", "stopped", "failed: diverged"}


def violations(history: History) -> list[str]:
    """Everything that is wrong."""
    checks = (
        events_without_gaps,
        every_search_ended,
        every_trial_ended_once,
        budgets_spent_exactly,
        counts_agree,
        nothing_from_a_stale_lease,
        accepted_results_are_the_stored_ones,
        no_lease_granted_twice,
        fronts_are_true,
        artifacts_are_there,
        no_call_refused_without_reason,
    )
    return [f"{check.__name__}: {found}" for check in checks for found in check(history)]


def events_without_gaps(history: History) -> Iterator[str]:
    """Event numbers of each search are 1 to its last event."""
    numbers: dict[int, list[int]] = defaultdict(list)
    for event in history.events:
        numbers[event["search_id"]].append(event["number"])
    for search in history.searches:
        if numbers[search["id"]] != list(range(1, search["last_event"] + 1)):
            yield f"search {search['id']} has {len(numbers[search['id']])} events up to {search['last_event']}"


def every_search_ended(history: History) -> Iterator[str]:
    """Searches are finished or were cancelled by their owner; none failed."""
    for search in history.searches:
        if search["state"] not in ("finished", "cancelled"):
            yield f"search {search['id']} is {search['state']} ({search['reason']})"


def every_trial_ended_once(history: History) -> Iterator[str]:
    """The events of a trial tell a legal life with exactly one end, which is the end that its row names."""
    told = history.events_of_trials()
    for trial in history.trials:
        events = told.pop(trial["id"], [])
        life = "".join(LETTERS.get(event["kind"], "?") for event in events)
        if not LIFE.fullmatch(life):
            yield f"trial {trial['id']} ({trial['state']}) lived {life or 'without events'}"
        elif events[-1]["kind"] != f"trial_{trial['state']}":
            yield f"trial {trial['id']} is {trial['state']}, its last event is {events[-1]['kind']}"
        elif life != "x" and events[-1]["number"] != trial["ended_event"]:
            yield f"trial {trial['id']} names event {trial['ended_event']}, it ended with {events[-1]['number']}"
    for trial_id in told:
        yield f"trial {trial_id} has events and no row"


def budgets_spent_exactly(history: History) -> Iterator[str]:
    """Every arm of a finished search has as many trials that count as its budget says, numbered without gaps."""
    finished = {search["id"]: search["budget"] for search in history.searches if search["state"] == "finished"}
    for arm in history.arms:
        trials = _trials_of(history, arm)
        numbers = sorted(trial["number"] for trial in trials)
        if numbers != list(range(len(numbers))):
            yield f"arm {arm['name']} of search {arm['search_id']} has gaps in its numbers"
        spent = sum(_ending(trial) in SPENT for trial in trials)
        if arm["search_id"] in finished and spent != finished[arm["search_id"]]:
            budget = finished[arm["search_id"]]
            yield f"arm {arm['name']} of search {arm['search_id']} spent {spent} of {budget:g}"


def counts_agree(history: History) -> Iterator[str]:
    """The counts and the spending in an arm's row are those of its trials."""
    for arm in history.arms:
        trials = _trials_of(history, arm)
        counted = Counter(trial["state"] for trial in trials)
        wrong = {state: arm[state] for state in STATES if arm[state] != counted[state]}
        if wrong:
            yield f"arm {arm['name']} of search {arm['search_id']} counts {wrong}, its trials are {dict(counted)}"
        spending = sum(trial["spending"] for trial in trials)
        if abs(arm["spending"] - spending) > 1e-6:
            yield f"arm {arm['name']} of search {arm['search_id']} spent {arm['spending']}, its trials {spending}"


def nothing_from_a_stale_lease(history: History) -> Iterator[str]:
    """No call was accepted, and no report stored, with an earlier token than one granted before."""
    grants = history.grants()
    for line in history.diary:
        if line["what"] not in ("report", "network", "checkpoint", "result"):
            continue
        later = grants.get(line["trial"], [])[line["token"] :]
        if later and line["sent_at"] > later[0]:
            yield f"{line['worker']} sent a {line['what']} of trial {line['trial']} with old token {line['token']}"
    for report in history.reports:
        token = int(report["metrics"]["token"])
        later = grants.get(report["trial_id"], [])[token:]
        if later and report["at"] > later[0]:
            yield f"trial {report['trial_id']} stored a report with token {token} after the next one was granted"


def accepted_results_are_the_stored_ones(history: History) -> Iterator[str]:
    """Whose result was accepted stands in the row; a row's result is of its last lease."""
    rows = {trial["id"]: trial for trial in history.trials}
    for line in history.diary:
        row = rows.get(line["trial"])
        if line["what"] == "result" and (
            row is None or (row["lease_id"], row["token"]) != (line["lease"], line["token"])
        ):
            yield f"{line['worker']} ended trial {line['trial']} with token {line['token']}, but that is not stored"
    for row in history.trials:
        sent_by = row["environment"] or {}
        if sent_by and (sent_by["lease"], sent_by["token"]) != (row["lease_id"], row["token"]):
            yield f"trial {row['id']} holds the result of token {sent_by['token']}, its last is {row['token']}"


def no_lease_granted_twice(history: History) -> Iterator[str]:
    """Each token of a trial is one lease of one worker, and as many were granted as the events tell."""
    holders: dict[tuple[int, int], set[tuple[str, str]]] = defaultdict(set)
    for line in history.diary:
        holders[line["trial"], line["token"]].add((line["lease"], line["worker"]))
    for (trial, token), who in holders.items():
        if len(who) > 1:
            yield f"token {token} of trial {trial} was held by {sorted(who)}"
    grants = history.grants()
    for row in history.trials:
        if row["token"] != len(grants.get(row["id"], [])):
            yield f"trial {row['id']} has token {row['token']} after {len(grants.get(row['id'], []))} leases"


def fronts_are_true(history: History) -> Iterator[str]:
    """The stored front of every arm is the front of its completed trials."""
    specs = {search["id"]: Search.model_validate(search["spec"]) for search in history.searches}
    for arm in history.arms:
        objectives = specs[arm["search_id"]].objectives
        trials = _trials_of(history, arm)
        completed = [trial for trial in trials if trial["state"] == "completed"]
        points = minimised([_values(trial, specs[arm["search_id"]]) for trial in completed], objectives)
        front = {trial["id"] for trial, stands in zip(completed, non_dominated(points), strict=True) if stands}
        stored = {trial["id"] for trial in trials if trial["on_front"]}
        if stored != front:
            yield f"arm {arm['name']} of search {arm['search_id']}: stored {sorted(stored)}, true {sorted(front)}"


def artifacts_are_there(history: History) -> Iterator[str]:
    """Every row of a kept artifact has its file with its digest, and every network on a front is kept."""
    for row in history.artifacts:
        if history.files.get(row["path"]) != row["digest"]:
            found = history.files.get(row["path"], "missing")
            yield f"artifact {row['path']} of trial {row['trial_id']} is {found}, expected {row['digest']}"
    kept = {row["trial_id"] for row in history.artifacts if row["kind"] == "network"}
    for trial in history.trials:
        if trial["on_front"] and trial["id"] not in kept:
            yield f"trial {trial['id']} is on its front without a network"


def no_call_refused_without_reason(history: History) -> Iterator[str]:
    """A worker that keeps to the rules is told `lost` and nothing else; 503 it never sees as a refusal."""
    for line in history.diary:
        if line["what"] == "refused":
            yield f"{line['worker']} was refused with {line['status']}: {line['error']}"


def _trials_of(history: History, arm: Row) -> list[Row]:
    return [trial for trial in history.trials if (trial["search_id"], trial["arm"]) == (arm["search_id"], arm["name"])]


def _ending(trial: Row) -> str:
    return f"failed: {trial['reason']}" if trial["state"] == "failed" else str(trial["state"])


def _values(trial: Row, search: Search) -> list[float]:
    costs = Costs.model_validate(trial["costs"])
    values = objective_values(search.objective_names, costs, trial["metrics"])
    return [float("nan") if value is None else float(value) for value in values]
