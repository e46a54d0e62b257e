"""What was wrong with what a user sent: every faulty field, its value, and what was expected."""

from typing import Any

from pydantic import ValidationError

from nas_service.domain.tasks import TaskKind
from nas_service.domain.values import Value


class Fault(Value):
    """One thing wrong with what a user sent."""

    field: str  # dotted path, e.g. arms.hourglass.d_z
    value: Any = None  # what was sent there
    message: str  # what was expected


def faults_of(error: ValidationError) -> list[Fault]:
    """List every fault of a failed validation, one row a field."""
    return faults_of_errors(error.errors())


def faults_of_errors(errors: Any) -> list[Fault]:
    """List the faults in pydantic's (and FastAPI's) error dictionaries."""
    faults: list[Fault] = []
    faulty = [row["loc"] for row in errors]
    for row in errors:
        prefix, depth = _path_of(row["loc"]), len(row["loc"])
        nested = (row.get("ctx") or {}).get("faults")
        if nested:
            faults += [fault.model_copy(update={"field": ".".join([*prefix, fault.field])}) for fault in nested]
        elif row["type"] == "json_invalid":
            faults.append(Fault(field="", message=f"the body must be JSON ({row['ctx']['error']})"))
        elif row["type"] != "too_short" or not any(loc[:depth] == row["loc"] for loc in faulty if len(loc) > depth):
            message = row["msg"].removeprefix("Value error, ")
            value = None if row["type"] == "missing" else row.get("input")
            faults.append(Fault.model_construct(field=".".join(prefix), value=value, message=message))
    return faults


def _path_of(loc: tuple[str | int, ...]) -> list[str]:
    """The way to a field as the user wrote it: without FastAPI's first word and pydantic's marks of keys and kinds."""
    parts = [str(part) for part in loc]
    if parts[:1] in (["body"], ["query"], ["path"], ["header"]):
        parts = parts[1:]
    if parts[:1] == ["task"] and parts[1:2] and parts[1] in set(TaskKind):
        del parts[1]
    return [part for part in parts if part != "[key]"]
