from functools import cache
from pathlib import Path

import numpy as np
import pytest

from benchmarks import samplers
from benchmarks.contest import Entry, Run, run, seconds_of_asks
from benchmarks.surrogate import DenseFront, Surrogate
from tests.benchmarks.made_up_law import published_rows, write_table


@cache
def a_surrogate(known_costs: int = 1) -> Surrogate:
    return Surrogate(published_rows(inner=(8, 64, 2900)), known_costs)


@cache
def its_front(known_costs: int = 1) -> DenseFront:
    return DenseFront(a_surrogate(known_costs))


def test_the_frontier_sampler_proposes_nothing_illegal_and_comes_close() -> None:
    found = run(a_surrogate(), Entry("frontier", 30), seed=0)
    assert found.refused == 0
    assert found.volume(a_surrogate(), 30) > 0.8 * its_front().volume


def test_refused_trials_cost_nothing() -> None:
    found = run(a_surrogate(), Entry("random", 60), seed=0)
    assert found.refused > 0
    assert len(found.told) == len(found.true) == 60


def test_a_run_is_a_function_of_its_seed() -> None:
    entry = Entry("frontier", 12, in_flight=4, noise_db=0.1)
    first, again, other = (run(a_surrogate(), entry, seed).told for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_asks_in_flight_are_answered_without_the_last_results() -> None:
    alone, together = (run(a_surrogate(), Entry("frontier", 14, in_flight=count), seed=0).told for count in (1, 4))
    assert np.array_equal(alone[:7], together[:7])  # random ones
    assert not np.array_equal(alone, together)


def test_noise_is_told_and_forgotten_in_the_judgement() -> None:
    found = run(a_surrogate(), Entry("random", 40, noise_db=0.5), seed=0)
    assert np.std(found.told[:, -1] - found.true[:, -1]) == pytest.approx(0.5, rel=0.4)
    assert np.array_equal(found.told[:, 0], found.true[:, 0])


def test_the_judgement_is_by_the_truth_of_what_looked_best() -> None:
    told, true = np.array([[6.0, 24.0], [6.0, 25.0]]), np.array([[6.0, 24.0], [6.0, 23.5]])
    found = Run(told, true, seconds=0.0, refused=0)
    surrogate = a_surrogate()
    assert found.volume(surrogate, 1) == surrogate.hypervolume(true[:1])
    assert found.volume(surrogate, 2) == surrogate.hypervolume(true[1:])
    assert found.trials_to(surrogate, surrogate.hypervolume(true[:1])) == 1
    assert found.trials_to(surrogate, 99.0) is None


@pytest.mark.parametrize("known_costs", [1, 2])
def test_asks_are_timed_after_finished_trials(known_costs: int) -> None:
    seconds = seconds_of_asks(a_surrogate(known_costs), its_front(known_costs), finished=20, asks=3)
    assert len(seconds) == 3
    assert min(seconds) > 0


def test_every_section_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samplers, "ASKS", 2)
    quick = ["--seeds", "1", "--trials", "20", "--finished", "10"]
    assert samplers.main([str(write_table(tmp_path)), *quick, "--sections", *samplers.SECTIONS]) == 0
    out = capsys.readouterr().out
    for words in (
        "no reference",
        "tpe",
        "3 objectives",
        "8 in flight",
        "0.02 dB",
        "refits included",
        "after 20 and 40",
    ):
        assert words in out
    assert "NOT CONVERGED" not in out


def test_a_fault_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert samplers.main([str(write_table(tmp_path)), "--arm", "conventional_no_in"]) == 2
    assert "error: the table has no arm 'conventional_no_in' in budget 'bs128_ep30'" in capsys.readouterr().out
