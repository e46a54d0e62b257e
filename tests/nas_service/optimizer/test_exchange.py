"""A search as Optuna studies, and back."""

from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from nas_service.client.warm_start import findings_of_search, fit
from nas_service.optimizer.exchange import ExchangeError, export_search, findings_of_studies
from tests.builders import ARMS, a_search, a_trial

PLAIN = {"family": "conventional", "d_z": 64, "d_h": 70, "depth": 1, "w_in": "none", "w_out": "none"}
SEARCH = a_search(arms=ARMS)
REPLICATES = [{"run": 0, "replicate": 0, "seed": 42, "lr": 2e-3, "metrics": None, "diverged_at_epoch": 1}]
TRIALS = [
    a_trial(6, state="queued", metrics=None),
    a_trial(5, state="refused", architecture=None, costs=None, metrics=None),
    a_trial(4, architecture=PLAIN, arm="plain", number=0, origin="imported", message="imported from a paper"),
    a_trial(3, state="failed", reason="out_of_memory", metrics=None),
    a_trial(2, state="failed", reason="diverged", metrics=None),
    a_trial(1, 8_000, 20.25, lr=2e-3, seconds=3.5, replicates=REPLICATES, worker_id="w1"),
]


@pytest.fixture(params=["sqlite:///", "journal:"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"{request.param}{tmp_path / 'copy'}"


def storage_of(url: str) -> optuna.storages.BaseStorage | str:
    if not url.startswith("journal:"):
        return url
    backend = optuna.storages.journal.JournalFileBackend(url.removeprefix("journal:"))
    return optuna.storages.JournalStorage(backend)


def test_a_search_becomes_a_study_for_each_arm(url: str) -> None:
    exported = export_search(SEARCH, TRIALS, url, "mine")
    assert (exported.studies, exported.left_out) == ({"mine / hourglass": 3, "mine / plain": 1}, 2)
    study = optuna.load_study(study_name="mine / hourglass", storage=storage_of(url))
    assert study.metric_names == ["parameters_trainable", "psnr_db"]
    assert [direction.name for direction in study.directions] == ["MINIMIZE", "MAXIMIZE"]
    best, diverged, failed = study.trials
    assert (best.values, best.params) == ([8000, 20.25], {"d_z": 65, "d_h": 8, "depth": 2, "lr": 2e-3})
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL]
    known = {"id": 1, "macs": 8000, "eval_ssim": 0.5, "seconds": 3.5, "worker_id": "w1", "origin": "sampler"}
    assert known.items() <= best.user_attrs.items()
    assert failed.user_attrs["reason"] == "out_of_memory"
    assert "eval_psnr_db" not in diverged.user_attrs


def test_what_was_exported_is_found_again(url: str) -> None:
    export_search(SEARCH, TRIALS, url, "mine")
    found = findings_of_studies(url, "mine")
    ours = findings_of_search(1, SEARCH, TRIALS)
    assert found.conditions == ours.conditions
    assert found.left_out == {"not completed": 2}
    as_known = [finding.model_copy(update={"source": ""}) for finding in ours.found]
    assert [finding.model_copy(update={"source": ""}) for finding in found.found] == as_known
    assert [finding.source for finding in found.found] == [
        "study mine / hourglass, trial 0",
        "study mine / plain, trial 0",
    ]
    assert len(findings_of_studies(url, "mine / plain").found) == 1


def test_a_trial_that_a_notebook_added_is_read_by_its_parameters(url: str) -> None:
    export_search(SEARCH, TRIALS, url, "mine")
    study = optuna.load_study(study_name="mine / plain", storage=storage_of(url))
    study.enqueue_trial({"d_h": 100, "depth": 2, "lr": 2e-3})
    study.tell(study.ask(study.trials[0].distributions), [1e4, 23.0])
    results = fit(SEARCH, findings_of_studies(url, "mine / plain"), []).results
    assert [(row.d_z, row.d_h, row.depth, row.metrics) for row in results[1:]] == [
        (64, 100, 2, {"eval": {"psnr_db": 23.0}})
    ]


def test_studies_that_are_there_stay_unless_they_are_to_be_replaced(url: str) -> None:
    export_search(SEARCH, TRIALS, url, "mine")
    with pytest.raises(ExchangeError, match="'mine / hourglass', 'mine / plain' already; --overwrite replaces them"):
        export_search(SEARCH, TRIALS, url, "mine")
    export_search(SEARCH, TRIALS[-1:], url, "mine", overwrite=True)
    assert len(findings_of_studies(url, "mine").found) == 1


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("garbage", "cannot open the storage garbage: Could not parse"),
        ("sqlite:////nonexistent/x.db", "there is no such file"),
        ("journal:/nonexistent/x", "there is no such file"),
        ("postgresql+psycopg://me:secret@127.0.0.1:1/x", r"://me:\*\*\*@127"),
        ("mysql://me@127.0.0.1/x", "Failed to import DB access module"),
    ],
)
def test_a_storage_that_cannot_be_opened_is_said_in_a_sentence(url: str, says: str) -> None:
    with pytest.raises(ExchangeError, match=says):
        findings_of_studies(url, "mine")


def test_a_storage_that_cannot_be_written_is_said_in_a_sentence() -> None:
    with pytest.raises(ExchangeError, match="unable to open database file"):
        export_search(SEARCH, TRIALS, "sqlite:////nonexistent/x.db", "mine")


def test_a_study_that_is_not_there_is_answered_with_those_that_are(url: str) -> None:
    export_search(SEARCH, [], url, "mine")
    with pytest.raises(ExchangeError, match="no study 'yours'; it has 'mine / hourglass', 'mine / plain'"):
        findings_of_studies(url, "yours")


def test_a_study_of_something_else_holds_nothing_for_us(url: str) -> None:
    optuna.create_study(study_name="foreign", storage=storage_of(url)).add_trial(optuna.create_trial(value=1.0))
    findings = findings_of_studies(url, "foreign")
    assert (findings.found, findings.left_out, findings.conditions) == ([], {"without an architecture": 1}, None)
