"""What Schemathesis does to a call before it is made. Loaded by it, see test_contract.

Legal waits become none: a server holds a request for a lease until there is a trial, and a stream until there is an
event. Every other submission is one that suits all rules between fields, so that there are searches to go on with.
"""

import json
from typing import Any

import schemathesis

from tests.builders import a_search_file


@schemathesis.hook
def before_call(_context: Any, case: Any, **_: Any) -> None:
    """Change the call."""
    if case.path.endswith("/leases") and isinstance(case.body, dict):
        wait = case.body.get("wait_seconds", 20)
        if isinstance(wait, int | float) and not isinstance(wait, bool) and 0 <= wait <= 30:
            case.body = {**case.body, "wait_seconds": 0}
    is_submission = case.path.endswith("/searches") and case.method == "POST"
    if is_submission and case.meta.generation.mode.is_positive and len(json.dumps(case.body, default=str)) % 2:
        case.body = a_search_file()
    if case.path.endswith("/events"):
        for values, name in ((case.query, "after"), (case.headers, "Last-Event-ID")):
            if values and str(values.get(name)).isdigit() and int(values[name]) < 2**53:
                values[name] = "0"
