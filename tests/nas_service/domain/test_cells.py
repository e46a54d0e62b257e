import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas_service.analysis.tables import csv_line
from nas_service.domain.cells import as_cell, of_cell


@given(st.text())
def test_a_reader_of_ours_gets_back_what_was_written(text: str) -> None:
    assert of_cell(as_cell(text)) == text


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_no_cell_begins_as_a_formula_also_behind_quotes(text: str) -> None:
    line = csv_line([text, "end"])
    ((cell, end),) = csv.reader(io.StringIO(line, newline=""))
    assert (of_cell(cell), end) == (text, "end")
    assert line.lstrip('"')[:1] not in tuple("=+-@\t\r\n＝＋－＠")


@pytest.mark.parametrize("number", [-1, -3.5, 1e-9, 0])
def test_numbers_stay_numbers(number: float) -> None:
    assert float(csv_line([number])) == number
