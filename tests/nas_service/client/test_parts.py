from nas_service.client import people
from nas_service.messages import MAX_RESULTS
from tests.builders import an_outside_result


def test_results_go_in_parts_that_one_call_may_bring(monkeypatch) -> None:
    row = an_outside_result()
    assert [len(part) for part in people._parts([row] * (MAX_RESULTS + 1))] == [MAX_RESULTS, 1]
    monkeypatch.setattr(people, "PART_BYTES", 3 * (len(row.model_dump_json()) + 1))
    assert [len(part) for part in people._parts([row] * 7)] == [3, 3, 1]
    monkeypatch.setattr(people, "PART_BYTES", 1)
    assert [len(part) for part in people._parts([row] * 2)] == [1, 1]
    assert list(people._parts([])) == []
