import csv
from pathlib import Path
from typing import Any

import pytest

from nas_service.analysis.tables import csv_lines
from nas_service.client.warm_start import Unfit, findings_of_csv, findings_of_search, fit, why_incomparable
from nas_service.domain.published_table import COLUMNS
from tests.builders import ARMS, a_search, a_trial, an_architecture

BUDGET = "bs128_ep2"
PLAIN = {"family": "conventional", "d_z": 64, "d_h": 70, "depth": 1, "w_in": "none", "w_out": "none"}


def a_table(folder: Path, *rows: dict[str, Any]) -> Path:
    """Published runs: two seeds of each of these."""
    path = folder / "digits_denoising.csv"
    facts = {"task": "digits_denoising", "budget": BUDGET, "arm": "hourglass_learned_in", "d_z": 65, "d_h": 8}
    facts |= {"depth": 1, "lr": 1e-3, "params": 1, "metric": "eval_psnr"}
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        for row in rows:
            table.writerows({**facts, **row, "seed": seed, "psnr": 20 + seed} for seed in (0, 1))
    return path


def test_the_completed_trials_of_another_search_go_to_the_arms_that_hold_them() -> None:
    other, search = a_search(arms=ARMS), a_search(arms=dict(reversed(ARMS.items())), limits={"max_parameters": 25_000})
    trials = [
        a_trial(1),
        a_trial(2, architecture=PLAIN, arm="plain"),
        a_trial(3, architecture=an_architecture(w_in="identity")),
        a_trial(4, lr=1e-5),
        a_trial(5, architecture=an_architecture(d_z=120, d_h=32, depth=4)),
        a_trial(6, metrics={"eval": {"ssim": 0.5}}),
        a_trial(7, state="stopped"),
        a_trial(8, psnr_db=30.0),
        a_trial(9, architecture=an_architecture(d_h=9)),
    ]
    present = [a_trial(1, architecture=an_architecture(d_h=9))]
    fitted = fit(search, findings_of_search(1, other, trials), present)
    assert [(row.arm, row.d_h, row.metrics["eval"]["psnr_db"]) for row in fitted.results] == [
        ("hourglass", 8, 30.0),
        ("plain", 70, 20.0),
    ]
    assert fitted.left_out == {
        "not completed": 1,
        "of no arm": 2,
        "over the limits": 1,
        "without psnr_db": 1,
        "already there": 1,
        "worse than the same with another seed or learning rate": 1,
    }
    assert fitted.text.startswith("left out 7 (2 of no arm, 1 ")
    assert fitted.results[0].source == "search 1, trial 8"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, None),
        ({"name": "other", "arms": {"a": ARMS["hourglass"]}, "recipe": {"epochs": 2, "replicates": 5}}, None),
        ({"recipe": {"epochs": 3}}, "recipe.epochs is 3 there and 2 here"),
        ({"task": {"kind": "denoising", "noise_std": 0.1}}, "task.noise_std is 0.1 there and 0.25 here"),
        ({"dataset": {"name": "mnist"}, "arms": {"h": {**ARMS["hourglass"], "d_z": 800}}}, "dataset.name is mnist"),
    ],
)
def test_searches_compare_that_train_the_same_thing_in_the_same_way(changes: dict[str, Any], why: str | None) -> None:
    found = why_incomparable(a_search(), findings_of_search(1, a_search(**changes), []))
    assert (found is None) if why is None else (why in found)


def test_our_csv_gives_back_what_was_written_into_it(tmp_path: Path) -> None:
    metrics = {"eval": {"psnr_db": 20.123456789012345}, "test": {"psnr_db": 19.5}, "measured": {"latency_ms": 0.25}}
    trials = [a_trial(1, metrics=metrics, lr=1.23456789e-3), a_trial(2, state="refused", architecture=None, costs=None)]
    (tmp_path / "trials.csv").write_text("".join(csv_lines(trials)))
    findings = findings_of_csv(tmp_path / "trials.csv", a_search())
    (found,) = findings.found
    assert (found.metrics, found.lr, found.architecture) == (metrics, 1.23456789e-3, an_architecture())
    assert (found.source, findings.left_out) == ("trials.csv, trial 1", {"not completed": 1})


def test_the_published_runs_of_the_task_and_recipe_are_found_with_their_seeds(tmp_path: Path) -> None:
    path = a_table(
        tmp_path,
        {},
        {"arm": "conventional_no_in_no_out", "d_z": 64, "d_h": 70},
        {"metric": "test_psnr"},
        {"budget": "bs128_ep30"},
        {"task": "mnist_denoising"},
        {"task": "imagenet32_denoising"},
    )
    search = a_search(arms=ARMS)
    findings = findings_of_csv(path, search)
    assert findings.left_out == {"of another budget": 1, "of another task": 2}
    results = fit(search, findings, []).results
    assert {row.arm for row in results} == {"hourglass", "plain"}
    assert {row.metrics["eval"]["psnr_db"] for row in results} == {20.5}
    assert [(one.seed, one.metrics["eval"]["psnr_db"]) for one in results[0].replicates] == [(42, 20.0), (43, 21.0)]


def test_a_csv_of_a_version_that_knew_fewer_choices_is_read(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    path.write_text("id,state,family,d_z,d_h,depth,lr,eval_psnr_db\n7,completed,hourglass,70,8,2,0.001,21.5\n")
    (finding,) = findings_of_csv(path, a_search()).found

    assert (finding.architecture.wiring, finding.metrics) == ("residual", {"eval": {"psnr_db": 21.5}})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "neither a CSV"),
        ("a,b\n1,2\n", "neither a CSV"),
        (None, "cannot read"),
        ("family,d_z,d_h,depth,w_in,w_out,norm,activation,branch_scale,state,lr\nx,,,,,,,,,completed,1\n", "line 2: "),
        (",".join(COLUMNS) + "\n" + "x," * len(COLUMNS), "cannot read"),
    ],
)
def test_a_file_that_is_neither_is_refused(tmp_path: Path, text: str | None, says: str) -> None:
    path = tmp_path / "results.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(Unfit, match=says):
        findings_of_csv(path, a_search())


def test_text_that_was_made_plain_for_spreadsheets_does_not_change_what_is_found(tmp_path: Path) -> None:
    trials = [a_trial(1, arm="=HYPERLINK(1)", message="'+1", worker_id="@SUM(A1)")]
    (tmp_path / "trials.csv").write_text("".join(csv_lines(trials)))
    (found,) = findings_of_csv(tmp_path / "trials.csv", a_search()).found
    assert (found.architecture, found.lr) == (an_architecture(), trials[0].lr)
