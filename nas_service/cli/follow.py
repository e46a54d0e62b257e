"""A search followed in the terminal: a live table where a person looks on, a line now and then elsewhere."""

from contextlib import nullcontext, suppress
from time import monotonic, sleep

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from nas_service.client import Client, ServerUnreachable
from nas_service.domain.states import SearchState, TrialState
from nas_service.domain.trial import Trial
from nas_service.messages import ArmProgress, Front, SearchDetail

LOOK_SECONDS = 0.5
LINE_SECONDS = 10.0  # between lines where there is no terminal
OPEN = (SearchState.RUNNING, SearchState.PAUSED)


def follow(client: Client, search_id: int, console: Console) -> SearchDetail:
    """Show a search until it ends; returns its last state."""
    start, line_at = monotonic(), 0.0
    search, front = client.search(search_id), client.front(search_id)
    done_before = _share_done(search)
    with Live(console=console, auto_refresh=False) if console.is_terminal else nullcontext() as live:
        while True:
            status = _status_line(search, done_before, monotonic() - start)
            if live is not None:
                live.update(Group(arms_table(search, front), Text(status)), refresh=True)
            elif monotonic() >= line_at:
                line_at = monotonic() + LINE_SECONDS
                console.print(status, soft_wrap=True)
            if search.state not in OPEN:
                break
            sleep(LOOK_SECONDS)
            with suppress(ServerUnreachable):  # it may be restarting; the search goes on when it is back
                search, front = client.search(search_id), client.front(search_id)
    if live is None:
        console.print(arms_table(search, front), Text(status))
    return search


def arms_table(search: SearchDetail, front: Front) -> Table:
    """Each arm's progress and front in one row."""
    quality = search.spec.quality
    has_imported = any(arm.imported for arm in search.arms)
    counted = ["done", *(["imported"] if has_imported else []), "running", "failed", "front"]
    table = Table("arm", *counted, f"best\n{quality.name}", "hyper-\nvolume")
    for column in table.columns[1:]:
        column.justify = "right"
    table.columns[0].no_wrap = True
    for arm in search.arms:
        part = front.arms[arm.name]
        values = [(trial.metrics or {})["eval"][quality.name] for trial in part.points]
        best = (max if quality.direction == "maximize" else min)(values, default=None)
        counts = arm.trials
        table.add_row(
            arm.name,
            _done_text(search, arm),
            *([str(arm.imported)] if has_imported else []),
            str(counts[TrialState.LEASED]),
            str(counts[TrialState.FAILED]),
            str(len(part.points)),
            "-" if best is None else f"{best:.3f}",
            "-" if part.hypervolume is None else f"{part.hypervolume:.3f}",
        )
    return table


def shape_text(trial: Trial) -> str:
    """A trial's sizes, as people write them: 785/115 x 5."""
    shape = trial.architecture
    return "-" if shape is None else f"{shape.d_z}/{shape.d_h} x {shape.depth}"


def completed_here(arm: ArmProgress) -> int:
    """How many of the arm's trials were trained to the end, imported ones left out."""
    return arm.trials[TrialState.COMPLETED] - arm.imported


def _done_text(search: SearchDetail, arm: ArmProgress) -> str:
    done = completed_here(arm) + arm.trials[TrialState.STOPPED]
    in_trials = search.spec.budget.trials_per_arm is not None
    text = f"{done}/{arm.budget:.0f}" if in_trials else f"{done}, {100 * min(1.0, arm.spent / arm.budget):.0f}%"
    return f"{text}, exhausted" if arm.exhausted else text


def _share_done(search: SearchDetail) -> float:
    """How much of the budget is behind, trials still open not counted."""
    shares, spent_by_all = [], 0.0
    for arm in search.arms:
        trials = sum(count for state, count in arm.trials.items() if state is not TrialState.REFUSED)
        trials -= arm.imported
        open_trials = arm.trials[TrialState.LEASED] + arm.trials[TrialState.QUEUED]
        spent = arm.spent * (1 - open_trials / trials) if trials else 0.0
        spent_by_all += spent
        shares.append(1.0 if arm.exhausted and not open_trials else min(1.0, spent / arm.budget))
    if search.spec.allocation == "adaptive" and not all(arm.exhausted for arm in search.arms):
        return min(1.0, spent_by_all / search.arms[0].budget)
    return sum(shares) / len(shares)


def _status_line(search: SearchDetail, done_before: float, seconds: float) -> str:
    done = _share_done(search)
    line = f"{search.name}: {search.state}, {100 * done:.0f}% done, {_clock(seconds)} gone"
    if search.state in OPEN and done > done_before:
        line += f", about {_clock(seconds * (1 - done) / (done - done_before))} left"
    why = search.reason or search.waiting_because
    return f"{line}; {why}" if why else line


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
