import csv
import io

import pytest

from nas_service.analysis.tables import csv_line, csv_lines
from nas_service.domain.finding import COLUMNS
from nas_service.domain.trial import Trial
from tests.builders import a_trial


def read_back(*trials: Trial) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO("".join(csv_lines(trials)), newline="")))


def test_the_header_stands_even_without_trials() -> None:
    assert "".join(csv_lines([])) == ",".join(COLUMNS) + "\r\n"
    assert len(set(COLUMNS)) == len(COLUMNS)


def test_values_come_back_as_they_were() -> None:
    metrics = {"eval": {"psnr_db": 20.123456789012345, "ssim": 1 / 3}, "test": {"psnr_db": 19.5}}
    (row,) = read_back(a_trial(7, cost=123_456_789, lr=1.2345678901234e-3, metrics=metrics, seconds=1.5))
    assert (row["id"], row["arm"], row["number"], row["state"]) == ("7", "hourglass", "6", "completed")
    assert (int(row["parameters_trainable"]), int(row["d_z"]), int(row["depth"])) == (123_456_789, 65, 2)
    assert float(row["lr"]) == 1.2345678901234e-3
    assert float(row["eval_psnr_db"]) == 20.123456789012345
    assert float(row["eval_ssim"]) == 1 / 3
    assert (row["test_psnr_db"], row["test_ssim"], row["eval_accuracy"], row["seconds"]) == ("19.5", "", "", "1.5")


def test_a_trial_that_was_never_trained_has_empty_cells() -> None:
    refused = a_trial(state="refused", architecture=None, costs=None, metrics=None, message="d_h, d_z: no")
    (row,) = read_back(refused)
    assert (row["d_z"], row["macs"], row["eval_psnr_db"], row["finished_at"]) == ("", "", "", "")
    assert row["message"] == "d_h, d_z: no"


def test_measured_costs_have_columns_of_their_own() -> None:
    measured = {"latency_ms": 0.25, "latency_ms_iqr": 0.01, "peak_memory_bytes": 1_000_000.0}
    (row,) = read_back(a_trial(cost=12, metrics={"eval": {"psnr_db": 20.0}, "measured": measured}))
    assert (row["latency_ms"], row["peak_memory_bytes"]) == ("0.25", "1000000.0")
    assert (row["train_flops"], row["train_seconds"], row["eval_psnr_db"]) == ("12", "", "20.0")


def test_several_learning_rates_share_a_cell() -> None:
    (row,) = read_back(a_trial(lr=(1e-3, 2e-3, 3e-3)))
    assert row["lr"] == "0.001 0.002 0.003"


def test_every_trial_has_its_line() -> None:
    assert [row["id"] for row in read_back(a_trial(3), a_trial(1), a_trial(2))] == ["3", "1", "2"]


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", '=HYPERLINK("http://evil.example","x")', "＝1"]
)
def test_text_that_a_spreadsheet_would_run_becomes_plain_text(text: str) -> None:
    (row,) = read_back(a_trial(message=text))
    assert row["message"] == f"'{text}"


def test_negative_numbers_stay_numbers() -> None:
    (row,) = read_back(a_trial(psnr_db=-3.5))
    assert row["eval_psnr_db"] == "-3.5"


def test_commas_quotes_and_line_ends_stay_inside_their_cell() -> None:
    text = 'out of "memory",\nagain'
    (row,) = read_back(a_trial(message=text))
    assert row["message"] == text
    assert csv_line([text, 1]).endswith(",1\r\n")
