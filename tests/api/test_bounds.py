"""Every text, list, mapping and whole number that a request may hold has an end, by the server's own document."""

from collections.abc import Iterator
from typing import Any

import pytest

from api.app import create_app
from nas_service.settings import Settings

Schema = dict[str, Any]
CHANGING = ("post", "put", "patch")


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Schema:
    return create_app(Settings(home=tmp_path_factory.mktemp("home"))).openapi()


def faults(schema: Schema, document: Schema, path: str, seen: frozenset[str]) -> Iterator[str]:
    """The places below a schema that know no end."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[-1]
        if name not in seen:
            yield from faults(document["components"]["schemas"][name], document, f"{path}({name})", seen | {name})
        return
    yield from (f"{path}: {fault}" for fault in own_faults(schema))
    for name, part in schema.get("properties", {}).items():
        yield from faults(part, document, f"{path}.{name}", seen)
    for key in ("items", "additionalProperties", "propertyNames"):
        if isinstance(part := schema.get(key), dict):
            yield from faults(part, document, f"{path}.{key}", seen)
    for key in ("anyOf", "oneOf", "allOf", "prefixItems"):
        for place, part in enumerate(schema.get(key, [])):
            yield from faults(part, document, f"{path}.{key}{place}", seen)


def own_faults(schema: Schema) -> Iterator[str]:
    kind = schema.get("type")
    is_named = "enum" in schema or "const" in schema or schema.get("format") == "binary"
    has_end = "maxLength" in schema or str(schema.get("pattern", "")).endswith("$")
    if kind == "string" and not (is_named or has_end):
        yield "a text without maxLength"
    if kind == "array" and "maxItems" not in schema:
        yield "a list without maxItems"
    if kind == "object" and "properties" not in schema:
        keys = schema.get("propertyNames", {})
        if "maxProperties" not in schema and "enum" not in keys and "$ref" not in keys:
            yield "a mapping without maxProperties"
    if kind == "integer" and not (is_named or {"maximum", "exclusiveMaximum"} & set(schema)):
        yield "a whole number without a maximum"
    if kind == "integer" and not (is_named or {"minimum", "exclusiveMinimum"} & set(schema)):
        yield "a whole number without a minimum"


def test_everything_that_a_request_may_hold_has_an_end(document: Schema) -> None:
    found = []
    for path, item in document["paths"].items():
        for method in CHANGING:
            for body in item.get(method, {}).get("requestBody", {}).get("content", {}).values():
                found += faults(body["schema"], document, f"{method} {path} ", frozenset())
        for operation in item.values():
            for parameter in operation.get("parameters", []):
                found += faults(parameter["schema"], document, f"{path}?{parameter['name']}", frozenset())
    assert found == []


@pytest.mark.parametrize(
    "schema", [{"type": "string"}, {"type": "array", "items": {"type": "integer"}}, {"type": "object"}]
)
def test_what_has_no_end_is_found(schema: Schema) -> None:
    assert list(faults({"anyOf": [{"type": "null"}, schema]}, {}, "", frozenset()))
