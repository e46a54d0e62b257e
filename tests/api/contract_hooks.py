"""What keeps the calls of Schemathesis from waiting: legal waits become none. Loaded by it, see test_contract."""

from typing import Any

import schemathesis


@schemathesis.hook
def before_call(_context: Any, case: Any, **_: Any) -> None:
    """A server holds a request for a lease until there is a trial, and a stream until there is an event."""
    if case.path.endswith("/leases") and isinstance(case.body, dict):
        wait = case.body.get("wait_seconds", 20)
        if isinstance(wait, int | float) and not isinstance(wait, bool) and 0 <= wait <= 30:
            case.body = {**case.body, "wait_seconds": 0}
    if case.path.endswith("/events"):
        for values, name in ((case.query, "after"), (case.headers, "Last-Event-ID")):
            if values and str(values.get(name)).isdigit() and int(values[name]) < 2**63:
                values[name] = "0"
